package proxy_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"credproxy/internal/testenv"
)

// manyKeys writes a session of n strings; every third expires some day.
func (e *env) manyKeys(session string, n int) {
	e.t.Helper()
	pipe := e.client.Pipeline()
	for i := range n {
		ttl := time.Duration(0)
		if i%3 == 0 {
			ttl = time.Hour
		}
		pipe.Set(context.Background(), fmt.Sprintf("s:%s:%d", session, i), fmt.Sprintf("value %d", i), ttl)
	}
	_, err := pipe.Exec(context.Background())
	must(e.t, err)
}

// A session of many keys goes in pieces, and comes back whole.
func TestLargeSessionIsEvictedInPieces(t *testing.T) {
	e := newEnv(t, nil)
	ctx := context.Background()
	const n = 3071
	e.manyKeys("a", n)
	for round := range 3 {
		must(t, e.client.Set(ctx, "s:a:7", fmt.Sprint("round ", round), 0).Err()) // not saved yet
		e.evict("any/a")
		if left := e.direct.Keys(ctx, "s:a:*").Val(); len(left) > 0 {
			t.Fatalf("%d keys are still in Redis", len(left))
		}
		if got := e.client.Get(ctx, "s:a:7").Val(); got != fmt.Sprint("round ", round) {
			t.Errorf("the last write before the eviction: %q", got)
		}
		for i := range n {
			if got := e.client.Get(ctx, fmt.Sprintf("s:a:%d", i)).Val(); i != 7 && got != fmt.Sprintf("value %d", i) {
				t.Fatalf("key %d: %q", i, got)
			}
		}
		if ttl := e.client.TTL(ctx, "s:a:3").Val(); ttl <= 0 || ttl > time.Hour {
			t.Errorf("a TTL came back as %v", ttl)
		}
	}
}

// Nobody sees a part of a session while it goes in pieces, or while an eviction gives up between two of them.
func TestLargeSessionIsNeverTorn(t *testing.T) {
	e := newEnv(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	const n = 2000
	e.manyKeys("a", n)
	var wg sync.WaitGroup
	var reads, evictions atomic.Int64
	for w := range 4 {
		wg.Go(func() {
			for i := w; ctx.Err() == nil; i = (i + 7) % n {
				got, err := e.client.Get(context.Background(), fmt.Sprintf("s:a:%d", i)).Result()
				if err != nil || got != fmt.Sprintf("value %d", i) {
					t.Errorf("key %d: %q, %v", i, got, err)
					return
				}
				reads.Add(1)
				if i%50 == w {
					time.Sleep(20 * time.Millisecond) // an eviction gets somewhere
				}
			}
		})
	}
	for round := 0; round < 200 && !t.Failed(); round++ {
		if k, err := e.client.Do(context.Background(), "CREDPROXY", "EVICT", "any/a").Int64(); err == nil {
			evictions.Add(k)
		}
	}
	cancel()
	wg.Wait()
	t.Logf("%d evictions, %d reads", evictions.Load(), reads.Load())
	if evictions.Load() == 0 || reads.Load() == 0 {
		t.Error("nothing was tried")
	}
}

// A change by the side door between two pieces keeps the changed key, and what went before is back on the next touch.
func TestLargeSessionChangedBehindTheProxy(t *testing.T) {
	e := newEnv(t, nil)
	ctx := context.Background()
	const n = 700
	e.manyKeys("a", n)
	must(t, e.client.Do(ctx, "CREDPROXY", "SYNC").Err())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default: // only while the key is there: a key made anew would be another matter
				e.direct.SetXX(ctx, "s:a:99", fmt.Sprint("side ", i), 0)
			}
		}
	})
	for range 6 {
		e.client.Do(ctx, "CREDPROXY", "EVICT", "any/a")
		for i := range n {
			got, err := e.client.Get(ctx, fmt.Sprintf("s:a:%d", i)).Result()
			if err != nil || i != 99 && got != fmt.Sprintf("value %d", i) {
				t.Fatalf("key %d: %q, %v", i, got, err)
			}
		}
	}
	close(stop)
	wg.Wait()
}

// A proxy that is killed between two pieces: the next one brings back what is gone, and deletes nothing of what is left.
func TestLargeSessionOfAKilledProxy(t *testing.T) {
	const n = 3000
	ctx := context.Background()
	between := 0
	for round := range 8 {
		e := prepareEnv(t, rarely)
		_, kill := e.startChild(time.Hour)
		e.manyKeys("a", n)
		e.admin("SYNC")
		must(t, e.client.Set(ctx, "s:a:2990", "acknowledged, not saved", 0).Err())
		evicted := make(chan struct{})
		go func() {
			defer close(evicted)
			e.client.Do(ctx, "CREDPROXY", "EVICT", "any/a") // it is killed meanwhile
		}()
		goal := int64(n - 1 - round*n/8) // kill when so few of the keys are left
		testenv.Eventually(t, 20*time.Second, "pieces to go", func() bool { return e.direct.DBSize(ctx).Val() <= goal })
		kill()
		<-evicted
		if left := len(e.direct.Keys(ctx, "s:a:*").Val()); 0 < left && left < n {
			between++
		}
		e.start()
		for i := range n {
			want := fmt.Sprintf("value %d", i)
			if i == 2990 {
				want = "acknowledged, not saved"
			}
			if got, err := e.client.Get(ctx, fmt.Sprintf("s:a:%d", i)).Result(); got != want || err != nil {
				t.Fatalf("killed with %d keys left: key %d: %q, %v", goal, i, got, err)
			}
		}
		e.stop()
	}
	if between == 0 {
		t.Error("no kill fell between two pieces")
	}
	t.Logf("%d of 8 kills fell between two pieces", between)
}
