package proxy

import (
	"sync"
	"sync/atomic"
	"time"
)

// saveQueue holds the sessions with something to save, in the order in which they came.
type saveQueue struct {
	keys   atomic.Int64  // dirty keys in all sessions, those that are being saved included
	seq    atomic.Uint64 // of changes
	oldest atomic.Int64  // when the oldest change not saved yet was made, unix milliseconds, 0: none; at most an interval too old
	kick   chan struct{} // wakes the saver before its time has come

	mu    sync.Mutex // guards what follows; taken inside a shard's lock, never the other way round
	turn  uint64     // number of the last place that was given
	first []waiting  // of sessions that wait for their turn
	again []waiting  // of those whose turn came in vain: they could not be taken as a whole, or not be saved
}

// waiting is one in the queue.
type waiting struct {
	ref
	turn  uint64
	since time.Time
}

// addLocked queues a session; the caller holds its shard's lock.
func (q *saveQueue) addLocked(r ref) { q.queueLocked(r, &q.first) }

// retryLocked queues a session whose turn came in vain; the caller holds its shard's lock.
func (q *saveQueue) retryLocked(r ref) { q.queueLocked(r, &q.again) }

func (q *saveQueue) queueLocked(r ref, list *[]waiting) {
	if r.it.Value.queued {
		return
	}
	r.it.Value.queued = true
	now := time.Now()
	q.mu.Lock()
	q.turn++
	*list = append(*list, waiting{r, q.turn, now})
	q.mu.Unlock()
}

// last is the number of the place that was given last.
func (q *saveQueue) last() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.turn
}

// pop takes the next session out, of those that had their place when upTo was the last.
func (q *saveQueue) pop(upTo uint64) (r ref, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, list := range []*[]waiting{&q.again, &q.first} {
		if p := *list; len(p) > 0 && p[0].turn <= upTo {
			r, p[0], *list = p[0].ref, waiting{}, p[1:]
			return r, true
		}
	}
	return ref{}, false
}

// dueLooks bounds how many places are looked at to find out when saving must begin.
const dueLooks = 1024

// due returns when saving must begin so that each session has its turn in time, if batches keep to p and pause as long as they take. Without
// any it is an interval away, however slow batches have been: or the saver would never rest.
func (q *saveQueue) due(p *pace, now time.Time) time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := now.Add(p.interval)
	step := 1 + len(q.first)/dueLooks
	for i := 0; i < len(q.first); i += step {
		before := time.Duration(i+step-1) * 2 * p.each
		if t := q.first[i].since.Add(p.slack() - before); t.Before(at) {
			at = t
		}
	}
	if len(q.again) > 0 {
		if t := q.again[0].since.Add(p.recheck()); t.Before(at) {
			at = t
		}
	}
	return at
}

// waitsSince returns since when the session waits that came first.
func (q *saveQueue) waitsSince() (at time.Time, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, list := range [][]waiting{q.again, q.first} {
		if len(list) > 0 && (!ok || list[0].since.Before(at)) {
			at, ok = list[0].since, true
		}
	}
	return at, ok
}

func (q *saveQueue) wake() { kick(q.kick) }

// kick wakes the one goroutine that listens, if it is not about to wake anyway.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
