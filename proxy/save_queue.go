package proxy

import (
	"sync"
	"sync/atomic"
)

// saveQueue holds the sessions with something to save.
type saveQueue struct {
	keys   atomic.Int64  // dirty keys in all sessions, those that are being saved included
	seq    atomic.Uint64 // of changes
	oldest atomic.Int64  // when the oldest change not saved yet was made, unix milliseconds, 0: none; at most one pass too old
	kick   chan struct{} // wakes the saver before its interval is over
	mu     sync.Mutex    // guards refs; taken inside a shard's lock, never the other way round
	refs   []ref
}

// addLocked queues a session; the caller holds its shard's lock.
func (q *saveQueue) addLocked(r ref) {
	if r.it.Value.queued {
		return
	}
	r.it.Value.queued = true
	q.mu.Lock()
	q.refs = append(q.refs, r)
	q.mu.Unlock()
}

func (q *saveQueue) take() []ref {
	q.mu.Lock()
	defer q.mu.Unlock()
	refs := q.refs
	q.refs = nil
	return refs
}

func (q *saveQueue) wake() { kick(q.kick) }

// kick wakes the one goroutine that listens, if it is not about to wake anyway.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
