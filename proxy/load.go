package proxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"credproxy/internal/session"
	"credproxy/proxy/upstream"
)

// poisoned is an error of the store that names keys which it has but cannot give back, with the reasons; the others are good.
type poisoned interface {
	error
	PoisonedKeys() map[string]string
}

// loadTimeout is how long an attempt to restore a session goes on without getting any further; a waiting command makes several.
const loadTimeout = 10 * time.Second

// maxLoads is how many sessions are restored at once; each may hold a whole session in memory.
const maxLoads = 32

// load is the loader of the gate: it restores a session in a goroutine of the proxy's own.
func (s *Server) load(r ref, fl *flight, run upstream.Run) {
	s.brief(func() {
		select {
		case s.loads <- struct{}{}:
			defer func() { <-s.loads }()
		case <-s.base.Done():
			r.endFlight(fl, unknown, errShuttingDown)
			return
		}
		start, was := time.Now(), r.departureOf()
		ctx, cancel := whileAdvancing(s.base, loadTimeout)
		defer cancel()
		found, err := s.restore(ctx, r, fl, run)
		if err != nil && strings.Contains(err.Error(), "OOM") {
			fl.watch.to(WaitRoom)
			if s.policy.rescue(ctx) > 0 {
				found, err = s.restore(ctx, r, fl, run)
			}
		}
		if err != nil {
			s.stats.restoreErrors.Add(1)
			s.alarms.restore(s.sessions.id(r.it.Key), err)
			r.endFlight(fl, unknown, err)
			return
		}
		if found > 0 {
			d := time.Since(start)
			s.stats.restored(d)
			s.thrash.returned(was, s.policy.holding(), time.Now())
			if f := s.cfg.Observe.Restored; f != nil {
				f(d)
			}
		}
	})
}

// restore brings a session into Redis, ends the flight and returns how many keys Postgres had. The gate is closed (state
// loading); with an error it stays so.
//
//	R1  Only what is absent in Redis is written, each key atomically, so a value that is there is never replaced.
//	R2  The session becomes resident only if Redis is still the same run at the end; otherwise what was written may be gone.
//	R3  The residency entry is written after the keys, or in one script with them that writes it last: a proxy killed in
//	    between finds no entry and restores again. There is none while a key is poisoned (M1).
//	R4  FLUSHALL and its like come before the reading of Postgres or after the end of the flight: they find the session
//	    resident and make it unknown, or what they have flushed is not read.
//
// It makes no room itself when Redis is full: eviction needs the lock that is held here.
func (s *Server) restore(ctx context.Context, r ref, fl *flight, run upstream.Run) (_ int, err error) {
	id := s.sessions.id(r.it.Key)
	if err := s.meta.prepare(ctx, id.DB, run); err != nil {
		return 0, fmt.Errorf("load session %q: %w", id, err)
	}
	s.flushing.RLock()
	defer s.flushing.RUnlock()
	in := &filling{s: s, ctx: ctx, id: id, r: r, to: newFiller(ctx, s.control.db(id.DB)), watch: &fl.watch}
	in.to.coming = s.moves.arriving(id.DB, r.it.Key)
	defer func() {
		if err != nil {
			in.to.abandon()
			in.to.coming.drop()
		}
	}()
	defer in.land()
	in.expect()
	snap, err := s.store.LoadParts(ctx, id, time.Now().UnixMilli(), in.part)
	poison, err := splitPoison(err)
	if err != nil {
		return 0, fmt.Errorf("load session %q from Postgres: %w", id, err)
	}
	if planted("false-nil") {
		snap.Keys = nil
	}
	if snap.FromSource {
		snap.Keys = s.sourceKeys(id, snap.Keys)
	}
	if snap.FromSource && !s.sessions.off {
		if err := s.markSource(ctx, r, id.DB, snap.Keys); err != nil {
			return 0, fmt.Errorf("restore session %q: %w", id, err)
		}
	}
	if err := in.complete(snap, run, poison); err != nil {
		return 0, fmt.Errorf("restore session %q: %w", id, err)
	}
	s.barrier("restore-entered")
	if err := s.control.checkRun(run); err != nil {
		return 0, err
	}
	in.to.coming.settle(func() { r.endFlight(fl, resident, nil) })
	return in.keys, nil
}

// arrive writes what the restore has found into the session's record; the state stays loading until the flight ends.
func (s *Server) arrive(r ref, snap session.Snapshot, size int64, run upstream.Run, poison map[string]string) {
	s.alarms.poisoned(s.sessions.id(r.it.Key), poison)
	r.sh.Lock()
	defer r.sh.Unlock()
	g := &r.it.Value
	g.run, g.loaded = run, time.Now().UnixNano()
	r.sizedLocked(sizeOfRestored(snap, size))
	if g.fresh {
		r.it.Hits += snap.Heat.Hits
		g.fresh = false
	}
	d := g.detailLocked()
	d.poison = nil
	d.doubtLocked() // marks of a run that is over may be gone with it
	if len(poison) > 0 {
		d.poison = poison
	}
	switch {
	case s.sessions.off:
		s.arriveOffLocked(r, snap)
	case snap.FromSource:
		s.dirtySourceLocked(r, snap.Keys)
	}
	if len(d.dirty)+len(d.marks) > 0 { // changes of a run that is over: what came back is compared with Postgres once more
		s.saver.queue.addLocked(r)
	}
}

func splitPoison(err error) (map[string]string, error) {
	var p poisoned
	if !errors.As(err, &p) {
		return map[string]string{}, err
	}
	return p.PoisonedKeys(), nil
}

// keyOverhead is about what Redis spends on a key beside its payload, in bytes.
const keyOverhead = 96

// fieldOverhead is the same for a field of a hash.
const fieldOverhead = 40

func sizeOf(keys []session.Key) int64 {
	var n int64
	for i := range keys {
		n += keys[i].Bytes() + keyOverhead + int64(len(keys[i].Fields))*fieldOverhead
	}
	return n
}
