package proxy

import (
	"context"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// room keeps used memory below max while many write at once. What a write or a restore may take is reserved before it is sent:
// to ask and to count are one step, or fifty clients would all find the room that there is for one. It lands when its reply is
// there; only what has landed before INFO was asked is contained in the answer for certain, so a sample leaves the rest counted.
//
// Rejected: to count when sending and to subtract with the next sample. What is on its way while INFO runs is then in neither.
type room struct {
	written atomic.Int64 // bytes reserved, ever
	landed  atomic.Int64 // of them those whose replies have come
	alarm   atomic.Int64 // from which value of written on a new sample is due
	tightAt atomic.Int64 // from which value of written on every command reserves by itself
	limit   atomic.Int64 // which value of written must not be passed: at it, memory may be full
	wanted  atomic.Int64 // the largest reservation that waits, bytes
	stuck   atomic.Int64 // since when nothing could be freed, unix nanoseconds; 0: it could
}

// stuckFor is how long nothing can be freed before those who wait go on and Redis judges: sessions may be busy or unsaved for a moment.
const stuckFor = 500 * time.Millisecond

// argTaken and keyTaken are about what a command's arguments (names, list nodes, table entries) and its key (entries in Redis, mark,
// residency) take beside their bytes.
const (
	argTaken = 48
	keyTaken = 128
)

// taken is about how much memory n bytes of payload take: the allocator rounds up by a quarter at most.
func taken(n int64) int64 { return n + n/4 }

// takenBy is the same for a command of n bytes with so many arguments.
func takenBy(n int64, args int) int64 { return taken(n) + keyTaken + int64(args)*argTaken }

// unsampled lets everything pass: memory has not been measured yet.
func (r *room) unsampled() {
	r.limit.Store(math.MaxInt64)
	r.tightAt.Store(math.MaxInt64)
}

// reserve counts n bytes that are about to be sent, unless memory could become full by them: then nothing is counted.
func (r *room) reserve(n int64) (ok, due bool) {
	now := r.written.Add(n)
	if now > r.limit.Load() {
		r.written.Add(-n)
		return false, true
	}
	return true, now >= r.alarm.Load()
}

// tight reports whether memory is so far gone that n bytes more must be reserved one by one.
func (r *room) tight(n int64) bool { return r.written.Load()+n >= r.tightAt.Load() }

// land says that what was reserved is in Redis, or will never be.
func (r *room) land(n int64) {
	if n != 0 {
		r.landed.Add(n)
	}
}

// demand notes that somebody waits for n bytes.
func (r *room) demand(n int64) {
	for {
		old := r.wanted.Load()
		if n <= old || r.wanted.CompareAndSwap(old, n) {
			return
		}
	}
}

// sampled takes in a sample that was begun when so much had landed and been written.
func (r *room) sampled(m *sample, landed, written int64, cfg *MemoryConfig) {
	m.due = m.used + m.ahead + written - landed
	limit := cfg.Budget.Max
	if limit <= 0 {
		r.unsampled()
		return
	}
	threshold := limit / 100 * int64(cfg.Budget.Threshold)
	// Above the threshold with nothing to evict, every hundredth of the budget is soon enough to look again.
	r.alarm.Store(max(landed+threshold-m.used-m.ahead, written+max(limit/100, 1)))
	r.tightAt.Store(landed + min(threshold, limit-limit/8) - m.used - m.ahead)
	r.limit.Store(landed + ceiling(limit, m) - m.used - m.ahead)
}

// atWork is what Redis takes for a moment while the proxy reads back what it saves and evicts, and while queries come in, bytes.
const atWork = 2 * readBytes

// ceiling is up to where memory is given away. The rest is for what Redis takes while it works, for what estimates miss, and for buffers
// of clients that it had a moment ago and may have again.
func ceiling(limit int64, m *sample) int64 {
	return limit - min(limit/32+atWork, limit/16) - min(max(m.swing-m.buffers, 0), limit/16)
}

// growth is what Redis's tables of keys take at once when the next keys come: one that is nearly full is copied to one of twice its size,
// 16 bytes for each of its places. keyspace is INFO's section.
func growth(keyspace string) (n int64) {
	for line := range strings.SplitSeq(keyspace, "\r\n") {
		for field := range strings.SplitSeq(line, ",") {
			name, text, _ := strings.Cut(field, "=")
			if strings.HasSuffix(name, "keys") || name == "expires" {
				count, _ := strconv.ParseUint(text, 10, 63)
				n += tableGrowth(count)
			}
		}
	}
	return n
}

func tableGrowth(count uint64) int64 {
	if count < 4 {
		return 0
	}
	size := uint64(1) << bits.Len64(count-1)
	if count < size-size/4 {
		return 0
	}
	return int64(16 * size)
}

// wrote counts bytes on their way to Redis whether there is room or not, and asks for a sample when they could have crossed the threshold.
func (p *policy) wrote(n int64) {
	if p.room.written.Add(n) >= p.room.alarm.Load() {
		p.wake()
	}
}

// reserve is room's, and asks for a sample when it is time.
func (p *policy) reserve(n int64) bool {
	ok, due := p.room.reserve(n)
	if due {
		p.wake()
	}
	return ok
}

// makeRoom reserves n bytes. It waits while memory is full and something may be freed, until ctx ends; then they are counted all the
// same, and Redis judges the write. The caller lets them land.
func (p *policy) makeRoom(ctx context.Context, n int64) {
	for !p.reserve(n) {
		if p.futile(n) {
			p.wrote(n)
			return
		}
		next := p.nextPass()
		p.room.demand(n)
		p.wake()
		select {
		case <-next:
		case <-ctx.Done():
			p.wrote(n)
			return
		}
	}
}

// futile reports whether it is of no use to wait for n bytes.
func (p *policy) futile(n int64) bool {
	if p.paused.Load() || !p.s.enforcing() || n >= p.config().Budget.Max*3/4 {
		return true
	}
	since := p.room.stuck.Load()
	return since > 0 && time.Now().UnixNano()-since > int64(stuckFor)
}

// freeing notes whether something could be freed, or nothing had to be.
func (r *room) freeing(yes bool) {
	if yes {
		r.stuck.Store(0)
	} else {
		r.stuck.CompareAndSwap(0, time.Now().UnixNano())
	}
}
