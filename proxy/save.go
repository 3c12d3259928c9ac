package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
	"credproxy/proxy/upstream"
)

// The saver brings what has changed in Redis to Postgres: it takes the dirty keys, reads their state back from Redis, and
// commits it. It does not care which command made the change.
//
//	S1  Dirty keys are taken before they are read. A write that ends after the reading makes its key dirty again, so a
//	    change is never missed; a write that is in flight during the reading may be saved twice.
//	S2  A key with a removal in flight (held) is not taken, and a removal waits for the save that has taken its key. So no
//	    save that read the key before its removal commits after it.
//	S3  Only a session that is resident in the current run of Redis is read; if the run changes meanwhile, nothing of what
//	    was read is saved: absent in a Redis that lost its data does not mean deleted.
//	S4  What could not be saved is dirty again.
type saver struct {
	s     *Server
	queue saveQueue

	gen     atomic.Uint64
	lastErr atomic.Pointer[error]
	saved   atomic.Int64 // keys saved since the start
}

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

// saveBatch bounds one round trip: how many keys are read and committed together.
const saveBatch = 512

// saveTimeout bounds one batch.
const saveTimeout = 30 * time.Second

// maxSaveBackoff is the longest pause between two attempts while Postgres is away.
const maxSaveBackoff = 5 * time.Second

// run saves every interval, or sooner when somebody waits, until ctx ends.
func (v *saver) run(ctx context.Context, interval time.Duration) {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	backoff := interval
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-v.queue.kick:
		}
		if err := v.pass(ctx); err != nil {
			backoff = min(backoff*2, maxSaveBackoff)
		} else {
			backoff = interval
		}
		timer.Reset(backoff)
	}
}

// job is what is taken of one session.
type job struct {
	ref  ref
	id   session.ID
	keys map[string]*dirtyKey
	seq  uint64
	run  upstream.Run // in which the keys were taken, and must be read
	done chan struct{}
	heat session.Heat

	marks map[string]*mark // taken out of the record, to be removed from Redis
}

// pass saves everything that is queued now; the first error ends it.
func (v *saver) pass(ctx context.Context) error {
	start := time.Now().UnixMilli()
	byDB := map[int][]ref{}
	for _, r := range v.queue.take() {
		db := v.s.sessions.dbOf(r.it.Key)
		byDB[db] = append(byDB[db], r)
	}
	var first error
	for db, refs := range byDB {
		for len(refs) > 0 && first == nil {
			var jobs []*job
			jobs, refs = v.takeBatch(refs)
			if len(jobs) == 0 {
				continue
			}
			first = v.saveJobs(ctx, db, jobs)
		}
		v.requeue(refs)
	}
	v.note(first, start)
	return first
}

func (v *saver) note(err error, start int64) {
	v.s.alarms.saving(err, v.queue.keys.Load())
	if err != nil {
		v.lastErr.Store(&err)
		return
	}
	v.lastErr.Store(nil)
	if v.queue.keys.Load() == 0 {
		v.queue.oldest.Store(0)
	} else {
		v.queue.oldest.Store(start)
	}
}

func (v *saver) requeue(refs []ref) {
	for _, r := range refs {
		r.sh.Lock()
		r.it.Value.queued = false
		v.queue.addLocked(r)
		r.sh.Unlock()
	}
}

// takeBatch takes dirty keys from the front of refs until the batch is full and returns the rest of refs.
func (v *saver) takeBatch(refs []ref) (jobs []*job, rest []ref) {
	run, n := v.s.runs.Current(), 0
	for i, r := range refs {
		if n >= saveBatch {
			return jobs, refs[i:]
		}
		j := v.takeOne(r, run)
		if j == nil {
			continue
		}
		n += len(j.keys)
		jobs = append(jobs, j)
	}
	return jobs, nil
}

func (v *saver) takeOne(r ref, run upstream.Run) *job {
	r.sh.Lock()
	defer r.sh.Unlock()
	g := &r.it.Value
	g.queued = false
	d := g.more
	if d == nil || (len(d.dirty) == 0 && len(d.marks) == 0) {
		return nil
	}
	if g.orphaned(run) {
		if len(d.dirty) > 0 {
			kick(v.s.orphans)
		}
		return nil // queued again when it is resident: its keys must not be read as they are now
	}
	if g.state != resident {
		v.queue.addLocked(r) // the flight is over soon
		return nil
	}
	j := &job{ref: r, id: v.s.sessions.id(r.it.Key), keys: map[string]*dirtyKey{}, seq: d.dirtySeq, run: run, done: make(chan struct{})}
	for name, k := range d.dirty {
		if d.held[name] > 0 {
			j.seq = 0
			continue
		}
		if _, bad := d.poison[name]; bad { // Redis lacks it because it cannot be restored, not because it was deleted
			delete(d.dirty, name)
			v.queue.keys.Add(-1)
			continue
		}
		j.keys[name] = k
		delete(d.dirty, name)
	}
	if len(d.dirty) > 0 {
		v.queue.addLocked(r)
	}
	j.heat = session.Heat{LastAccess: r.it.LastAccess, Hits: r.it.Hits, Bytes: r.it.Bytes}
	d.saving = j.done
	return j
}

