package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"credproxy/internal/testenv"
)

func TestHealth(t *testing.T) {
	server := testenv.Redis(t)
	p := startProxy(t, server, testenv.DSN(t))
	admin := strings.TrimSuffix(strings.TrimPrefix(p.admin, "http://"), "/")
	if out, stderr, code := credproxy(t, nil, "health", "--admin", admin); code != exitOK || out != "ok\n" {
		t.Errorf("exit %d: %q, %s", code, out, stderr)
	}
	testenv.Eventually(t, 30*time.Second, "ready", func() bool {
		out, _, code := credproxy(t, nil, "health", "--admin", admin, "--ready")
		return code == exitOK && out == "ready\n"
	})

	if err := server.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 30*time.Second, "not ready", func() bool {
		_, stderr, code := credproxy(t, nil, "health", "--admin", admin, "--ready")
		return code == exitFailure && strings.Contains(stderr, "Redis is away")
	})
	var page struct {
		Status  string
		Reasons []struct{ Code, Text string }
	}
	out, stderr, code := credproxy(t, nil, "health", "--admin", admin, "--ready", "--json")
	if err := json.Unmarshal([]byte(out), &page); err != nil || code != exitFailure || page.Status != "not ready" || page.Reasons[0].Code != "redis_away" {
		t.Errorf("health --json: exit %d, %v: %s%s", code, err, out, stderr)
	}
	if out, stderr, code := credproxy(t, nil, "health", "--admin", admin, "--json"); code != exitOK || !strings.Contains(out, `"status": "ok"`) {
		t.Errorf("health --json: exit %d: %s%s", code, out, stderr)
	}
	if out, stderr, code := credproxy(t, nil, "health", "--admin", admin); code != exitOK {
		t.Errorf("without Redis the process is alive all the same: exit %d: %q, %s", code, out, stderr)
	}
	if _, stderr, code := credproxy(t, nil, "health", "--admin", p.addr); code != exitFailure || stderr == "" {
		t.Errorf("asked on the clients' port: exit %d: %s", code, stderr)
	}
	if _, stderr, code := credproxy(t, nil, "health", "--admin", "127.0.0.1:1"); code != exitFailure || !strings.Contains(stderr, "refused") {
		t.Errorf("nobody there: exit %d: %s", code, stderr)
	}
	if _, _, code := credproxy(t, nil, "health", "--admin", "no such:port"); code != exitUsage {
		t.Errorf("no address: exit %d", code)
	}
}
