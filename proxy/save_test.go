package proxy_test

import (
	"context"
	"testing"
	"time"

	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// marks returns how many keys are marked in Redis.
func (e *env) marks() int64 {
	e.t.Helper()
	n, err := e.direct.HLen(context.Background(), "credproxy:2:dirty").Result()
	must(e.t, err)
	return n
}

// A mark outlives the save of its key, but not by much, whoever reads the session all the time.
func TestMarksGoWhenNobodyWrites(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	for _, id := range []string{"a", "b", "c"} {
		c.want("+OK\r\n", "SET", "s:"+id+":k", "v")
	}
	testenv.Eventually(t, 30*time.Second, "saved, and no mark left", func() bool {
		c.want(bulkReply("v"), "GET", "s:a:k")
		return e.stat("dirty_keys") == 0 && e.marks() == 0
	})
}

// What the last save before the end has left marked is no work for the next process.
func TestStopTakesMarksAway(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Sync.Interval = 500 * time.Millisecond })
	e.wire().want("+OK\r\n", "SET", "s:a:k", "v")
	testenv.Eventually(t, 30*time.Second, "saved", func() bool { return e.stat("dirty_keys") == 0 })
	e.stop()
	if n := e.marks(); n != 0 {
		t.Errorf("%d marks are left after a clean stop", n)
	}
}