// saveJobs reads and commits one batch, and says so to everyone who waits for it.
func (v *saver) saveJobs(ctx context.Context, db int, jobs []*job) error {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	again, err := v.commit(ctx, db, jobs)
	var pairs []any
	for _, j := range jobs {
		v.settle(j, again[j.ref], err)
		if err == nil {
			pairs = append(pairs, j.takeMarks()...)
		}
	}
	// The marks go while the sessions still count as being saved: an eviction must not leave one behind.
	uerr := v.s.meta.unmark(ctx, db, pairs)
	v.s.barrier("save-unmarked")
	if err == nil {
		v.measure(ctx, db, jobs)
	}
	for _, j := range jobs {
		v.finish(j, uerr != nil)
	}
	return orElse(err, uerr)
}

// commit saves the jobs' keys as Redis has them and returns those that must be read again as a whole.
func (v *saver) commit(ctx context.Context, db int, jobs []*job) (again map[ref]map[string]*dirtyKey, err error) {
	v.s.flushing.RLock()
	defer v.s.flushing.RUnlock()
	var wants []wanted
	var owner []*job
	for _, j := range jobs {
		for name, k := range j.keys {
			wants = append(wants, wanted{key: name, patch: !k.whole, fields: slices.Collect(maps.Keys(k.fields))})
			owner = append(owner, j)
		}
	}
	readings, err := readKeys(ctx, v.s.control.db(db), wants, v.s.greeting.atLeast(7, 4))
	if err != nil {
		return nil, err
	}
	// The run of the taking, not of now: a restart in between would make everything that Redis has lost look deleted (S3).
	if err := v.s.control.checkRun(jobs[0].run); err != nil {
		return nil, err
	}
	again = map[ref]map[string]*dirtyKey{}
	whole := func(j *job, key string) {
		if again[j.ref] == nil {
			again[j.ref] = map[string]*dirtyKey{}
		}
		again[j.ref][key] = &dirtyKey{whole: true}
	}
	changes := map[*job]*session.Change{}
	for i, rd := range readings {
		j := owner[i]
		if rd.again {
			whole(j, wants[i].key)
			continue
		}
		c := changes[j]
		if c == nil {
			c = &session.Change{Session: j.id, Heat: j.heat}
			changes[j] = c
		}
		c.Keys = append(c.Keys, rd.change)
	}
	refused, err := v.store(ctx, changes)
	if err != nil {
		return nil, err
	}
	for _, ref := range refused {
		for _, j := range jobs {
			if j.id == ref.Session {
				whole(j, ref.Key)
			}
		}
	}
	v.saved.Add(int64(len(readings) - len(refused)))
	return again, nil
}

func (v *saver) store(ctx context.Context, changes map[*job]*session.Change) ([]session.Ref, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	list := make([]session.Change, 0, len(changes))
	for _, c := range changes {
		list = append(list, *c)
	}
	v.s.barrier("save-read")
	refused, err := v.s.store.Save(ctx, list, time.Now().UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("save changed keys: %w", err)
	}
	v.s.barrier("save-committed")
	return refused, nil
}

// settle says in the session's record what became of its changes.
func (v *saver) settle(j *job, again map[string]*dirtyKey, err error) {
	r := j.ref
	r.sh.Lock()
	defer r.sh.Unlock()
	d := r.it.Value.detailLocked()
	defer v.queue.keys.Add(-int64(len(j.keys))) // after those that are put back are counted anew
	switch {
	case err != nil:
		d.putBackLocked(j.keys, &v.queue)
	case len(again) > 0:
		d.putBackLocked(again, &v.queue)
	case j.seq > d.savedSeq:
		d.savedSeq = j.seq
		d.announceLocked()
	}
}

// takeMarks takes the marks of saved keys out of the record and returns them as key and generation alternately. A command in
// flight may have found its mark there and written none, so marks stay while the session is busy.
func (j *job) takeMarks() (pairs []any) {
	j.ref.sh.Lock()
	defer j.ref.sh.Unlock()
	d := j.ref.it.Value.more
	if j.ref.it.Value.busy > 0 || d == nil {
		return nil
	}
	j.marks = map[string]*mark{}
	for key, m := range d.marks {
		if d.dirty[key] == nil {
			pairs = append(pairs, key, m.gen)
			j.marks[key] = m
			delete(d.marks, key)
		}
	}
	return pairs
}

