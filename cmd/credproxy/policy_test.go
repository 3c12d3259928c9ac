package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/testenv"
)

// policyConfig is a configuration with a second keyspace.
func policyConfig(upstream, memory, space string) string {
	return runConfig(upstream, fmt.Sprintf("memory {\n%s\n}\nkeyspace \"other\" {\n  keys = [\"o:{session}\"]\n%s\n}\n", memory, space))
}

// A reload changes the whole memory policy of a running process: order, budgets, ttl and min_idle, of all and of one keyspace. Pins
// stay, and outlive a kill.
func TestReloadOfTheMemoryPolicy(t *testing.T) {
	server, dsn := testenv.Redis(t), testenv.DSN(t)
	const idle = `max = "1GB"
	min_idle = "1h"
	policy = "lru"`
	p := startConfigured(t, policyConfig(server.Addr(), idle, ""), dsn)
	c := redis.NewClient(&redis.Options{Addr: p.addr, MaxRetries: -1, Protocol: 2})
	defer c.Close()
	big := strings.Repeat("x", 64<<10)
	for n := range 40 {
		set(t, c, fmt.Sprintf("o:b%d", n), big)
		set(t, c, fmt.Sprintf("wa:auth:b%d:creds", n), big)
	}
	do := func(args ...any) any {
		t.Helper()
		v, err := c.Do(t.Context(), append([]any{"CREDPROXY"}, args...)...).Result()
		if err != nil {
			t.Fatalf("CREDPROXY %v: %v", args, err)
		}
		return v
	}
	stat := func(name string) int64 {
		t.Helper()
		list := do("STATS").([]any)
		for i := 0; i+1 < len(list); i += 2 {
			if list[i] == name {
				return list[i+1].(int64)
			}
		}
		return -1
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	do("PIN", "other/b0")
	do("SYNC")

	// By the command: a budget of one keyspace, still under min_idle; then without that.
	small := "  max = \"1MB\""
	write(policyConfig(server.Addr(), idle, small))
	do("RELOAD")
	do("CHECK")
	if n, most := stat("evictions"), stat("keyspace_other_max_bytes"); n != 0 || most != 1<<20 {
		t.Errorf("%d evictions under min_idle, the budget is %d", n, most)
	}
	for _, policy := range []string{"gdsf", "s3fifo", "slru", "lru"} {
		write(policyConfig(server.Addr(), strings.Replace(idle, "lru", policy, 1), small))
		do("RELOAD")
		if why := fmt.Sprint(do("SESSION", "baileys/b1")); !strings.Contains(why, "min_idle is 1h") {
			t.Errorf("%s: %s", policy, why)
		}
	}
	write(policyConfig(server.Addr(), "", small+"\n  min_idle = \"0s\""))
	do("RELOAD")
	testenv.Eventually(t, 20*time.Second, "the keyspace under its budget", func() bool { return stat("keyspace_other_bytes") < 800<<10 })
	if got := fmt.Sprint(do("SESSION", "other/b0")); !strings.Contains(got, "it is pinned (CREDPROXY UNPIN lets it go)") {
		t.Errorf("the pinned session: %s", got)
	}
	if n, all := stat("keyspace_evictions"), stat("evictions"); n == 0 || n != all {
		t.Errorf("%d evictions for the keyspace, %d in all", n, all)
	}

	// By SIGHUP, with a warning; and one that is refused changes nothing.
	hup := func(want string) {
		t.Helper()
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, 10*time.Second, want, func() bool { return strings.Contains(p.logged(), want) })
	}
	write(policyConfig(server.Addr(), `max = "1GB"`, `  max = "2GB"`))
	hup("max 2GB is above memory.max, 1GB, which is reached first")
	hup(`"configuration reloaded"`)
	testenv.Eventually(t, 10*time.Second, "the new budget", func() bool { return stat("keyspace_other_max_bytes") == 2<<30 })
	write(policyConfig(server.Addr(), "", `  min_idle = "-1s"`))
	hup("min_idle is negative")
	if n := stat("keyspace_other_max_bytes"); n != 2<<30 {
		t.Errorf("after a refused reload the budget is %d", n)
	}

	if code := p.end(t, syscall.SIGKILL); code == exitOK {
		t.Error("a kill ended in order")
	}
	p = startConfigured(t, policyConfig(server.Addr(), "", ""), dsn)
	c = redis.NewClient(&redis.Options{Addr: p.addr, MaxRetries: -1, Protocol: 2})
	defer c.Close()
	if got := fmt.Sprint(do("SESSION", "other/b0")); !strings.Contains(got, "it is pinned") {
		t.Errorf("after a kill the pinned session: %s", got)
	}
	for n := range 40 {
		wantValue(t, c, fmt.Sprintf("o:b%d", n), big)
	}
}

// check says what is allowed but doubtful, and takes the file.
func TestCheckWarns(t *testing.T) {
	path := writeFile(t, policyConfig("127.0.0.1:1", `max = "1GB"`, `  max = "2GB"`))
	_, stderr, code := credproxy(t, []string{"TEST_DSN=host=x"}, "check", "--config", path)
	if code != exitOK || !strings.Contains(stderr, `warning: `+path+`:`) || !strings.Contains(stderr, "is above memory.max") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	stdout, _, code := credproxy(t, []string{"TEST_DSN=host=x"}, "check", "--json", "--config", path)
	if code != exitOK || !strings.Contains(stdout, "is above memory.max") {
		t.Errorf("exit %d: %s", code, stdout)
	}
}
