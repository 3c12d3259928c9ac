package proxy_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"credproxy/internal/resp"
	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// slowEnv is a proxy whose slow log has every command that waits at all.
func slowEnv(t *testing.T, wait time.Duration) *env {
	return newEnv(t, func(c *proxy.Config) { c.SlowWait = wait })
}

func number(v resp.Value, name string) int64 {
	if f := field(v, name); f != nil {
		return f.Int
	}
	return -1
}

// A command that waited for a restore is in the slow log in both protocols: with its session and what it waited for, without key and value.
func TestSlowLog(t *testing.T) {
	e := slowEnv(t, time.Nanosecond)
	ctx := context.Background()
	must(t, e.client.HSet(ctx, "wa:auth:slow:keys", "secret-field", "secret-value").Err())
	e.admin("SYNC")
	e.admin("SLOWLOG", "RESET")
	e.evict("wa/slow")
	must(t, e.client.HGet(ctx, "wa:auth:slow:keys", "secret-field").Err())
	must(t, e.client.HGet(ctx, "wa:auth:slow:keys", "secret-field").Err()) // it is in Redis now and waits for nothing
	for proto, kind := range map[string]byte{"2": '*', "3": '%'} {
		c := e.wire()
		c.ask("HELLO", proto)
		c.want(":1\r\n", "CREDPROXY", "SLOWLOG", "LEN")
		raw := c.ask("CREDPROXY", "SLOWLOG")
		list := parseReply(t, raw)
		if len(list.Elems) != 1 || list.Elems[0].Kind != kind {
			t.Fatalf("RESP%s: %q", proto, raw)
		}
		w := list.Elems[0]
		if strings.Contains(raw, "secret") || strings.Contains(raw, "wa:auth") {
			t.Errorf("the slow log shows what the client sent: %q", raw)
		}
		if string(field(w, "session").Str) != "wa/slow" || string(field(w, "command").Str) != "HGET" || number(w, "failed") != 0 {
			t.Errorf("RESP%s: %q", proto, raw)
		}
		took, parts := number(w, "took_us"), int64(0)
		for _, part := range []string{"queue", "room", "postgres", "redis", "eviction", "unsaved"} {
			parts += number(w, part+"_us")
		}
		if number(w, "postgres_us") <= 0 || number(w, "redis_us") <= 0 || parts > took || parts < took-10 { // microseconds are rounded down
			t.Errorf("the parts are %d of %d us: %q", parts, took, raw)
		}
	}
	if n := e.stat("slow_waits"); n != 2 { // the HSET of a session that nobody knew was the first
		t.Errorf("STATS: %d slow waits", n)
	}
	e.admin("SLOWLOG", "RESET")
	if n := e.admin("SLOWLOG", "LEN"); n != int64(0) {
		t.Errorf("%v entries after RESET", n)
	}
}

func TestSlowLogSubcommands(t *testing.T) {
	e := slowEnv(t, time.Nanosecond)
	c := e.wire()
	for _, id := range []string{"a", "b", "c"} {
		c.want("+OK\r\n", "SET", "s:"+id+":k", "v")
	}
	for args, want := range map[string]int{"GET": 3, "GET 2": 2, "GET -1": 3, "get 0": 0, "": 3} {
		list := parseReply(t, c.ask(strings.Fields("CREDPROXY SLOWLOG "+args)...))
		if len(list.Elems) != want || want > 0 && string(field(list.Elems[0], "session").Str) != "any/c" {
			t.Errorf("SLOWLOG %s: %+v", args, list)
		}
	}
	for args, reply := range map[string]string{
		"GET x": "-ERR value is not an integer or out of range\r\n", "GET -2": "-ERR value is not an integer or out of range\r\n",
		"LEN 1": "-ERR syntax error\r\n", "RESET now": "-ERR syntax error\r\n", "HELP": "-ERR syntax error\r\n",
	} {
		c.want(reply, strings.Fields("CREDPROXY SLOWLOG "+args)...)
	}
}

// With Postgres away a command fails in the end, and the log says for what it waited. Quick ones are not in it.
func TestSlowLogSaysWhatFailed(t *testing.T) {
	pg := testenv.Postgres(t)
	e := prepareEnv(t, func(c *proxy.Config) { c.SlowWait, c.Sync.Wait = time.Second, 2*time.Second })
	e.dsn = pg.DSN()
	e.start()
	ctx := context.Background()
	must(t, e.client.Set(ctx, "s:gone:k", "v", 0).Err())
	e.evict("any/gone")
	if n := e.admin("SLOWLOG", "LEN"); n != int64(0) {
		t.Fatalf("%v entries, and nothing was slow: %v", n, e.admin("SLOWLOG"))
	}
	must(t, pg.Kill())
	if err := e.client.Get(ctx, "s:gone:k").Err(); err == nil || !strings.HasPrefix(err.Error(), "TRYAGAIN") {
		t.Fatalf("GET: %v", err)
	}
	list := e.server.SlowLog(-1)
	if len(list) != 1 || !list[0].Failed || list[0].Session != "any/gone" || list[0].Took < 2*time.Second {
		t.Errorf("%+v", list)
	}
}
