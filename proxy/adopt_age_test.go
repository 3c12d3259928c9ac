package proxy_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"credproxy/internal/testenv"
)

// oldSessions writes n sessions past the proxy, which nobody has used for 100, 110, 120... seconds, in a random order of ids. Every third
// has another key that was used later or earlier. It returns the ids from the longest idle one on, and how long that is.
func (e *env) oldSessions(n, size int) (order []string, idle map[string]int) {
	e.t.Helper()
	ctx := context.Background()
	payload := func(i int) string {
		must(e.t, e.direct.Set(ctx, "template", payload(i, size), 0).Err())
		return e.direct.Dump(ctx, "template").Val()
	}
	idle = map[string]int{}
	for rank, i := range rand.Perm(n) {
		id, age := fmt.Sprint("old", i), 100+10*(n-rank)
		keys := map[string]int{"k": age}
		if rank%3 == 0 {
			keys["a"], keys["z"] = age+500, age+700
		}
		for name, seconds := range keys {
			must(e.t, e.direct.Do(ctx, "RESTORE", "s:"+id+":"+name, 0, payload(i), "IDLETIME", seconds).Err())
		}
		order, idle[id] = append(order, id), age
	}
	must(e.t, e.direct.Del(ctx, "template").Err())
	return order, idle
}

// A Redis full of sessions that no proxy has seen: those that Redis says were idle longest go first.
func TestAdoptedSessionsLeaveByTheirAge(t *testing.T) {
	e := prepareEnv(t, smallBudget(20<<20))
	order, _ := e.oldSessions(90, 150<<10)
	e.start()
	testenv.Eventually(t, 30*time.Second, "adoption", func() bool { return e.stat("adoption_pending") == 0 })
	testenv.Eventually(t, 30*time.Second, "memory under the threshold", func() bool { e.admin("CHECK"); return e.usedMemory() < 16<<20 })
	states := e.states()
	n := 0
	for n < len(order) && states["any/"+order[n]] == "evicted" {
		n++
	}
	if n == 0 || n == len(order) || slices.ContainsFunc(order[n:], func(id string) bool { return states["any/"+id] != "resident" }) {
		t.Errorf("%d went from the front of %v, and others too: %v", n, order, states)
	}
	c := e.wire()
	c.want(bulkReply(string(payload(7, 150<<10))), "GET", "s:old7:k")
}

// The ages of adopted sessions survive a kill, and to start a proxy makes nobody younger.
func TestAdoptedAgesSurviveAKill(t *testing.T) {
	e := prepareEnv(t, nil)
	order, idle := e.oldSessions(30, 100)
	made := time.Now()
	_, kill := e.startChild(20 * time.Millisecond)
	testenv.Eventually(t, 30*time.Second, "adoption", func() bool { return e.stat("adoption_pending") == 0 })
	e.admin("SYNC")
	for round := range 2 {
		if got := e.order(); !slices.Equal(got, order) {
			t.Errorf("round %d: order %v, want %v", round, got, order)
		}
		for id, at := range e.lastAccess() {
			// Redis counts idle time in seconds, and says how long ago that was by a clock of seconds.
			want := made.Add(-time.Duration(idle[id]) * time.Second)
			if d := time.UnixMilli(at).Sub(want); d < -3*time.Second || d > time.Since(made)+3*time.Second {
				t.Errorf("round %d: %s was last used %s off", round, id, d)
			}
		}
		if round == 0 {
			kill()
			e.start()
		}
	}
}
