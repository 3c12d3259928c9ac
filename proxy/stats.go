package proxy

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// stats counts since the start of the process.
type stats struct {
	evictions, inactivity   atomic.Int64
	restores, restoreErrors atomic.Int64
	hits, misses            atomic.Int64 // commands on sessions that were resident, and that had to wait
	commands                atomic.Int64
	rescues                 atomic.Int64

	mu      sync.Mutex // guards latency and next
	latency []time.Duration
	next    int
}

// latencies is over how many of the last restores percentiles are taken.
const latencies = 2048

func (st *stats) evicted(n int) { st.evictions.Add(int64(n)) }

func (st *stats) restored(d time.Duration) {
	st.restores.Add(1)
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.latency) < latencies {
		st.latency = append(st.latency, d)
		return
	}
	st.latency[st.next] = d
	st.next = (st.next + 1) % latencies
}

// percentiles returns the median and the 99th percentile of the last restores, 0 if there were none.
func (st *stats) percentiles() (p50, p99 time.Duration) {
	st.mu.Lock()
	sorted := slices.Sorted(slices.Values(st.latency))
	st.mu.Unlock()
	if len(sorted) == 0 {
		return 0, 0
	}
	at := func(p int) time.Duration { return sorted[(len(sorted)-1)*p/100] }
	return at(50), at(99)
}

func nowMilli() int64 { return time.Now().UnixMilli() }
