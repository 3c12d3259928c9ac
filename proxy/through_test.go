package proxy_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"credproxy/internal/testenv"
	"credproxy/proxy"
)

func throughMode(cfg *proxy.Config) {
	cfg.Sync.Mode, cfg.Sync.Interval, cfg.Sync.Wait = proxy.SyncThrough, time.Hour, 500*time.Millisecond
}

// In through mode a reply means that Postgres has committed. The interval is an hour: nothing is saved by the clock.
func TestThroughRepliesWhenPostgresHasIt(t *testing.T) {
	e := newEnv(t, throughMode)
	c := e.wire()
	for i := range 20 {
		key, value := fmt.Sprintf("s:t%d:k", i%3), fmt.Sprint("v", i)
		c.want("+OK\r\n", "SET", key, value)
		if got := e.saved(anyID(fmt.Sprint("t", i%3)), key); got != value {
			t.Fatalf("after the reply Postgres has %q, want %q", got, value)
		}
	}
	for _, test := range []struct {
		reply, value string
		commands     [][]string
	}{
		{":3\r\n", "v20", [][]string{{"APPEND", "s:x:k", "v20"}}},
		{"*2\r\n+OK\r\n+OK\r\n", "v22", [][]string{{"MULTI"}, {"SET", "s:x:k", "v21"}, {"SET", "s:x:k", "v22"}, {"EXEC"}}},
		{"+OK\r\n", "v23", [][]string{{"EVAL", "return redis.call('SET', KEYS[1], ARGV[1])", "1", "s:x:k", "v23"}}},
		{":1\r\n", "", [][]string{{"DEL", "s:x:k"}}},
	} {
		var got string
		for _, args := range test.commands {
			got = c.ask(args...)
		}
		if got != test.reply {
			t.Errorf("%q: %q, want %q", test.commands, got, test.reply)
		}
		if v := e.saved(anyID("x"), "s:x:k"); v != test.value {
			t.Errorf("after %q Postgres has %q, want %q", test.commands, v, test.value)
		}
	}
	for i := range 50 { // one batch
		c.send("SET", fmt.Sprintf("s:b%d:k", i), "batched")
	}
	for i := range 50 {
		c.wantReply("+OK\r\n")
		if v := e.saved(anyID(fmt.Sprint("b", i)), fmt.Sprintf("s:b%d:k", i)); v != "batched" {
			t.Fatalf("after reply %d of a batch Postgres has %q", i, v)
		}
	}
}

func TestThroughWithoutPostgres(t *testing.T) {
	e, pg := newFailingEnv(t, func(cfg *proxy.Config) {
		throughMode(cfg)
		cfg.Sync.Interval = 50 * time.Millisecond
	})
	c := e.wire()
	c.want("+OK\r\n", "SET", "s:a:k", "v")
	must(t, pg.Stop(context.Background()))
	c.wantPrefix("-TRYAGAIN credproxy: ", "SET", "s:a:k", "w")
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "SET", "s:a:k2", "w")
	c.wantPrefix("-TRYAGAIN credproxy: ", "EXEC")
	c.want("$1\r\nw\r\n", "GET", "s:a:k") // in Redis, and reads go on
	testenv.RestartPostgres(t, pg)
	e.waitSaved(anyID("a"), "s:a:k", "w")
	e.waitSaved(anyID("a"), "s:a:k2", "w")
	testenv.Eventually(t, 10*time.Second, "writes again", func() bool { return c.ask("SET", "s:a:k", "x") == "+OK\r\n" })
}
