package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"credproxy/cmd/credproxy/config"
)

// TestCredproxyConfiguration hands the configuration that we write to the program's own reader.
func TestCredproxyConfiguration(t *testing.T) {
	tested := 0
	for _, what := range specs {
		if what.mode == "" {
			continue
		}
		identity, err := newIdentity(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		f := front{dir: t.TempDir(), listen: "127.0.0.1:7001", redis: "127.0.0.1:7002", identity: identity}
		args, err := f.credproxyArgs(what, "postgres://credproxy@127.0.0.1:7003/credproxy")
		if err != nil {
			t.Fatal(err)
		}
		if what.limited {
			if err := f.writeCredproxy(what, "postgres://credproxy@127.0.0.1:7003/credproxy", 5_000_000); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(args[len(args)-1])
		if err != nil {
			t.Fatal(err)
		}
		got, err := config.Parse("proxy.hcl", text)
		if err != nil {
			t.Fatalf("%s:\n%v", what.name, err)
		}
		if got.Listen != f.listen || got.Upstream.Address != f.redis || got.Restore.Sync != what.mode || got.MaxClients < maxClients ||
			(got.TLS != nil) != what.clientTLS || got.Upstream.TLS.On != what.redisTLS || (got.Memory.Max == 5_000_000) != what.limited {
			t.Errorf("%s: got %+v", what.name, got)
		}
		tested++
	}
	if tested < 5 {
		t.Errorf("%d configurations", tested)
	}
}

// TestCustomTarget fills in where the proxy listens and where its Redis is, also in a file.
func TestCustomTarget(t *testing.T) {
	dir := t.TempDir()
	template := filepath.Join(t.TempDir(), "other.conf")
	if err := os.WriteFile(template, []byte("bind {listen_port} to {redis_host}:{redis_port}"), 0o600); err != nil {
		t.Fatal(err)
	}
	what, err := parseCustom("other=exec /bin/other -l {listen} -r {redis} {file:" + template + "} {dir}")
	if err != nil {
		t.Fatal(err)
	}
	got, err := what.custom.args(front{dir: dir, listen: "127.0.0.1:7001", redis: "127.0.0.1:7002"})
	filled := filepath.Join(dir, "other.conf")
	if want := []string{"/bin/other", "-l", "127.0.0.1:7001", "-r", "127.0.0.1:7002", filled, dir}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if text, err := os.ReadFile(filled); err != nil || string(text) != "bind 7001 to 127.0.0.1:7002" {
		t.Errorf("file: %q, %v", text, err)
	}
}
