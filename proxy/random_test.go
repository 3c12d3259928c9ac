package proxy_test

import (
	"fmt"
	"testing"
)

// RANDOMKEY draws every key about equally often, wherever it is, and none of the proxy's own.
func TestRandomKeyDrawsFromBothStores(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	const sessions, draws = 30, 3000
	for i := range sessions {
		c.want("+OK\r\n", "SET", fmt.Sprintf("s:r%d:k", i), "v")
	}
	e.admin("SYNC")
	for i := range sessions / 2 {
		e.evict(fmt.Sprintf("any/r%d", i))
	}
	check := func(how string, draw func() string, n int) {
		drawn := map[string]int{}
		for range n {
			drawn[draw()]++
		}
		for i := range sessions {
			key := fmt.Sprintf("s:r%d:k", i)
			// Evenly it is draws/sessions each; Redis's own draw is less even than that.
			if got, even := drawn[key], n/sessions; got < even/4 || got > even*3 {
				t.Errorf("%s: %s was drawn %d times of %d", how, key, got, n)
			}
			delete(drawn, key)
		}
		if len(drawn) > 0 {
			t.Errorf("%s: drew what is not there: %v", how, drawn)
		}
	}
	check("alone", func() string { return string(parseReply(t, c.ask("RANDOMKEY")).Str) }, draws)
	check("in a transaction", func() string {
		c.want("+OK\r\n", "MULTI")
		c.want("+QUEUED\r\n", "RANDOMKEY")
		return string(parseReply(t, c.ask("EXEC")).Elems[0].Str)
	}, draws)
	if n := e.stat("sessions_evicted"); n != sessions/2 {
		t.Errorf("drawing has restored sessions: %d of %d are still evicted", n, sessions/2)
	}
}

// Without Postgres the keys in Redis still come.
func TestRandomKeyWithoutPostgres(t *testing.T) {
	e, pg := newFailingEnv(t, nil)
	c := e.wire()
	c.want("+OK\r\n", "SET", "s:a:k", "v")
	c.want("+OK\r\n", "SET", "s:b:k", "v")
	e.admin("SYNC")
	e.evict("any/b")
	must(t, pg.Kill())
	for range 20 {
		c.want(bulkReply("s:a:k"), "RANDOMKEY")
	}
}
