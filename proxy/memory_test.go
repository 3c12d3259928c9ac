package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// smallBudget evicts above 80 % of so many bytes, down to 70 %.
func smallBudget(size int64) func(*proxy.Config) {
	return func(cfg *proxy.Config) { cfg.Memory.Budget.Max = size }
}

// usedMemory asks Redis itself.
func (e *env) usedMemory() int64 { return e.memory("used_memory") }

// memory is a field of INFO memory.
func (e *env) memory(field string) int64 {
	for line := range strings.SplitSeq(e.direct.Info(context.Background(), "memory").Val(), "\r\n") {
		if text, ok := strings.CutPrefix(line, field+":"); ok {
			n, _ := strconv.ParseInt(text, 10, 64)
			return n
		}
	}
	return 0
}

// watchMemory samples used_memory until the returned function is called, which gives the highest that there was, and the number of
// samples. The highest is Redis's own record, taken after each command: it misses nothing between two samples.
func (e *env) watchMemory() (end func() (peak int64, samples int)) {
	stop, done := make(chan struct{}), make(chan struct{})
	samples := 0
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				e.usedMemory()
				samples++
			}
		}
	}()
	return func() (int64, int) {
		close(stop)
		<-done
		return e.memory("used_memory_peak"), samples
	}
}

// payload is n bytes that follow from a session's number and that do not compress.
func payload(i, n int) []byte {
	rnd := rand.New(rand.NewPCG(uint64(i), 1))
	b := make([]byte, n)
	for j := range b {
		b[j] = byte(rnd.Uint32())
	}
	return b
}

