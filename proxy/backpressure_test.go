package proxy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// TestWritesWaitWhenTooMuchIsUnsaved bounds what is remembered while Postgres is away: beyond the bound writes to sessions wait
// and then get TRYAGAIN; reads and keys of no session go on; nothing acknowledged is lost.
func TestWritesWaitWhenTooMuchIsUnsaved(t *testing.T) {
	const bound = 20
	e, pg := newFailingEnv(t, func(cfg *proxy.Config) {
		cfg.Sync.MaxUnsaved, cfg.Sync.Wait = bound, time.Second
	})
	ctx := context.Background()
	must(t, e.client.Set(ctx, "s:one:first", "v", 0).Err())
	e.admin("SYNC")
	must(t, pg.Stop(ctx))
	for i := range bound {
		must(t, e.client.Set(ctx, fmt.Sprintf("s:one:%d", i), "v", 0).Err())
	}
	for _, write := range [][]any{{"SET", "s:one:more", "v"}, {"EVAL", "return redis.call('SET', KEYS[1], 'v')", 1, "s:one:more"}} {
		err := e.client.Do(ctx, write...).Err()
		if err == nil || !strings.HasPrefix(err.Error(), "TRYAGAIN") {
			t.Fatalf("%s beyond the bound: %v, want TRYAGAIN", write[0], err)
		}
	}
	if n := e.direct.Exists(ctx, "s:one:more").Val(); n != 0 {
		t.Fatal("a refused write was sent to Redis")
	}
	if v, err := e.client.Get(ctx, "s:one:3").Result(); v != "v" || err != nil {
		t.Fatalf("a read beyond the bound: %q, %v", v, err)
	}
	must(t, e.client.Set(ctx, "of:no:session", "v", 0).Err())
	testenv.RestartPostgres(t, pg)
	testenv.Eventually(t, 15*time.Second, "everything saved", func() bool { return e.stat("dirty_keys") == 0 })
	must(t, e.client.Set(ctx, "s:one:more", "v", 0).Err())
	for i := range bound {
		if got := e.saved(anyID("one"), fmt.Sprintf("s:one:%d", i)); got != "v" {
			t.Fatalf("key %d in Postgres: %q", i, got)
		}
	}
	e.stop() // while Postgres is there
}
