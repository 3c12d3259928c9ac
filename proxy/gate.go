package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"credproxy/proxy/upstream"
)

// The gate decides whether a command may run on a session.
//
// Invariants (all under the lock of the session's shard, but for leave):
//
//	G1  A command runs on a session only between enter and leave; inFlight counts it.
//	G2  enter succeeds only in state resident, and only for the run of Redis that the command's connection has.
//	G3  resident -> evicting needs nothing in flight, no save and no removal under way. So nothing that a client sends can change a
//	    key between the moment the evictor reads it and the moment it is gone, except by the side door, which WATCH sees.
//	G4  loading and evicting have exactly one flight; whoever ends the flight sets the next state under the lock, then
//	    closes done.
//
// Interleavings that matter:
//
//	two first touches      the first sets loading and starts the flight, the second finds loading and waits for it: one load.
//	touch during evicting  waits; then finds evicted (restores) or, if the eviction gave up, resident.
//	the toucher hangs up   the flight belongs to the proxy, not to the client: it goes on, and others wait for it undisturbed.
//	Redis restarts while a session is resident   the next command's connection has a newer run than the session (G2): restored
//	                       first. A command admitted just before fails with its connection (upstream rule 3).
//	Redis restarts during a load   the load notices that the current run is no longer its own and starts over.
//
// Rejected: one lock per session held over the command (a slow client or Redis would hold it, and a transaction over two
// sessions could deadlock); reference counts without states (a late toucher could not tell "going" from "gone").

// errStaleRun says that the connection belongs to a run of Redis that is over; the caller takes a new connection.
var errStaleRun = errors.New("the upstream Redis was restarted")

// tryEnter is the path of a resident session: one short lock, no allocation, no I/O. now is in unix milliseconds. likely is a session
// that the caller is in, or none: commands come in bursts to one session, which need not be looked up again.
func (s *sessions) tryEnter(likely ref, identity []byte, run upstream.Run, now int64) (ref, bool) {
	r, _, ok := s.tryEnterFor(nil, likely, identity, run, now)
	return r, ok
}

// tryEnterFor is tryEnter for a command that writes to key, nil for one that reads. marked: beginWrite has nothing to do, as the key's mark
// stands in Redis; no save takes it away while the session is busy.
func (s *sessions) tryEnterFor(key []byte, likely ref, identity []byte, run upstream.Run, now int64) (r ref, marked, ok bool) {
	sh, it := likely.sh, likely.it
	if it != nil && it.Key == string(identity) {
		sh.Lock()
	} else {
		sh, it = s.table.Acquire(identity)
	}
	if it == nil || it.Value.state != resident || it.Value.run != run || (it.Value.more != nil && it.Value.more.poison != nil) {
		sh.Unlock()
		return ref{}, false, false
	}
	s.recorder.used(it, now)
	sh.Touch(it, now)
	it.Value.in++
	marked = it.Value.more != nil && it.Value.more.isSettled(key)
	sh.Unlock()
	return ref{sh, it}, marked, true
}

// leave ends what enter began. It takes no lock: who looks for a session that is not busy, with the lock, sees it in flight until here.
func (r ref) leave() {
	atomic.AddInt32(&r.it.Value.out, 1)
}

// newFlight begins a flight, of which the first part is p.
func newFlight(p WaitPart, cancel func()) *flight {
	fl := &flight{done: make(chan struct{}), cancel: cancel}
	fl.watch.to(p)
	return fl
}

// evictPatience is how long a command waits for an eviction before it asks it to give up.
const evictPatience = 250 * time.Millisecond

// loadRetry is the pause between two attempts to load while Postgres or Redis is away.
const loadRetry = 100 * time.Millisecond

// loader starts the restore of a session whose state has just become loading; it must end the flight.
type loader func(r ref, fl *flight, run upstream.Run)

