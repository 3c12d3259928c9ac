package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
	"credproxy/proxy/upstream"
)

// The evictor takes whole sessions out of Redis.
//
//	E1  The gate is closed (state evicting) and nothing is in flight from before the keys are read until they are gone.
//	E2  What is read under WATCH is committed in Postgres, byte for byte, before MULTI; or found to be what the application's
//	    own tables hold (O4). A change by the side door after the reading makes EXEC fail: the session stays.
//	E3  The transaction that removes the keys removes the residency entry and the marks: no crash can part them.
//	E4  Nothing is concluded from a Redis whose run is not the session's: absent there does not mean deleted.
//	E5  A session of more than watchMost keys goes in pieces (evict_large.go); E1 holds over all of them, E2 for each.
//
// A crash after the commit and before EXEC leaves the session in Redis and equal in Postgres; after EXEC, wholly evicted. If
// EXEC's reply is lost, the state becomes unknown and the next touch restores what is absent.
type evictor struct{ s *Server }

// victim is a session whose gate the evictor has closed.
type victim struct {
	ref   ref
	id    session.ID
	fl    *flight
	bytes int64
	why   cause
	heat  session.Heat
	dirty map[string]*dirtyKey
	marks map[string]*mark
	keys  []string // every key that the session may have in Redis
	known session.Snapshot
	skip  map[string]bool // poisoned keys: not in Redis, and not to be judged by that
	bad   map[string]bool // keys that are poisoned in Postgres by now: those that Redis has are saved anew
	gone  bool            // neither Redis nor Postgres has a key of it

	names  []string      // keys that clients may have written to it while it was away
	source []session.Key // sync = "off": what the application's tables have
	anew   bool          // Postgres has something else by now than what known says
	same   bool          // Postgres says already that it is away, and its keys' names
	fate   fate
}

// evictTimeout is how long one batch goes on without getting any further, so that a Postgres that has stopped answering holds no session's
// gate for long.
const evictTimeout = 5 * time.Second

// errNotEvictable says why a session stays.
type errNotEvictable struct{ why string }

func (e errNotEvictable) Error() string { return e.why }

// obstacleLocked says why a session cannot be evicted now, "" if it can.
func (s *Server) obstacleLocked(r ref, run upstream.Run) string {
	g := &r.it.Value
	switch {
	case g.state != resident:
		return "it is " + g.state.String()
	case g.run != run:
		return "Redis was restarted since it was last used"
	case g.pinned:
		return "it is pinned"
	case g.inFlight() > 0:
		return "it is in use: " + g.usersLocked()
	case g.more != nil && g.more.saving != nil:
		return "it is being saved"
	case g.more != nil && len(g.more.held) > 0:
		return "a removal is under way"
	case !s.adopter.done(s.sessions.dbOf(r.it.Key)):
		return "keys that were in Redis before the proxy are still being saved"
	}
	return ""
}

// close closes the gate of a session. One that was used since it was chosen may not be what the policy wants any more.
func (e *evictor) close(r ref, run upstream.Run, why cause, cancel func()) (*victim, error) {
	seen := e.s.policy.vantage()
	r.sh.Lock()
	defer r.sh.Unlock()
	if why := e.s.obstacleLocked(r, run); why != "" {
		return nil, errNotEvictable{why}
	}
	if why != byHand && (seen.usedLately(r.it) || why == idleTooLong && seen.atWork(r.it)) {
		return nil, errNotEvictable{"it was used a moment ago"}
	}
	g := &r.it.Value
	d := g.detailLocked()
	v := &victim{
		ref: r, id: e.s.sessions.id(r.it.Key), fl: newFlight(WaitEviction, cancel), bytes: r.it.Bytes,
		heat:  session.Heat{LastAccess: r.it.LastAccess, Hits: r.it.Hits, Bytes: r.it.Bytes},
		dirty: d.dirty, marks: d.marks, skip: map[string]bool{}, why: why,
	}
	g.state, d.flight, d.dirty, d.marks, d.settled = evicting, v.fl, nil, nil, ""
	for key := range d.poison {
		v.skip[key] = true
	}
	v.names = slices.Collect(maps.Keys(d.names))
	return v, nil
}

