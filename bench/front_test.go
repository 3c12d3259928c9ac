package main

import (
	"os"
	"testing"

	"credproxy/cmd/credproxy/config"
)

// TestCredproxyConfiguration hands the configuration that we write to the program's own reader.
func TestCredproxyConfiguration(t *testing.T) {
	for _, name := range targetNames {
		mode, ours := credproxyMode(name)
		if !ours {
			continue
		}
		f := front{dir: t.TempDir(), listen: "127.0.0.1:7001", redis: "127.0.0.1:7002"}
		args, err := f.credproxyArgs(mode, "postgres://credproxy@127.0.0.1:7003/credproxy")
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(args[len(args)-1])
		if err != nil {
			t.Fatal(err)
		}
		got, err := config.Parse("proxy.hcl", text)
		if err != nil {
			t.Fatalf("%s:\n%v", name, err)
		}
		if got.Listen != f.listen || got.Upstream.Address != f.redis || got.Restore.Sync != mode || got.MaxClients < maxClients {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}
