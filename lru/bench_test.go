package lru

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const million = 1_000_000

// state stands for the proxy's gate: 32 bytes.
type state [32]byte

// uuids makes n ids of 36 bytes.
func uuids(n int) [][]byte {
	ids := make([][]byte, n)
	for i := range ids {
		x := uint64(i) * 0x9e3779b97f4a7c15
		ids[i] = fmt.Appendf(nil, "%08x-%04x-%04x-%04x-%012x", uint32(x), x>>32&0xffff, x>>48, i&0xffff, i)
	}
	return ids
}

func fill(ids [][]byte) *Table[state] {
	table := New[state](0)
	for i, id := range ids {
		sh := table.Shard(id)
		sh.Lock()
		sh.Add(string(id), int64(i))
		sh.Unlock()
	}
	table.Relist(nil)
	return table
}

func heapBytes() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestMillionSessionsFitIn200BytesEach(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a table of a million sessions")
	}
	ids := uuids(million)
	before := heapBytes()
	table := fill(ids)
	each := float64(heapBytes()-before) / million
	runtime.KeepAlive(ids) // counted in before, so it must be there after
	if table.Listed() != million {
		t.Fatalf("%d sessions listed", table.Listed())
	}
	t.Logf("%.1f bytes a session", each)
	if each > 200 {
		t.Errorf("%.1f bytes a session, want at most 200", each)
	}
}

func TestTouchDoesNotAllocate(t *testing.T) {
	ids := uuids(1000)
	table := fill(ids)
	i := 0
	if n := testing.AllocsPerRun(5000, func() { touchOne(table, ids[i%1000], int64(2000+i)); i++ }); n != 0 {
		t.Errorf("%v allocations for a touch", n)
	}
}

func touchOne(table *Table[state], id []byte, now int64) {
	sh, it := table.Acquire(id)
	if it != nil {
		sh.Touch(it, now)
		it.Value[0]++
	}
	sh.Unlock()
}

// BenchmarkTouch is what the gate costs a command on a resident session, lock and lookup included, with 16 goroutines and a
// clock of 10 ms ticks. At a million sessions most of it is waiting for memory.
func BenchmarkTouch(b *testing.B) {
	for _, sessions := range []int{1_000, 10_000, 100_000, million} {
		ids := uuids(sessions)
		table := fill(ids)
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			var clock atomic.Int64
			clock.Store(10 * million)
			stop := tick(&clock)
			defer stop()
			b.ReportAllocs()
			b.SetParallelism(16 / min(16, runtime.GOMAXPROCS(0)))
			b.RunParallel(func(pb *testing.PB) {
				rng := rand.New(rand.NewPCG(rand.Uint64(), 1))
				for pb.Next() {
					touchOne(table, ids[rng.IntN(sessions)], clock.Load())
				}
			})
		})
	}
}

// tick moves the clock until stop is called.
func tick(clock *atomic.Int64) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				clock.Add(10)
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// BenchmarkOldest takes 1,000 victims of a million, alone and with 16 goroutines touching sessions all the time.
func BenchmarkOldest(b *testing.B) {
	ids := uuids(million)
	for _, touchers := range []int{0, 16} {
		table := fill(ids)
		b.Run(fmt.Sprintf("touching=%d", touchers), func(b *testing.B) {
			var stop atomic.Bool
			var wg sync.WaitGroup
			var clock atomic.Int64
			clock.Store(10 * million)
			for id := range touchers {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(id), 2))
					for !stop.Load() {
						touchOne(table, ids[rng.IntN(million)], clock.Load())
					}
				})
			}
			measureOldest(b, table, &clock)
			stop.Store(true)
			wg.Wait()
		})
	}
}

func measureOldest(b *testing.B, table *Table[state], clock *atomic.Int64) {
	var dst []*Item[state]
	var took []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		clock.Add(1)
		start := time.Now()
		dst = table.Oldest(dst[:0], 1000, func(it *Item[state]) bool { return it.Value[1] == 0 })
		took = append(took, time.Since(start))
		if len(dst) != 1000 {
			b.Fatalf("%d victims", len(dst))
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}

func BenchmarkRelist(b *testing.B) {
	ids := uuids(million)
	for b.Loop() {
		b.StopTimer()
		table := New[state](0)
		for i, id := range ids {
			sh := table.Shard(id)
			sh.Lock()
			sh.Add(string(id), int64(i*7919%million))
			sh.Unlock()
		}
		b.StartTimer()
		table.Relist(nil)
	}
}

func BenchmarkTop(b *testing.B) {
	table := fill(uuids(million))
	for b.Loop() {
		if got := table.Top(nil, 100, LeastRecent); len(got) != 100 {
			b.Fatalf("%d items", len(got))
		}
	}
}

// BenchmarkVictimsIn takes 32 victims of a million sessions in ten groups, of which the last has a thousand: its oldest stand
// among a million others and must cost no more for that.
func BenchmarkVictimsIn(b *testing.B) {
	ids := uuids(million)
	small := map[string]bool{}
	for i := 0; i < million; i += 1000 {
		small[string(ids[i])] = true
	}
	for _, p := range Policies() {
		table := NewGrouped[state](0, func(key string) int {
			if small[key] {
				return 9
			}
			return int(key[0]) % 9
		})
		table.SetPolicy(p)
		for i, id := range ids {
			put(table, string(id), int64(i), 4096)
		}
		for _, group := range []int{Every, 0, 9} {
			b.Run(fmt.Sprintf("%s/group=%d", p, group), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if got := table.VictimsIn(group, nil, 32, nil); len(got) == 0 {
						b.Fatal("no victims")
					}
				}
			})
		}
	}
}
