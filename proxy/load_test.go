package proxy_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"credproxy/proxy"
)

// rarely keeps the saver from asking Postgres anything by the clock, so that queries can be counted.
func rarely(cfg *proxy.Config) { cfg.Sync.Interval = time.Hour }

// queries runs f and returns how many queries Postgres was asked meanwhile.
func (e *env) queries(f func()) uint64 {
	before := e.store.Queries()
	f()
	return e.store.Queries() - before
}

// settled waits until the proxy asks Postgres nothing of its own accord: the start is over and everything is saved.
func (e *env) settled() {
	e.t.Helper()
	e.admin("SYNC")
	must(e.t, e.store.Ping(context.Background()))
}

func TestQueriesOfMisses(t *testing.T) {
	e := newEnv(t, rarely)
	c := e.wire()
	c.want("+OK\r\n", "SET", "s:there:a", "1")
	c.want(":1\r\n", "HSET", "s:there:h", "f", "1")
	for i := range 20 {
		c.want("+OK\r\n", "SET", fmt.Sprintf("s:gone%d:a", i), "1")
	}
	e.settled()
	for i := range 20 {
		e.evict(fmt.Sprintf("any/gone%d", i))
	}
	repeat := func(n int, want string, args ...string) func() {
		return func() {
			for range n {
				c.want(want, args...)
			}
		}
	}
	for _, test := range []struct {
		what string
		want uint64
		run  func()
	}{
		{"a session that does not exist: first touch", 1, repeat(1, "$-1\r\n", "GET", "s:nobody:creds")},
		{"a session that does not exist: every further touch", 0, repeat(100, "$-1\r\n", "GET", "s:nobody:creds")},
		{"another key of it", 0, repeat(10, "*0\r\n", "HGETALL", "s:nobody:keys")},
		{"1,000 misses of a loaded session", 0, func() {
			for i := range 1000 {
				c.want("$-1\r\n", "GET", fmt.Sprintf("s:there:missing-%d", i))
			}
		}},
		{"1,000 missing fields of a loaded session", 0, repeat(1000, "$-1\r\n", "HGET", "s:there:h", "nofield")},
		{"hits of a loaded session", 0, repeat(100, "$1\r\n1\r\n", "GET", "s:there:a")},
		{"keys of no session", 0, repeat(100, "$-1\r\n", "GET", "elsewhere")},
		{"one evicted session, touched and missed", 1, func() {
			repeat(1, "$-1\r\n", "GET", "s:gone0:missing")()
			repeat(50, "$-1\r\n", "GET", "s:gone0:missing")()
			repeat(1, "$1\r\n1\r\n", "GET", "s:gone0:a")()
		}},
		{"a command that names one evicted session twice", 1, repeat(1, ":2\r\n", "EXISTS", "s:gone1:a", "s:gone1:a")},
		{"a command that names three evicted sessions", 3, repeat(1, ":3\r\n", "EXISTS", "s:gone2:a", "s:gone3:a", "s:gone4:a")},
	} {
		if n := e.queries(test.run); n != test.want {
			t.Errorf("%s: %d queries, want %d", test.what, n, test.want)
		}
	}
}

// Every client comes at the same moment, over a connection of its own.
func TestThousandClientsCauseOneLoad(t *testing.T) {
	e := newEnv(t, rarely)
	ctx := context.Background()
	fields := map[string]any{}
	for i := range 2000 {
		fields[fmt.Sprintf("pre-key-%d", i)] = fmt.Sprint("value ", i)
	}
	must(t, e.client.HSet(ctx, "wa:auth:bot:keys", fields).Err())
	must(t, e.client.Set(ctx, "wa:auth:bot:creds", "secret", 0).Err())
	e.settled()
	e.evict("wa/bot")
	e.admin("CLEAR")

	clients := make([]*wire, 1000)
	for i := range clients {
		clients[i] = e.wire()
		clients[i].want("+PONG\r\n", "PING")
	}
	var wg sync.WaitGroup
	wrong := make(chan string, len(clients))
	start := make(chan struct{})
	for i, c := range clients {
		args, want := []string{"GET", "wa:auth:bot:creds"}, "$6\r\nsecret\r\n"
		if i%2 == 1 {
			args, want = []string{"HGET", "wa:auth:bot:keys", fmt.Sprintf("pre-key-%d", i)}, bulkReply(fmt.Sprint("value ", i))
		}
		wg.Go(func() {
			<-start
			if got, err := c.do(args...); err != nil || got != want {
				wrong <- fmt.Sprintf("client %d: %q, %v, want %q", i, got, err, want)
			}
		})
	}
	n := e.queries(func() {
		close(start)
		wg.Wait()
	})
	close(wrong)
	for text := range wrong {
		t.Error(text)
	}
	if n != 1 {
		t.Errorf("%d queries, want 1", n)
	}
	if n := e.stat("restores"); n != 1 {
		t.Errorf("%d restores, want 1", n)
	}
}

// Clients that hang up while a session is being restored must not fail those that stay.
func TestLoadOutlivesItsFirstClient(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	c.want("+OK\r\n", "SET", "s:a:k", "v")
	e.settled()
	e.evict("any/a")
	release := e.lockTables()
	first, second := e.wire(), e.wire()
	first.send("GET", "s:a:k")
	e.waitState("any/a", "loading")
	second.send("GET", "s:a:k")
	must(t, first.nc.Close())
	release()
	second.wantReply("$1\r\nv\r\n")
}

// A batch of commands is answered in order and in full when sessions in the middle of it have to be restored.
func TestPipelineAcrossEvictedSessions(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	const n = 60
	var want []string
	for i := range n {
		c.want("+OK\r\n", "SET", fmt.Sprintf("s:p%d:k", i), fmt.Sprint("v", i))
	}
	e.settled()
	for i := 0; i < n; i += 2 {
		e.evict(fmt.Sprintf("any/p%d", i))
	}
	for i := range n {
		c.send("GET", fmt.Sprintf("s:p%d:k", i))
		c.send("APPEND", fmt.Sprintf("s:p%d:k", i), "!")
		c.send("GET", fmt.Sprintf("s:p%d:none", i))
		v := fmt.Sprint("v", i)
		want = append(want, bulkReply(v), fmt.Sprintf(":%d\r\n", len(v)+1), "$-1\r\n")
	}
	var got []string
	for range want {
		got = append(got, c.reply())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}
