package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"credproxy/keyspace"
)

const minimal = `
keyspace "baileys" {
  keys = ["wa:auth:{session}:creds", "wa:auth:{session}:keys"]
}
restore {
  postgres = "postgres://bots:s3cret@db.example:5432/wa"
}
`

func parse(t *testing.T, src string) Config {
	t.Helper()
	c, err := Parse("proxy.hcl", []byte(src))
	if err != nil {
		t.Fatalf("parse:\n%v", err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	got := parse(t, minimal)
	want := Default()
	want.Path = "proxy.hcl"
	want.Keyspaces = []keyspace.Spec{{
		Name: "baileys", DB: -1, Patterns: []string{"wa:auth:{session}:creds", "wa:auth:{session}:keys"},
	}}
	want.Restore.Postgres = "postgres://bots:s3cret@db.example:5432/wa"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	m := got.Memory
	if m.Max != 1<<30 || m.Threshold != 80 || m.Target != 70 || m.CheckInterval != 5*time.Minute || m.InactivityTTL != 168*time.Hour {
		t.Errorf("memory defaults are not the documented ones: %+v", m)
	}
}

func TestEverySetting(t *testing.T) {
	t.Setenv("TEST_REDIS_PASSWORD", "hush")
	t.Setenv("TEST_MAX", "512MB")
	got := parse(t, `
listen           = "unix:///run/credproxy.sock"
listen_mode      = "0600"
protected_mode   = false
maxclients       = 12
idle_timeout     = "1h"
auth_timeout     = "0s"
tcp_keepalive    = "60s"
shutdown_timeout = "5s"
flush            = "all"
deny             = ["shutdown", "config|set", "CONFIG SET"]
upstream {
  address  = "redis.example:6379"
  username = "proxy"
  password = env("TEST_REDIS_PASSWORD")
}
keyspace "evolution" {
  keys = ["evolution:instance:{session}"]
  db   = 6
}
memory {
  max            = env("TEST_MAX")
  threshold      = 90
  target         = 50
  check_interval = "10s"
  inactivity_ttl = "7d"
  min_idle       = "30s"
  policy         = "s3fifo"
}
restore {
  postgres      = "host=db user=bots password=s3cret"
  sync          = "through"
  sync_interval = "50ms"
  wait          = "3s"
}
admin { listen = "" }
log   { level = "debug"  format = "json"  slow = "1s" }
`)
	want := Config{
		Path: "proxy.hcl", Listen: "unix:///run/credproxy.sock", ListenMode: 0o600, MaxClients: 12, ShutdownTimeout: 5 * time.Second,
		IdleTimeout: time.Hour, TCPKeepAlive: time.Minute,
		Flush: "all", Deny: []string{"SHUTDOWN", "CONFIG SET"},
		Upstream:  Upstream{Address: "redis.example:6379", Username: "proxy", Password: "hush"},
		Keyspaces: []keyspace.Spec{{Name: "evolution", Patterns: []string{"evolution:instance:{session}"}, DB: 6}},
		Memory:    Memory{Max: 512 << 20, Threshold: 90, Target: 50, CheckInterval: 10 * time.Second, InactivityTTL: 168 * time.Hour, MinIdle: 30 * time.Second, Policy: "s3fifo"},
		Restore:   Restore{Postgres: "host=db user=bots password=s3cret", Sync: SyncThrough, SyncInterval: 50 * time.Millisecond, Wait: 3 * time.Second},
		Log:       Log{Level: "debug", Format: "json", Slow: time.Second},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// The file that the repository ships must be one that the program takes.
func TestShippedFile(t *testing.T) {
	t.Setenv("DATABASE_URL", "postgres://localhost/wa")
	c, err := Load(filepath.Join("..", "..", "..", "proxy.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Keyspaces) == 0 || c.Listen != Default().Listen {
		t.Errorf("unexpected: %+v", c)
	}
}

func TestSyncOff(t *testing.T) {
	c := parse(t, space+"restore {\n postgres = \"host=x\"\n sync = \"off\"\n source {\n  query = \"SELECT 1\"\n }\n}\n")
	if c.Restore.Sync != SyncOff || c.Restore.Source != "SELECT 1" {
		t.Errorf("got %+v", c.Restore)
	}
}

func TestEmptyDenyAllowsAll(t *testing.T) {
	if c := parse(t, minimal+"deny = []\n"); len(c.Deny) != 0 {
		t.Errorf("deny = [] gave %v", c.Deny)
	}
}

func TestFiles(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "nothing.hcl")
	_, err := Load(missing)
	if want := missing + ": no such file"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("missing file: %v", err)
	}
	if _, err = Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("a directory: %v", err)
	}
	path := filepath.Join(t.TempDir(), "p.hcl")
	if err := os.WriteFile(path, []byte(minimal), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(path); err != nil || c.Path != path {
		t.Errorf("a good file: %q, %v", c.Path, err)
	}
}

func TestRender(t *testing.T) {
	c := parse(t, minimal+`
upstream { password = "hush-hush" }
deny = ["SHUTDOWN"]
keyspace "odd" { keys = ["odd\\{$${session}"] }
`)
	got := string(c.Render())
	for _, secret := range []string{"s3cret", "hush"} {
		if strings.Contains(got, secret) {
			t.Errorf("a secret is shown:\n%s", got)
		}
	}
	for _, line := range []string{
		`listen           = "127.0.0.1:6380"`,
		`deny             = ["SHUTDOWN"]`,
		`  password = "(set)"`,
		`  postgres      = "postgres://bots:(set)@db.example:5432/wa"`,
		`  # max          = "1GB" # not set: Redis's own maxmemory, this if it has none`,
		`  inactivity_ttl = "168h"`,
		`  policy         = "lru"`,
		`  keys = ["odd\\{$${session}"]`,
	} {
		if !strings.Contains(got, "\n"+line+"\n") && !strings.HasPrefix(got, line+"\n") {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
	// What is printed is a configuration again, the same but for the secrets.
	again := parse(t, strings.ReplaceAll(got, "(set)", "x"))
	again.Upstream.Password, again.Restore.Postgres = c.Upstream.Password, c.Restore.Postgres
	if !reflect.DeepEqual(again, c) {
		t.Errorf("read back: %+v\nwant %+v", again, c)
	}
}

func TestRedactDSN(t *testing.T) {
	for dsn, want := range map[string]string{
		"":                                     "",
		"postgres://db/wa":                     "postgres://db/wa",
		"postgres://u:p%40ss@db:5433/wa":       "postgres://u:(set)@db:5433/wa",
		"postgres://u@db/wa?password=p":        "postgres://u@db/wa?(set)",
		"host=db user=u password=p dbname=wa":  "(set)",
		"postgres://u:pa/ss@db/wa:not a port!": "(set)",
	} {
		if got := RedactDSN(dsn); got != want {
			t.Errorf("RedactDSN(%q) = %q, want %q", dsn, got, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"1048576": 1 << 20, "64KB": 64 << 10, "64kb": 64 << 10, "1GiB": 1 << 30, "1G": 1 << 30, "1.5GB": 3 << 29,
		" 2 MB ": 2 << 20, "7B": 7, "1TB": 1 << 40,
	} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
		if again, err := ParseSize(FormatSize(want)); err != nil || again != want {
			t.Errorf("FormatSize(%d) = %q reads back as %d, %v", want, FormatSize(want), again, err)
		}
	}
	for _, text := range []string{"", "MB", "1XB", "-1MB", "1..5GB", "99999999TB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", text, got)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"200ms": 200 * time.Millisecond, "5m": 5 * time.Minute, "1h30m": 90 * time.Minute, "7d": 168 * time.Hour, "0s": 0,
	} {
		got, err := ParseDuration(text)
		if err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
		if again, err := ParseDuration(FormatDuration(want)); err != nil || again != want {
			t.Errorf("FormatDuration(%v) = %q reads back as %v, %v", want, FormatDuration(want), again, err)
		}
	}
	for _, text := range []string{"", "5", "five minutes", "d", "1e9d"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
		}
	}
}