// enter waits until the session is resident and counts the command in. key is what the command names, for poisoned keys.
// It waits no longer than ctx allows; the error then says what it waited for.
// What it waited for is added to w.
func (s *sessions) enter(ctx context.Context, identity, key []byte, run upstream.Run, current func() upstream.Run, load loader, w *waited) (ref, error) {
	var last error
	for {
		if current() != run {
			return ref{}, errStaleRun
		}
		r, fl, err := s.admit(identity, key, run, load)
		if fl == nil {
			return r, err
		}
		done := w.watch(r, fl)
		last, err = fl.wait(ctx, last)
		if done(); err != nil {
			return ref{}, err
		}
	}
}

// admit makes one step: in, an error, or a flight to wait for.
func (s *sessions) admit(identity, key []byte, run upstream.Run, load loader) (ref, *flight, error) {
	return s.step(identity, key, run, load, s.access)
}

// access counts an access to a session that is there (restored: false) or about to be.
func (s *sessions) access(sh *shard, it *item, restored bool) {
	now := time.Now().UnixMilli()
	if restored {
		s.recorder.restored(it, now)
	} else {
		s.recorder.used(it, now)
	}
	sh.Touch(it, now)
}

// step is admit, with what is to be done because of the access.
func (s *sessions) step(identity, key []byte, run upstream.Run, load loader, access func(sh *shard, it *item, restored bool)) (ref, *flight, error) {
	sh := s.table.Shard(identity)
	sh.Lock()
	it := sh.Get(identity)
	if it == nil {
		it = sh.Add(string(identity), time.Now().UnixMilli())
		it.Value.fresh = true
	}
	r, g := ref{sh, it}, &it.Value
	if g.state == resident && g.run != run {
		g.state = unknown
		sh.Unlist(it)
	}
	switch g.state {
	case resident:
		defer sh.Unlock()
		if g.more != nil {
			if why, bad := g.more.poison[string(key)]; bad {
				return ref{}, nil, fmt.Errorf("key %q cannot be restored: %s", key, why)
			}
		}
		access(sh, it, false)
		g.in++
		return r, nil, nil
	case loading, evicting:
		defer sh.Unlock()
		return r, g.more.flight, nil
	}
	access(sh, it, true)
	fl := newFlight(WaitQueue, nil)
	g.state = loading
	g.detailLocked().flight = fl
	sh.Unlock()
	load(r, fl, run)
	return r, fl, nil
}

// wait returns when the flight is over. The error of a failed restore is kept (last): it is what the client hears if time
// runs out.
func (fl *flight) wait(ctx context.Context, last error) (error, error) {
	patience := time.NewTimer(evictPatience)
	defer patience.Stop()
	for {
		select {
		case <-fl.done:
			if fl.err == nil {
				return last, nil
			}
			return fl.err, pause(ctx, loadRetry, fl.err)
		case <-patience.C:
			if fl.cancel != nil {
				fl.cancel()
			}
		case <-ctx.Done():
			return last, fmt.Errorf("waited as long as restore.wait allows: %w", orElse(last, ctx.Err()))
		}
	}
}

// pause sleeps for d; if ctx ends first, the error says so because of why.
func pause(ctx context.Context, d time.Duration, why error) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waited as long as restore.wait allows: %w", why)
	}
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// endFlight sets the state that follows a flight and wakes those who wait for it.
func (r ref) endFlight(fl *flight, next state, err error) {
	r.sh.Lock()
	g := &r.it.Value
	g.state = next
	if g.more != nil && g.more.flight == fl {
		g.more.flight = nil
	}
	if next == resident && !g.aging {
		r.sh.List(r.it)
	} else {
		r.sh.Unlist(r.it)
	}
	if g.more != nil && !g.unsavedLocked() {
		g.more.announceLocked() // an eviction has saved what somebody waits for
	}
	g.restLocked()
	r.sh.Unlock()
	fl.err = err
	close(fl.done)
}
