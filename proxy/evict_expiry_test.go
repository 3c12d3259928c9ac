package proxy_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestEvictWhileKeysExpire: a key that expires while its session is being evicted makes Redis refuse the transaction. That is
// no reason not to evict, and none to warn of.
func TestEvictWhileKeysExpire(t *testing.T) {
	e := newEnv(t, nil)
	ctx := context.Background()
	must(t, e.client.Set(ctx, "s:a:stays", "v", 0).Err())
	for n := range 60 {
		for k := range 3 {
			must(t, e.client.Set(ctx, fmt.Sprintf("s:a:%d", k), "v", time.Duration(1+(n+5*k)%15)*time.Millisecond).Err())
		}
		if err := e.client.Do(ctx, "CREDPROXY", "EVICT", "a").Err(); err != nil {
			t.Fatalf("eviction %d: %v", n, err)
		}
	}
}

// TestDBSizeWhileSaving: the proxy's own keys come and go while changes are saved, and DBSIZE counts none of them.
func TestDBSizeWhileSaving(t *testing.T) {
	e := newEnv(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	must(t, e.client.Set(ctx, "s:a:k", "v", 0).Err())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			e.client.Set(ctx, "s:a:k", "v", 0)
			e.client.Do(ctx, "CREDPROXY", "SYNC")
		}
	})
	defer wg.Wait()
	defer cancel()
	for n := range 1500 {
		if got, err := e.client.DBSize(ctx).Result(); err != nil || got != 1 {
			t.Fatalf("DBSIZE %d: %d, %v", n, got, err)
		}
	}
}
