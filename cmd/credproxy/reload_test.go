package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"credproxy/internal/testenv"
)

// reloadLine is what the log says about a reload.
type reloadLine struct {
	Message   string `json:"@message"`
	Unchanged string `json:"unchanged"`
}

// reloads returns what the log says about every reload so far.
func reloads(p *proxyProcess) (lines []reloadLine) {
	for text := range strings.Lines(p.logged()) {
		var l reloadLine
		if json.Unmarshal([]byte(text), &l) == nil && strings.HasPrefix(l.Message, "configuration ") {
			lines = append(lines, l)
		}
	}
	return lines
}

// Every setting that a reload cannot change is named, and no other.
func TestReloadNamesWhatItCannotChange(t *testing.T) {
	server := testenv.Redis(t)
	base := runConfig(server.Addr(), "")
	a := testenv.NewAuthority(t)
	cert, key := a.Issue(t, "127.0.0.1")
	p := startProxy(t, server, testenv.DSN(t))
	inRestore := func(line string) []string {
		return []string{`restore { postgres = env("TEST_DSN") }`, "restore {\n postgres = env(\"TEST_DSN\")\n " + line + "\n}"}
	}
	upstream := fmt.Sprintf("upstream { address = %q }", server.Addr())
	inUpstream := func(line string) []string {
		return []string{upstream, fmt.Sprintf("upstream {\n address = %q\n %s\n}", server.Addr(), line)}
	}
	more := func(line string) []string { return []string{"", line + "\n"} }
	cases := []struct {
		change []string // what stands in the file, and what instead
		want   string
	}{
		{[]string{`"127.0.0.1:0"`, `"127.0.0.1:1"`}, "listen"},
		{[]string{`listen = "127.0.0.1:0"`, "listen = \"unix:///nowhere/p.sock\"\nlisten_mode = \"0600\""}, "listen, listen_mode"},
		{more("maxclients = 5"), "maxclients"},
		{more(`idle_timeout = "5m"`), "idle_timeout"},
		{more(`auth_timeout = "9s"`), "auth_timeout"},
		{more(`tcp_keepalive = "99s"`), "tcp_keepalive"},
		{more(fmt.Sprintf("tls {\n cert = %q\n key = %q\n}", cert, key)), "tls"},
		{more("auth {\n password = \"secret-enough\"\n}"), "auth"},
		{inUpstream("username = \"u\"\n password = \"p\""), "upstream"},
		{inUpstream("tls {}"), "upstream"},
		{[]string{`"wa:auth:{session}:creds", `, ""}, `keyspace "baileys"`},
		{inRestore("pooler = true"), "restore.pooler"},
		{[]string{`env("TEST_DSN")`, `"postgres://elsewhere/db"`}, "restore.postgres"},
		{inRestore(`sync = "through"`), "restore.sync"},
		{inRestore(`sync_interval = "1s"`), "restore.sync_interval"},
		{inRestore(fmt.Sprintf("secret = %q", signingSecret)), "restore.secret"},
		{inRestore("source {\n query = \"SELECT key, NULL, value FROM t WHERE id = $1\"\n}"), "restore.source"},
		{[]string{`admin { listen = "127.0.0.1:0" }`, `admin { listen = "127.0.0.1:1" }`}, "admin.listen"},
		{[]string{`admin { listen = "127.0.0.1:0" }`, "admin {\n listen = \"127.0.0.1:0\"\n token = \"0123456789abcdef0123456789abcdef\"\n}"}, "admin.token"},
		{[]string{`format = "json"`, `format = "text"`}, "log.format"},
		// What can change.
		{more("protected_mode = false"), ""},
		{more(`shutdown_timeout = "20s"`), ""},
		{more(`flush = "all"`), ""},
		{more(`deny = ["SHUTDOWN"]`), ""},
		{more("memory {\n max = \"64MB\"\n threshold = 70\n target = 60\n check_interval = \"9s\"\n inactivity_ttl = \"9h\"\n policy = \"gdsf\"\n}"), ""},
		{inRestore(`wait = "9s"`), ""},
		{[]string{`level = "info"`, `level = "debug"`}, ""},
		{more("keyspace \"more\" {\n keys = [\"more:{session}\"]\n}"), ""}, // the last: to remove it needs a restart
	}
	for _, c := range cases {
		text := strings.Replace(base, c.change[0], c.change[1], 1)
		if c.change[0] == "" {
			text = base + c.change[1]
		}
		before := len(reloads(p))
		if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, time.Minute, "the reload of "+c.change[1], func() bool { return len(reloads(p)) > before })
		got := reloads(p)[before]
		if c.want != "" && got.Message != "configuration reloaded, but some of it needs a restart" || c.want == "" && got.Message != "configuration reloaded" ||
			got.Unchanged != c.want {
			t.Errorf("%q: the log says %q, unchanged %q, want %q", c.change[1], got.Message, got.Unchanged, c.want)
		}
	}
}
