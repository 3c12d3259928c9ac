package lru

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// gate is a Value as the proxy has one: plain fields, guarded by nothing but the shard's lock.
type gate struct {
	inFlight int
	uses     int
}

// TestSixteenGoroutines lets clients, an evictor and readers loose on one table. Under -race it proves the locking; in any
// case no access may be lost, no victim busy, no list broken.
func TestSixteenGoroutines(t *testing.T) {
	for _, p := range Policies() {
		t.Run(string(p), func(t *testing.T) { sixteenGoroutines(t, p) })
	}
}

func sixteenGoroutines(t *testing.T, p Policy) {
	const clients, accesses, keys = 13, 20_000, 2_000
	table := New[gate](16)
	table.SetPolicy(p)
	var clock atomic.Int64
	var stop atomic.Bool
	var work, background sync.WaitGroup
	for id := range clients {
		work.Go(func() { useSessions(table, &clock, uint64(id), accesses, keys) })
	}
	background.Go(func() {
		for !stop.Load() {
			evictIdle(t, table)
		}
	})
	background.Go(func() {
		for !stop.Load() {
			checkTop(t, table)
		}
	})
	background.Go(func() {
		for !stop.Load() {
			table.Relist(nil)
			if sum := table.Totals(); sum.Listed > sum.Len || sum.Len > keys {
				t.Errorf("totals are %+v", sum)
			}
		}
	})
	work.Wait()
	stop.Store(true)
	background.Wait()
	checkLists(t, table)
	uses, hits := 0, uint64(0)
	table.Range(func(_ *Shard[gate], it *Item[gate]) bool {
		uses += it.Value.uses
		hits += it.Hits
		return true
	})
	if uses != clients*accesses || hits != clients*accesses {
		t.Errorf("%d uses and %d hits, want %d", uses, hits, clients*accesses)
	}
}

func useSessions(table *Table[gate], clock *atomic.Int64, seed uint64, accesses, keys int) {
	rng := rand.New(rand.NewPCG(seed, seed))
	for range accesses {
		key := fmt.Appendf(nil, "session:%d", rng.IntN(keys))
		now := clock.Add(visit / 100) // read before the lock, so that times arrive out of order
		sh, it := table.Acquire(key)
		if it == nil {
			it = sh.Add(string(key), now)
		}
		sh.Touch(it, now)
		sh.List(it)
		sh.SetBytes(it, int64(rng.IntN(1000)))
		it.Value.inFlight++
		it.Value.uses++
		sh.Unlock()
		sh.Lock()
		it.Value.inFlight--
		sh.Unlock()
	}
}

func evictIdle(t *testing.T, table *Table[gate]) {
	victims := table.Victims(nil, 50, func(it *Item[gate]) bool { return it.Value.inFlight == 0 })
	seen := map[*Item[gate]]bool{}
	for _, it := range victims {
		if seen[it] {
			t.Error("a session is a victim twice")
		}
		seen[it] = true
		sh := table.ShardString(it.Key)
		sh.Lock()
		if sh.GetString(it.Key) == it && it.Value.inFlight == 0 {
			sh.Unlist(it)
		}
		sh.Unlock()
	}
}

func checkTop(t *testing.T, table *Table[gate]) {
	top := table.Top(nil, 100, MostHits)
	for i := 1; i < len(top); i++ {
		if top[i-1].Hits < top[i].Hits {
			t.Error("the ranking is out of order")
		}
	}
}

// TestRangeBesideChanges adds and removes items while others must be seen exactly once.
func TestRangeBesideChanges(t *testing.T) {
	const steady = 10_000
	table := New[int](2)
	for i := range steady {
		put(table, fmt.Sprintf("steady-%d", i), int64(i), 1)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for id := range 4 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				it := put(table, fmt.Sprintf("passing-%d-%d", id, i%20_000), int64(i), 1)
				if i%3 != 0 {
					with(table, it.Key, func(sh *Shard[int], it *Item[int]) { sh.Remove(it) })
				}
			}
		})
	}
	for range 20 {
		visits := map[string]int{}
		table.Range(func(_ *Shard[int], it *Item[int]) bool {
			visits[it.Key]++
			return true
		})
		for i := range steady {
			if n := visits[fmt.Sprintf("steady-%d", i)]; n != 1 {
				t.Fatalf("steady-%d was visited %d times", i, n)
			}
		}
	}
	stop.Store(true)
	wg.Wait()
	checkLists(t, table)
}

// TestRangeLetsOthersIn wants a goroutine that needs the lock to get it before all items have been visited.
func TestRangeLetsOthersIn(t *testing.T) {
	const items = 200_000
	table := numbered(1, items)
	var entered atomic.Bool
	var wg sync.WaitGroup
	visited := 0
	table.Range(func(sh *Shard[int], _ *Item[int]) bool {
		if visited == 0 {
			wg.Go(func() {
				sh.Lock()
				entered.Store(true)
				sh.Unlock()
			})
		}
		visited++
		runtime.Gosched()
		return !entered.Load()
	})
	wg.Wait()
	if visited == items {
		t.Error("the lock was held from the first item to the last")
	}
}
