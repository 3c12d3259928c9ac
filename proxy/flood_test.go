package proxy_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

var timesFlag = flag.Int("times", 2, "how many times the budget TestFlood writes")

// floodValue is what the n-th session of a writer holds: 1 to 32 KB that follow from its name.
func floodValue(writer, n int) []byte {
	size := 1<<10 + (writer*7919+n*104729)%(31<<10)
	return bytes.Repeat(payload(writer<<20|n, 64), size/64+1)[:size]
}

// warm reads a session that stays at work until done, and returns how long each read took.
func warm(ctx context.Context, cl *redis.Client, done func() bool) (took []time.Duration, err error) {
	for !done() {
		start := time.Now()
		if err := cl.Get(ctx, "s:warm:k").Err(); err != nil {
			return nil, fmt.Errorf("read the session at work: %w", err)
		}
		took = append(took, time.Since(start))
		time.Sleep(time.Millisecond) // its pace
	}
	slices.Sort(took)
	return took, nil
}

// Fifty clients write many times the budget as fast as they can: Redis never takes more than max, nobody sees an error, every byte can be
// read afterwards. How much slower a client at work becomes is said, not judged.
func TestFlood(t *testing.T) {
	const budget, writers = 16 << 20, 50
	e := newEnv(t, smallBudget(budget))
	ctx := context.Background()
	must(t, e.client.Set(ctx, "s:warm:k", "at work", 0).Err())
	begun := time.Now()
	atWork := redisClient(t, e.server.Addr().String(), "") // a connection that it shares with nobody
	quiet, err := warm(ctx, atWork, func() bool { return time.Since(begun) > time.Second/2 })
	must(t, err)

	var written atomic.Int64
	counts := make([]int, writers)
	end := e.watchMemory()
	var wg sync.WaitGroup
	for w := range writers {
		cl := redisClient(t, e.server.Addr().String(), "")
		wg.Go(func() {
			for written.Load() < int64(*timesFlag)*budget {
				value := floodValue(w, counts[w])
				if err := cl.Set(ctx, fmt.Sprintf("s:w%d-%d:k", w, counts[w]), value, 0).Err(); err != nil {
					t.Errorf("write session %d of writer %d: %v", counts[w], w, err)
					return
				}
				counts[w]++
				written.Add(int64(len(value)))
			}
		})
	}
	var over atomic.Bool
	go func() { wg.Wait(); over.Store(true) }()
	floor := make(chan []time.Duration, 1)
	go func() { // the same beside the proxy: what the machine and Redis have left for anybody
		took, _ := warm(ctx, redisClient(t, e.redis.Addr(), ""), over.Load)
		floor <- took
	}()
	busy, err := warm(ctx, atWork, over.Load)
	atRedis := <-floor
	wg.Wait()
	must(t, err)
	for w, n := range counts {
		for i := range n {
			if got, err := e.client.Get(ctx, fmt.Sprintf("s:w%d-%d:k", w, i)).Bytes(); err != nil || !bytes.Equal(got, floodValue(w, i)) {
				t.Fatalf("session %d of writer %d: %d bytes, %v", i, w, len(got), err)
			}
		}
	}
	peak, samples := end()
	e.noneReserved()
	at := func(took []time.Duration, percent int) time.Duration {
		if len(took) == 0 {
			return 0
		}
		return took[len(took)*percent/100]
	}
	t.Logf("%d MB written; used_memory reached %d of %d bytes, %d samples", written.Load()>>20, peak, budget, samples)
	t.Logf("p50 and p99 of a client at work %s, %s; in quiet %s, %s; of one that asks Redis itself meanwhile %s, %s",
		at(busy, 50), at(busy, 99), at(quiet, 50), at(quiet, 99), at(atRedis, 50), at(atRedis, 99))
	if peak > budget {
		t.Errorf("used_memory reached %d of %d bytes", peak, budget)
	}
}
