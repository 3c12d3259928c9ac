package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"credproxy/internal/testenv"
)

// While Postgres is away, sync shows what is left and fails in the end; afterwards it saves that.
func TestSyncShowsWhatIsLeft(t *testing.T) {
	server, postgres := testenv.Redis(t), testenv.Postgres(t)
	p := startConfigured(t, drainConfig(server.Addr(), "30s"), postgres.DSN())
	c := client(t, p.addr)
	for i := range 20 {
		set(t, c, fmt.Sprintf("wa:auth:b%d:creds", i), "value")
	}
	thaw := freeze(t, postgres)
	_, stderr, code := credproxy(t, nil, "sync", "--addr", p.addr, "--timeout", "4s")
	if code != exitFailure || !strings.Contains(stderr, "20 keys are not saved: ") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if !regexp.MustCompile(`(?m)^saving: 0 of 20, 0 %$`).MatchString(stderr) {
		t.Errorf("no progress: %s", stderr)
	}
	thaw()
	if stdout, stderr, code := credproxy(t, nil, "sync", "--addr", p.addr); code != exitOK || !strings.HasPrefix(stdout, "saved keys: ") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	wantStored(t, postgres.DSN(), 20)
}
