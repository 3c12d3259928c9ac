package restore

import (
	"context"
	"sync"

	"credproxy/internal/session"
)

// order gives the calls that write their fences, and lets calls on the same session follow each other in that order as
// long as their callers wait for them. So it is only a call whose caller gave up that a newer one can overtake, and that
// Postgres then turns away; calls that are merely concurrent never disturb each other.
//
// A call waits only for calls that entered before it, so no two wait for each other.
type order struct {
	mu   sync.Mutex
	last int64 // the fence of the newest call
	// newest holds, for each session that a call is under way on, the newest one; all the newest one on every session.
	newest map[session.ID]*turn
	all    *turn
	live   map[*turn]struct{}
}

// turn is one call's place in the order.
type turn struct {
	fence  int64
	ids    []session.ID // nil: every session
	before []*turn
	over   chan struct{} // closed when the call and all before it are over
}

// enter gives a call on the sessions its turn; nil stands for all sessions. The caller waits for it, and leaves in any case.
func (o *order) enter(ids []session.ID) *turn {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.newest == nil {
		o.newest, o.live = make(map[session.ID]*turn), make(map[*turn]struct{})
	}
	o.last++
	t := &turn{fence: o.last, ids: ids, over: make(chan struct{})}
	if ids == nil {
		for other := range o.live {
			t.before = append(t.before, other)
		}
		o.all = t
	} else {
		if o.all != nil {
			t.before = append(t.before, o.all)
		}
		o.followLocked(t)
	}
	o.live[t] = struct{}{}
	return t
}

func (o *order) followLocked(t *turn) {
	for _, id := range t.ids {
		other := o.newest[id]
		o.newest[id] = t
		// Calls on many sessions mostly meet the same other call on all of them.
		if other == nil || other == t || len(t.before) > 0 && t.before[len(t.before)-1] == other {
			continue
		}
		t.before = append(t.before, other)
	}
}

// wait returns when all calls before are over.
func (t *turn) wait(ctx context.Context) error {
	for _, other := range t.before {
		select {
		case <-other.over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// leave ends the turn. A call that gave up while it waited is over only when those before it are: who follows must not
// overtake them.
func (o *order) leave(t *turn) {
	for i, other := range t.before {
		select {
		case <-other.over:
			continue
		default:
		}
		go func() { // ends with the calls before, which their callers' contexts bound
			for _, other := range t.before[i:] {
				<-other.over
			}
			o.end(t)
		}()
		return
	}
	o.end(t)
}

func (o *order) end(t *turn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range t.ids {
		if o.newest[id] == t {
			delete(o.newest, id)
		}
	}
	if o.all == t {
		o.all = nil
	}
	delete(o.live, t)
	t.before = nil // whoever holds on to a turn does not hold on to all before it
	close(t.over)
}

// raise makes all later fences higher than fence.
func (o *order) raise(fence int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = max(o.last, fence)
}

func (o *order) current() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}