// finish ends the save; marks that may still be in Redis are remembered.
func (v *saver) finish(j *job, keepMarks bool) {
	r := j.ref
	r.sh.Lock()
	defer r.sh.Unlock()
	d := r.it.Value.detailLocked()
	d.saving = nil
	close(j.done)
	if keepMarks {
		for key, m := range j.marks {
			if d.marks == nil {
				d.marks = map[string]*mark{}
			}
			if d.marks[key] == nil {
				m.sure, m.doubt = false, true
				d.marks[key] = m
			}
		}
	}
	if len(d.dirty)+len(d.marks) > 0 {
		v.queue.addLocked(r) // failed, changed again, or in use: look again
	}
	if !r.it.Value.unsavedLocked() {
		d.announceLocked()
	}
	r.it.Value.restLocked()
}

// measure asks Redis how large the saved sessions are, where all of a session's keys follow from its id. A size that cannot be
// had stays as it was: it is an estimate.
func (v *saver) measure(ctx context.Context, db int, jobs []*job) {
	sizes := make([][]*redis.IntCmd, len(jobs))
	_, _ = v.s.control.db(db).Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, j := range jobs {
			keys, wild := v.s.sessions.literals(j.id)
			if wild {
				continue
			}
			for _, key := range keys {
				sizes[i] = append(sizes[i], p.MemoryUsage(ctx, key))
			}
		}
		return nil
	})
	for i, j := range jobs {
		var sum int64
		for _, cmd := range sizes[i] {
			sum += cmd.Val()
		}
		if sum > 0 {
			j.ref.sh.Lock()
			j.ref.sh.SetBytes(j.ref.it, sum)
			j.ref.sh.Unlock()
		}
	}
}

// newGen returns a mark's generation: no other mark of any process has it.
func (v *saver) newGen() string { return fmt.Sprintf("%s%x", tmpToken, v.gen.Add(1)) }

// unsavedLocked reports whether some change waits to be saved or is being saved.
func (g *gate) unsavedLocked() bool {
	d := g.more
	return d != nil && (len(d.dirty) > 0 || d.saving != nil || g.state == evicting)
}

// announceLocked wakes those who wait for a save; they look for themselves.
func (d *detail) announceLocked() {
	if d.saved != nil {
		close(d.saved)
		d.saved = nil
	}
}

// waitSaved returns when a session's changes up to seq are in Postgres. They were made in run (0: any): once the session belongs to
// a later one, what is saved of it is what has come back from Postgres, and the changes may be lost.
func (v *saver) waitSaved(ctx context.Context, r ref, seq uint64, run upstream.Run) error {
	for {
		r.sh.Lock()
		d := r.it.Value.more
		if run != 0 && r.it.Value.run != run {
			r.sh.Unlock()
			return errStaleRun
		}
		if d == nil || d.savedSeq >= seq || !r.it.Value.unsavedLocked() { // savedSeq starts anew when a session was at rest
			r.sh.Unlock()
			return nil
		}
		if d.saved == nil {
			d.saved = make(chan struct{})
		}
		saved := d.saved
		v.queue.addLocked(r)
		r.sh.Unlock()
		v.queue.wake()
		select {
		case <-saved:
		case <-ctx.Done():
			if err := v.lastErr.Load(); err != nil {
				return *err
			}
			return ctx.Err()
		}
	}
}

// sync waits until everything that is dirty now is in Postgres and returns how many keys were saved meanwhile.
func (v *saver) sync(ctx context.Context) (int64, error) {
	before := v.saved.Load()
	type place struct {
		r   ref
		seq uint64
	}
	var places []place
	for _, fl := range v.evictions() { // they save too, or put back what they have taken
		select {
		case <-fl.done:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	v.s.sessions.table.Range(func(sh *shard, it *item) bool {
		d := it.Value.more
		if it.Value.state == resident && d != nil && (len(d.dirty) > 0 || d.saving != nil) {
			places = append(places, place{ref{sh, it}, d.dirtySeq})
		}
		return true
	})
	for _, p := range places {
		if err := v.waitSaved(ctx, p.r, p.seq, 0); err != nil {
			return v.saved.Load() - before, err
		}
	}
	return v.saved.Load() - before, nil
}

// evictions lists the evictions that are under way.
func (v *saver) evictions() (flights []*flight) {
	v.s.sessions.table.Range(func(_ *shard, it *item) bool {
		if it.Value.state == evicting {
			flights = append(flights, it.Value.more.flight)
		}
		return true
	})
	return flights
}

// lag returns how long the oldest unsaved change has waited, in milliseconds.
func (v *saver) lag() int64 {
	if v.queue.keys.Load() == 0 {
		return 0
	}
	if at := v.queue.oldest.Load(); at > 0 {
		return max(time.Now().UnixMilli()-at, 0)
	}
	return 0
}

// isReply tells Redis's own error replies from a lost connection.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}