// open ends the eviction: with an error the session is what it was, or unknown if nobody can tell.
func (e *evictor) open(v *victim, next state) {
	ghost := e.s.thrash.note(v, next)
	v.ref.sh.Lock()
	d := v.ref.it.Value.detailLocked()
	n := len(v.dirty)
	e.settleLocked(v)
	switch {
	case next == evicted:
		d.poison, d.names, d.grown, v.ref.it.Value.away = nil, nil, false, false
		v.ref.it.Value.leftLocked(v.why, ghost)
		if v.gone && v.ref.it.Value.inFlight() == 0 {
			v.ref.sh.Remove(v.ref.it) // nothing to remember of a session that does not exist
		}
	default:
		d.putBackLocked(v.dirty, &e.s.saver.queue)
		if d.marks == nil {
			d.marks = v.marks
		}
		if len(d.dirty)+len(d.marks) > 0 {
			e.s.saver.queue.addLocked(v.ref)
		}
	}
	e.s.saver.queue.keys.Add(-int64(n)) // those that were put back are counted anew
	v.ref.sh.Unlock()
	v.ref.endFlight(v.fl, next, nil)
	e.s.moves.left(v.ref.it.Key)
}

// evict takes the sessions out that can go and returns how many went and their estimated bytes. Sessions that cannot go are passed
// over; the error is of the first batch of which none went.
func (e *evictor) evict(ctx context.Context, refs []ref, why cause) (n int, freed int64, err error) {
	byDB := map[int][]ref{}
	for _, r := range refs {
		db := e.s.sessions.dbOf(r.it.Key)
		byDB[db] = append(byDB[db], r)
	}
	for db, refs := range byDB {
		k, f, berr := e.batch(ctx, db, refs, why)
		if k == 0 && e.someCannot(ctx, berr) {
			k, f, berr = e.oneByOne(ctx, db, refs, why, berr)
		}
		n, freed, err = n+k, freed+f, orElse(err, berr)
	}
	e.s.stats.evicted(n, freed)
	return n, freed, err
}

// someCannot reports whether a batch failed because of a session in it, and not because a session in it was wanted or a store is
// away.
func (e *evictor) someCannot(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return false
	}
	if errors.Is(err, redis.TxFailedErr) || errors.As(err, new(errNotEvictable)) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, evictTimeout)
	defer cancel()
	return e.s.store.Ping(ctx) == nil && e.s.control.db(0).Ping(ctx).Err() == nil
}

// expiryTries is how often a session is tried whose keys changed meanwhile: no client can have written them, but each may expire.
const expiryTries = 5

// oneByOne evicts the sessions of a batch that failed each by itself. Those that fail again are passed over for a while, so that
// the others' turn comes.
func (e *evictor) oneByOne(ctx context.Context, db int, refs []ref, why cause, err error) (n int, freed int64, last error) {
	if len(refs) == 1 {
		for try := 1; try < expiryTries && errors.Is(err, redis.TxFailedErr); try++ {
			if n, freed, err = e.batch(ctx, db, refs, why); !e.someCannot(ctx, err) {
				return n, freed, err
			}
		}
		e.avoid(refs[0], err)
		return 0, 0, err
	}
	for _, r := range refs {
		k, f, err := e.batch(ctx, db, []ref{r}, why)
		if n, freed = n+k, freed+f; k == 0 && e.someCannot(ctx, err) {
			e.avoid(r, err)
		}
	}
	return n, freed, nil
}

// avoidFor is how long the policy passes over a session that could not be evicted.
const avoidFor = 30 * time.Second

func (e *evictor) avoid(r ref, why error) {
	if errors.As(why, new(errNotEvictable)) {
		return // it was busy just now
	}
	r.sh.Lock()
	r.it.Value.detailLocked().avoid = nowMilli() + avoidFor.Milliseconds()
	r.sh.Unlock()
	e.s.alarms.avoided(e.s.sessions.id(r.it.Key), why)
}

func (e *evictor) batch(ctx context.Context, db int, refs []ref, why cause) (int, int64, error) {
	ctx, cancel := whileAdvancing(ctx, evictTimeout)
	defer cancel()
	e.s.flushing.RLock()
	defer e.s.flushing.RUnlock()
	run := e.s.runs.Current()
	var victims []*victim
	var refusal error
	for _, r := range refs {
		v, err := e.close(r, run, why, cancel)
		if err != nil {
			refusal = orElse(refusal, err)
			continue
		}
		victims = append(victims, v)
	}
	if len(victims) == 0 {
		return 0, 0, refusal
	}
	err := e.recall(ctx, victims)
	n, freed := 0, int64(0)
	for _, group := range e.groups(victims) {
		next, gerr := resident, err
		if gerr == nil {
			next, gerr = e.takeOut(ctx, db, run, group)
		}
		for _, v := range group {
			e.open(v, next)
			if gerr == nil {
				n, freed = n+1, freed+v.bytes
			}
		}
		if refusal = orElse(refusal, gerr); ctx.Err() != nil {
			err = orElse(err, ctx.Err()) // the others stay
		}
	}
	if n > 0 {
		refusal = nil // the others' turn comes again
	}
	return n, freed, refusal
}