func TestFourTimesTheBudget(t *testing.T) {
	const budget, size, sessions, writers = 16 << 20, 48 << 10, 1366, 4 // 64 MB
	e := newEnv(t, smallBudget(budget))
	ctx := context.Background()
	end := e.watchMemory()
	var wg sync.WaitGroup
	var mu sync.Mutex
	written := 0
	next := func() int { // the writers take turns, so that the order of the sessions is known to a few
		mu.Lock()
		defer mu.Unlock()
		written++
		return written - 1
	}
	for range writers {
		wg.Go(func() {
			for i := next(); i < sessions; i = next() {
				b := payload(i, size)
				if err := e.client.Set(ctx, fmt.Sprintf("s:m%d:a", i), b[:size/2], 0).Err(); err != nil {
					t.Errorf("write session %d: %v", i, err)
				}
				if err := e.client.HSet(ctx, fmt.Sprintf("s:m%d:h", i), "f", b[size/2:]).Err(); err != nil {
					t.Errorf("write session %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	e.admin("SYNC")
	e.admin("CHECK")
	e.checkColdestWent(sessions)
	for i := range sessions {
		b := payload(i, size)
		if got, err := e.client.Get(ctx, fmt.Sprintf("s:m%d:a", i)).Bytes(); err != nil || !bytes.Equal(got, b[:size/2]) {
			t.Fatalf("session %d: %d bytes, %v", i, len(got), err)
		}
		if got, err := e.client.HGet(ctx, fmt.Sprintf("s:m%d:h", i), "f").Bytes(); err != nil || !bytes.Equal(got, b[size/2:]) {
			t.Fatalf("session %d: hash of %d bytes, %v", i, len(got), err)
		}
	}
	peak, samples := end()
	if peak > budget || samples < 100 {
		t.Errorf("used_memory reached %d of %d bytes, %d samples", peak, budget, samples)
	}
}

// checkColdestWent: sessions were written in the order of their numbers, so what is resident is the end of it.
func (e *env) checkColdestWent(sessions int) {
	e.t.Helper()
	const slack = 512 // writers run side by side, and a session that is being saved at the moment is passed over
	oldest, newest, n := sessions, -1, 0
	for id, state := range e.states() {
		i, err := strconv.Atoi(strings.TrimPrefix(id, "any/m"))
		must(e.t, err)
		switch state {
		case "resident":
			oldest = min(oldest, i)
			n++
		case "evicted":
			newest = max(newest, i)
		}
	}
	if newest > oldest+slack || n == 0 || n == sessions {
		e.t.Errorf("%d of %d sessions are resident; the oldest is %d while %d was evicted", n, sessions, oldest, newest)
	}
}

// What goes is exactly the least recently used part, whatever order sessions were made in; pinned and busy ones stay.
func TestVictimsAreTheLeastRecentlyUsed(t *testing.T) {
	const sessions, size = 60, 300 << 10
	e := newEnv(t, smallBudget(20<<20))
	ctx := context.Background()
	e.admin("PAUSE")
	for i := range sessions {
		must(t, e.client.Set(ctx, fmt.Sprintf("s:v%d:k", i), payload(i, size), 0).Err())
		e.admin("SYNC")
	}
	for _, i := range []int{2, 0, 7, 31} {
		must(t, e.client.Get(ctx, fmt.Sprintf("s:v%d:k", i)).Err())
	}
	e.admin("PIN", "any/v1")
	busy := e.wire()
	busy.want("+OK\r\n", "WATCH", "s:v3:k")
	if n := e.admin("CHECK"); n != int64(0) {
		t.Fatalf("%v sessions went while eviction was paused", n)
	}
	var order []string
	for _, id := range e.order() {
		if id != "v1" && id != "v3" {
			order = append(order, "any/"+id)
		}
	}
	e.admin("RESUME")
	testenv.Eventually(t, 10*time.Second, "memory under the threshold", func() bool { return e.usedMemory() < 16<<20 })
	e.admin("CHECK")
	states := e.states()
	n := 0
	for states[order[n]] == "evicted" {
		n++
	}
	if n == 0 || slices.ContainsFunc(order[n:], func(id string) bool { return states[id] == "evicted" }) {
		t.Errorf("%d went from the front, and others too: %v, in the order %v", n, states, order)
	}
	if states["any/v1"] != "resident" || states["any/v3"] != "resident" {
		t.Errorf("the pinned session is %s, the watched one %s", states["any/v1"], states["any/v3"])
	}
	if got := e.stat("evictions"); got != int64(n) {
		t.Errorf("%d evictions counted, %d seen", got, n)
	}
}

func TestInactiveSessionsLeave(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) {
		cfg.Memory.CheckInterval, cfg.Memory.InactivityTTL = 50*time.Millisecond, 400*time.Millisecond
	})
	c := e.wire()
	fillSessions(c, "idle", 40) // more than one batch
	c.want("+OK\r\n", "SET", "s:pinned:k", "v")
	e.admin("PIN", "any/pinned")
	e.admin("SYNC")
	testenv.Eventually(t, 10*time.Second, "idle sessions gone", func() bool {
		c.want("+OK\r\n", "SET", "s:working:k", "v")
		return e.stat("inactivity_evictions") >= 40
	})
	states := e.states()
	if states["any/working"] != "resident" || states["any/pinned"] != "resident" {
		t.Errorf("the session at work is %s, the pinned one %s", states["any/working"], states["any/pinned"])
	}
	if keys := e.direct.Keys(context.Background(), "s:idle*").Val(); len(keys) > 0 {
		t.Errorf("still in Redis: %v", keys)
	}
	wantSessions(c, "idle", 40)
	// It never means Postgres: what left once leaves and comes back again.
	e.waitState("any/idle0", "evicted")
	wantSessions(c, "idle", 40)
}

// A Redis over its maxmemory refuses every command inside MULTI, also one that frees memory. Sessions must be able to leave it
// nevertheless.
func TestRescueWhenRedisIsFarOverItsLimit(t *testing.T) {
	e := newEnv(t, nil)
	ctx := context.Background()
	const sessions, size = 60, 200 << 10
	for i := range sessions {
		must(t, e.client.Set(ctx, fmt.Sprintf("s:o%d:k", i), payload(i, size), 0).Err())
	}
	e.admin("SYNC")
	must(t, e.direct.ConfigSet(ctx, "maxmemory", "8mb").Err())
	must(t, e.client.Set(ctx, "s:new:k", "v", 0).Err())
	for i := range sessions {
		if got, err := e.client.Get(ctx, fmt.Sprintf("s:o%d:k", i)).Bytes(); err != nil || !bytes.Equal(got, payload(i, size)) {
			t.Fatalf("session %d: %d bytes, %v", i, len(got), err)
		}
	}
}

// Redis refuses writes at its own maxmemory, below the proxy's budget: the proxy makes room and no client sees it.
func TestRedisAtItsOwnLimit(t *testing.T) {
	e := newEnv(t, nil, "--maxmemory", "16mb")
	ctx := context.Background()
	const sessions, size = 100, 400 << 10
	for i := range sessions {
		must(t, e.client.Set(ctx, fmt.Sprintf("s:o%d:k", i), payload(i, size), 0).Err())
	}
	if e.stat("oom_rescues") == 0 {
		t.Error("no rescue was counted: nothing was tried")
	}
	for i := range sessions {
		if got, err := e.client.Get(ctx, fmt.Sprintf("s:o%d:k", i)).Bytes(); err != nil || !bytes.Equal(got, payload(i, size)) {
			t.Fatalf("session %d: %d bytes, %v", i, len(got), err)
		}
	}
}
