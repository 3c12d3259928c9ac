package proxy

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"credproxy/keyspace"
)

// stats counts since the start of the process.
type stats struct {
	evictions, evictedBytes atomic.Int64
	memory, inactivity      atomic.Int64          // evictions by reason, with the next line: over the threshold, idle for too long,
	rescued, commanded      atomic.Int64          // Redis at maxmemory, CREDPROXY EVICT and its like,
	space                   atomic.Int64          // a keyspace over its own budget
	passed                  [reasons]atomic.Int64 // sessions that eviction has passed over, by reason
	restores, restoreErrors atomic.Int64
	hits, misses            atomic.Int64 // commands on sessions that were resident, and that had to wait
	commands                commandCounts
	rescues                 atomic.Int64
	slow                    atomic.Int64 // commands in the slow log, ever

	mu      sync.Mutex // guards latency and next
	latency []time.Duration
	next    int
}

// reset begins to count anew, but for what must only rise.
func (st *stats) reset() {
	for _, n := range []*atomic.Int64{&st.evictions, &st.evictedBytes, &st.memory, &st.inactivity, &st.rescued, &st.commanded, &st.space, &st.restores,
		&st.restoreErrors, &st.hits, &st.misses, &st.rescues, &st.slow} {
		n.Store(0)
	}
	for i := range st.passed {
		st.passed[i].Store(0)
	}
	st.commands.reset()
	st.mu.Lock()
	st.latency, st.next = nil, 0
	st.mu.Unlock()
}

// commandCounts counts commands by family. Each has a cache line of its own, so that clients that do different things do not
// slow each other down.
type commandCounts [len(keyspace.FamilyNames)]struct {
	n atomic.Int64
	_ [56]byte
}

// count counts one command, nil for one that the table does not know.
func (cc *commandCounts) count(cmd *keyspace.Command) {
	if cmd == nil {
		cc[0].n.Add(1)
		return
	}
	cc[cmd.Family].n.Add(1)
}

// load returns the commands of every family, and of all.
func (cc *commandCounts) load() (by [len(keyspace.FamilyNames)]int64, all int64) {
	for i := range cc {
		by[i] = cc[i].n.Load()
		all += by[i]
	}
	return by, all
}

func (cc *commandCounts) reset() {
	for i := range cc {
		cc[i].n.Store(0)
	}
}

// sampledBatches is of how many batches of a client one is timed.
const sampledBatches = 64

// batchTimer times some of a client's batches.
type batchTimer struct {
	begun time.Time
	n     uint32
}

// end ends a batch. One whose last command may block is no measure of anything.
func (t *batchTimer) end(c *client) {
	if t.n++; t.n%sampledBatches != 0 || c.s.cfg.Observe.Answered == nil {
		return
	}
	if cmd := c.last.Load(); cmd == nil || !cmd.Has(keyspace.Blocking) {
		c.s.cfg.Observe.Answered(time.Since(t.begun))
	}
}

// latencies is over how many of the last restores percentiles are taken.
const latencies = 2048

func (st *stats) evicted(n int, bytes int64) {
	st.evictions.Add(int64(n))
	st.evictedBytes.Add(bytes)
}

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
