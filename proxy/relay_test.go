package proxy_test

import (
	"context"
	"strings"
	"testing"

	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// A client whose connection passes everything on (RESP3 tracking or subscription) may send any command; each gets its reply.
func TestCommandsOfTrackingClients(t *testing.T) {
	e := newEnv(t, nil)
	for _, first := range [][]string{{"CLIENT", "TRACKING", "ON"}, {"SUBSCRIBE", "news"}} {
		t.Run(first[0], func(t *testing.T) {
			w := dialProto(t, e.server.Addr().String(), 3)
			w.ask(first...)
			w.want("+OK\r\n", "SELECT", "1")
			w.want("+OK\r\n", "SET", "s:a:k", "v")
			w.want("$1\r\nv\r\n", "GET", "s:a:k")
			w.wantPrefix("*", "KEYS", "s:a:*")
			w.wantPrefix("*2\r\n", "SCAN", "0")
			w.wantPrefix(":", "DBSIZE")
			w.wantPrefix("=", "INFO", "server")
			w.want("+OK\r\n", "UNWATCH")
			w.want("+OK\r\n", "SELECT", "0")
			if first[0] == "CLIENT" {
				w.want("+OK\r\n", "CLIENT", "TRACKING", "ON")
				w.want("+OK\r\n", "CLIENT", "TRACKING", "OFF")
				w.want("+PONG\r\n", "PING")
			}
		})
	}
}

// What the proxy answers itself stays in its place among what passes by.
func TestOrderOfRelayedReplies(t *testing.T) {
	e := newEnv(t, nil)
	w := dialProto(t, e.server.Addr().String(), 3)
	w.want("+OK\r\n", "CLIENT", "TRACKING", "ON")
	w.writeAll([][]string{{"ECHO", "1"}, {"SHUTDOWN"}, {"ECHO", "2"}, {"DEBUG", "JMAP"}, {"ECHO", "3"}})
	for _, want := range []string{"$1\r\n1\r\n", "-NOPERM", "$1\r\n2\r\n", "-NOPERM", "$1\r\n3\r\n"} {
		if got := w.reply(); !strings.HasPrefix(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
	}
}

// A connection that a subscriber has given back may become another client's; when that one loses it, the first one stays.
func TestFormerSubscriberIsNotDisconnected(t *testing.T) {
	e := newEnv(t, nil)
	a := dialProto(t, e.server.Addr().String(), 2)
	for range 3 {
		a.ask("SUBSCRIBE", "news")
		a.ask("UNSUBSCRIBE", "news")
	}
	b := dialProto(t, e.server.Addr().String(), 2)
	b.want("+OK\r\n", "MULTI") // takes the connection that a had
	b.want("+RESET\r\n", "RESET")
	a.want("+PONG\r\n", "PING")
	a.ask("SUBSCRIBE", "news")
	a.want("+RESET\r\n", "RESET")
	a.want("+PONG\r\n", "PING")
}

// What Redis refuses must not be done in Postgres: a user who may not flush, an option or a database that does not exist.
func TestRefusedFlushFlushesNothing(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Flush = proxy.FlushAll })
	ctx := context.Background()
	must(t, e.direct.Do(ctx, "ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", "-flushall", "-flushdb", "-swapdb").Err())
	w := e.wire()
	w.want("+OK\r\n", "SET", "s:a:k", "v")
	e.evict("any/a")
	limited := e.wire()
	limited.want("+OK\r\n", "AUTH", "limited", "pw")
	for _, args := range [][]string{{"FLUSHALL"}, {"FLUSHDB"}, {"SWAPDB", "0", "1"}} {
		limited.wantPrefix("-NOPERM", args...)
	}
	for _, args := range [][]string{{"FLUSHALL", "NOW"}, {"FLUSHDB", "ASYNC", "SYNC"}, {"SWAPDB", "0", "99"}, {"SWAPDB", "-1", "0"}} {
		w.wantPrefix("-ERR", args...)
	}
	w.want("$1\r\nv\r\n", "GET", "s:a:k")
	w.want("+OK\r\n", "FLUSHALL", "ASYNC")
	w.want("$-1\r\n", "GET", "s:a:k")
}

// A SELECT that fails inside EXEC leaves the commands behind it, and the client, in the database where they were.
func TestFailingSelectInTransaction(t *testing.T) {
	e := newEnv(t, nil)
	w := e.wire()
	w.want("+OK\r\n", "SET", "s:a:k", "v")
	e.evict("any/a")
	w.want("+OK\r\n", "MULTI")
	w.want("+QUEUED\r\n", "SELECT", "99")
	w.want("+QUEUED\r\n", "GET", "s:a:k")
	w.want("*2\r\n-ERR DB index is out of range\r\n$1\r\nv\r\n", "EXEC")
	w.want("$1\r\nv\r\n", "GET", "s:a:k")
}

// The mark of a write travels in front of it. A Redis without memory refuses the mark, and lets a removal through.
func TestWritesAreMarkedWithoutMemory(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Sync.Interval = 1 << 40 })
	ctx := context.Background()
	w := e.wire()
	w.want(":2\r\n", "RPUSH", "s:a:list", "1", "2")
	e.admin("SYNC")
	testenv.Eventually(t, 5e9, "the mark of the first write is gone", func() bool {
		return !e.direct.HExists(ctx, "credproxy:2:dirty", "s:a:list").Val()
	})
	e.admin("PAUSE")
	must(t, e.direct.ConfigSet(ctx, "maxmemory", "1").Err())
	w.want("$1\r\n1\r\n", "LPOP", "s:a:list")
	marked := e.direct.HExists(ctx, "credproxy:2:dirty", "s:a:list").Val()
	must(t, e.direct.ConfigSet(ctx, "maxmemory", "0").Err())
	if !marked {
		t.Error("the write was answered and its key is not marked")
	}
}
