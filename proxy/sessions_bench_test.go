package proxy

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"credproxy/keyspace"
	"credproxy/lru"
)

const million = 1_000_000

// benchSpecs are ten patterns as bots use them; the keys of the benchmarks are of the first.
func benchSpecs() []keyspace.Spec {
	return []keyspace.Spec{
		{Name: "wa", DB: 0, Patterns: []string{"wa:auth:{session}:creds", "wa:auth:{session}:keys", "wa:auth:{session}:meta"}},
		{Name: "evolution", DB: -1, Patterns: []string{"evolution:instance:{session}"}},
		{Name: "api", DB: 0, Patterns: []string{"@baileys-api:connections:{session}:authState"}},
		{Name: "signal", DB: 0, Patterns: []string{"signal:pk:{session}:*", "signal:sk:{session}:*"}},
		{Name: "web", DB: 0, Patterns: []string{"sess:{session}"}},
		{Name: "chat", DB: 0, Patterns: []string{"message_store:{session}"}},
		{Name: "store", DB: 0, Patterns: []string{"baileys:*:{session}:state"}},
	}
}

// tracked makes a table in which n sessions are resident in run 1, the first the least recently used.
func tracked(tb testing.TB, n int) *sessions {
	tb.Helper()
	s, err := newSessions(benchSpecs())
	if err != nil {
		tb.Fatal(err)
	}
	var buf []byte
	keys := newKeyWriter()
	for i := range n {
		key := keys.key(uint32(i))
		identity, ok := s.match(buf, 0, key)
		if !ok {
			tb.Fatalf("%s belongs to no session", key)
		}
		buf = identity
		sh := s.table.Shard(identity)
		sh.Lock()
		it := sh.Add(string(identity), int64(i))
		sh.SetBytes(it, 4096)
		it.Value.state, it.Value.run = resident, 1
		sh.Unlock()
	}
	s.table.Relist(nil)
	return s
}

func heapBytes() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMillionTrackedSessions measures the table as the proxy instantiates it, gate and ids of 36 bytes included.
func TestMillionTrackedSessions(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a table of a million sessions")
	}
	before := heapBytes()
	s := tracked(t, million)
	each := float64(heapBytes()-before) / million
	if s.table.Listed() != million {
		t.Fatalf("%d sessions are listed", s.table.Listed())
	}
	t.Logf("%.1f bytes a session", each)
	if each > 200 {
		t.Errorf("%.1f bytes a session, want at most 200", each)
	}
}

// passGate is what the gate costs a command on a resident session: match, enter, touch, leave.
func passGate(s *sessions, buf, key []byte, now int64) ([]byte, bool) {
	identity, ok := s.match(buf, 0, key)
	if !ok {
		return buf, false
	}
	r, ok := s.tryEnter(ref{}, identity, 1, now)
	if ok {
		r.leave()
	}
	return identity, ok
}

func TestGateDoesNotAllocate(t *testing.T) {
	s, keys := tracked(t, 1000), newKeyWriter()
	i, buf := 0, make([]byte, 0, 64)
	n := testing.AllocsPerRun(5000, func() {
		var ok bool
		if buf, ok = passGate(s, buf, keys.key(uint32(i%1000)), int64(million+i)); !ok {
			t.Error("the gate is closed")
		}
		i++
	})
	if n != 0 {
		t.Errorf("%v allocations for a passage of the gate", n)
	}
}

// ticking moves a clock by 1 ms every millisecond or so, until stop is called.
func ticking(clock *atomic.Int64) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				clock.Add(1)
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

// keyWriter writes the key of the session with number i into a buffer of its own: a command's key is in the processor's cache
// when it comes to the gate, and fetching it from an array of a million would be measured instead of the gate.
type keyWriter struct{ buf []byte }

var hexDigits = [16]byte([]byte("0123456789abcdef"))

func newKeyWriter() keyWriter {
	return keyWriter{[]byte("wa:auth:00000000-0000-0000-0000-000000000000:creds")}
}

func (w keyWriter) key(i uint32) []byte {
	id := w.buf[len("wa:auth:"):]
	x := uint64(i) * 0x9e3779b97f4a7c15
	for at := range 8 {
		id[at] = hexDigits[x>>(60-4*at)&15]
		id[35-at] = hexDigits[i>>(4*at)&15]
	}
	return w.buf
}

// picks chooses n sessions beforehand, so that choosing is not measured.
func picks(zipf bool, sessions, n int) []uint32 {
	rng := rand.New(rand.NewPCG(1, 2))
	z := rand.NewZipf(rng, 1.01, 1, uint64(sessions-1))
	out := make([]uint32, n)
	for i := range out {
		if zipf {
			out[i] = uint32(z.Uint64() * 2654435761 % uint64(sessions))
		} else {
			out[i] = uint32(rng.IntN(sessions))
		}
	}
	return out
}

// BenchmarkGate passes the gate from one goroutine and from sixteen. With a million sessions chosen evenly nearly every step
// waits for memory; skewed is how fleets behave.
func BenchmarkGate(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000, million} {
		s := tracked(b, n)
		for _, zipf := range []bool{false, true} {
			choice := picks(zipf, n, 1<<20)
			for _, goroutines := range []int{1, 16} {
				name := fmt.Sprintf("sessions=%d/zipf=%v/goroutines=%d", n, zipf, goroutines)
				b.Run(name, func(b *testing.B) { benchGate(b, s, choice, goroutines) })
			}
		}
	}
}

func benchGate(b *testing.B, s *sessions, choice []uint32, goroutines int) {
	var clock, seed atomic.Int64
	clock.Store(time.Now().UnixMilli())
	defer ticking(&clock)()
	b.ReportAllocs()
	work := func(next func() bool) {
		buf, keys := make([]byte, 0, 64), newKeyWriter()
		for i := uint64(seed.Add(1)) * 7919; next(); i++ {
			var ok bool
			if buf, ok = passGate(s, buf, keys.key(choice[i%uint64(len(choice))]), clock.Load()); !ok {
				b.Error("the gate is closed")
			}
		}
	}
	if goroutines == 1 {
		work(b.Loop)
		return
	}
	b.SetParallelism(goroutines / min(goroutines, runtime.GOMAXPROCS(0)))
	b.RunParallel(func(pb *testing.PB) { work(pb.Next) })
}

// BenchmarkVictims picks 1,000 victims out of a million sessions, in quiet and with 16 goroutines at the gate.
func BenchmarkVictims(b *testing.B) {
	s := tracked(b, million)
	for _, goroutines := range []int{0, 16} {
		b.Run(fmt.Sprintf("touching=%d", goroutines), func(b *testing.B) {
			var clock atomic.Int64
			clock.Store(time.Now().UnixMilli())
			defer ticking(&clock)()
			var stop atomic.Bool
			var wg sync.WaitGroup
			for g := range goroutines {
				wg.Go(func() {
					rng, buf, keys := rand.New(rand.NewPCG(uint64(g), 1)), make([]byte, 0, 64), newKeyWriter()
					for !stop.Load() {
						buf, _ = passGate(s, buf, keys.key(uint32(rng.IntN(million))), clock.Load())
					}
				})
			}
			var took []time.Duration
			var dst []*lru.Item[gate]
			for b.Loop() {
				start := time.Now()
				dst = s.table.Oldest(dst[:0], 1000, func(it *item) bool { return it.Value.state == resident && it.Value.inFlight() == 0 })
				took = append(took, time.Since(start))
			}
			stop.Store(true)
			wg.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
		})
	}
}