// watchMost is how many keys are watched at once: Redis 7 compares every key that it is to watch with all that it watches for the
// connection already, and stands still meanwhile: tens of milliseconds for 3,000 keys, seconds for 28,700.
const watchMost = 256

// groups divides victims into those that go in one transaction each.
func (e *evictor) groups(victims []*victim) [][]*victim {
	var groups [][]*victim
	room := 0
	for _, v := range victims {
		if len(groups) == 0 || len(v.keys) > room {
			groups, room = append(groups, nil), watchMost
		}
		last := len(groups) - 1
		groups[last] = append(groups[last], v)
		room -= len(v.keys)
	}
	return groups
}

// takeOut saves and removes the victims. The state says what they are afterwards.
func (e *evictor) takeOut(ctx context.Context, db int, run upstream.Run, victims []*victim) (state, error) {
	if err := ctx.Err(); err != nil {
		return resident, err
	}
	if len(victims[0].keys) > watchMost && !e.s.sessions.off {
		return e.takeOutLarge(ctx, db, run, victims[0])
	}
	cn := e.s.control.db(db).Conn()
	defer cn.Close()
	err := e.watch(ctx, cn, keysOf(victims))
	if err == nil {
		err = e.save(ctx, cn, run, victims)
	}
	e.s.barrier("evict-committed")
	if err == nil {
		err = ctx.Err() // somebody wants one of them: the last moment to give up
	}
	if err != nil {
		e.unwatch(cn)
		return resident, err
	}
	done := e.s.moves.leaving(victims)
	err = e.unlink(cn, victims)
	done(err == nil)
	e.s.barrier("evict-unlinked")
	switch {
	case err == nil:
		return evicted, nil
	case strings.HasPrefix(err.Error(), "EXECABORT"):
		return e.takeOutFull(ctx, cn, run, victims)
	case errors.Is(err, redis.TxFailedErr):
		return resident, fmt.Errorf("evict from Redis: %w", err)
	}
	return unknown, fmt.Errorf("evict from Redis: %w", err)
}

func keysOf(victims []*victim) []string {
	var keys []string
	for _, v := range victims {
		keys = append(keys, v.keys...)
	}
	return keys
}

func (e *evictor) watch(ctx context.Context, cn *redis.Conn, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	args := []any{"WATCH"}
	for _, key := range keys {
		args = append(args, key)
	}
	if err := cn.Do(ctx, args...).Err(); err != nil {
		return fmt.Errorf("watch keys to evict: %w", err)
	}
	return nil
}

// unwatch clears a connection before it goes back to the pool: a watch left on it would fail a later EXEC of somebody else.
func (e *evictor) unwatch(cn *redis.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), controlTimeout)
	defer cancel()
	if err := cn.Do(ctx, "UNWATCH").Err(); err != nil {
		e.s.log.Debug("a connection could not be cleared of its watches, it is closed", "error", err)
	}
}

// unlinkStep bounds the arguments of one UNLINK.
const unlinkStep = 1000

// unlink removes keys, entries and marks in one transaction. It takes no caller's context: given up half-way, nobody would
// know whether it ran.
func (e *evictor) unlink(cn *redis.Conn, victims []*victim) error {
	ctx, cancel := context.WithTimeout(context.Background(), controlTimeout)
	defer cancel()
	_, err := cn.TxPipelined(ctx, func(p redis.Pipeliner) error {
		for _, v := range victims {
			for keys := range slices.Chunk(v.keys, unlinkStep) {
				p.Unlink(ctx, keys...)
			}
			field := heatField(v.id)
			p.HDel(ctx, heatKey(field), field)
			// A mark may outlive its key (deleted, saved, still in use then), so the marks are named too.
			marked := slices.AppendSeq(slices.Clone(v.keys), maps.Keys(v.marks))
			for keys := range slices.Chunk(marked, unlinkStep) {
				p.HDel(ctx, dirtyMarks, keys...)
			}
		}
		return nil
	})
	return err
}
