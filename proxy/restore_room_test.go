package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
)

// Restores wait until there is room for what they bring back: many at once, of sessions that together would fill Redis half again over its
// budget, do not take it over that.
func TestRestoresMakeRoomFirst(t *testing.T) {
	const budget, sessions, size, clients = 24 << 20, 100, 300 << 10, 32
	e := newEnv(t, smallBudget(budget))
	ctx := context.Background()
	for i := range sessions {
		must(t, e.client.Set(ctx, fmt.Sprintf("s:r%d:k", i), payload(i, size), 0).Err())
		if i == sessions/2 {
			e.admin("SYNC") // or the last ones could not go
		}
	}
	e.admin("SYNC")
	var away []int
	states := e.states()
	for i := range sessions {
		if states[fmt.Sprintf("any/r%d", i)] == "evicted" {
			away = append(away, i)
		}
	}
	if len(away) < sessions/4 {
		t.Fatalf("only %d of %d sessions are out", len(away), sessions)
	}
	end := e.watchMemory()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for n := c; n < len(away); n += clients {
				i := away[n]
				// Not GET: replies on their way are used memory of Redis's, too.
				if n, err := e.client.StrLen(ctx, fmt.Sprintf("s:r%d:k", i)).Result(); err != nil || n != size {
					t.Errorf("session %d: %d bytes, %v", i, n, err)
				}
			}
		})
	}
	wg.Wait()
	peak, samples := end()
	t.Logf("used_memory reached %.1f of %.1f MB, %d samples; %d sessions were out", float64(peak)/(1<<20), float64(budget)/(1<<20), samples, len(away))
	if peak > budget+2*size { // other tests see to it that not a byte more is used
		t.Errorf("used_memory reached %d of %d bytes", peak, budget)
	}
	for _, i := range away {
		if got, err := e.client.Get(ctx, fmt.Sprintf("s:r%d:k", i)).Bytes(); err != nil || !bytes.Equal(got, payload(i, size)) {
			t.Errorf("session %d: %d bytes, %v", i, len(got), err)
		}
	}
	if n := e.stat("restores"); n < int64(len(away)) {
		t.Errorf("%d restores of %d sessions", n, len(away))
	}
}
