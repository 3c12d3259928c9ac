package proxy

import (
	"context"
	"errors"
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
//	    save that read the key before its removal commits after it. It need not wait for the marks of the saved keys to go: its own
//	    is another one, or is left where it is.
//	S3  Only a session that is resident in the current run of Redis is read; if the run changes meanwhile, nothing of what
//	    was read is saved: absent in a Redis that lost its data does not mean deleted.
//	S4  What could not be saved is dirty again.
//	S5  A mark goes only when nothing of its key is dirty and nobody is in the session: M3 asks that it is there before a write, not that it
//	    goes with the save. So it stays until the turn after that, and whoever goes on writing finds it.
type saver struct {
	s     *Server
	queue saveQueue
	bound int64 // of keys that wait to be saved

	gen     atomic.Uint64
	lastErr atomic.Pointer[error]
	saved   atomic.Int64 // keys saved since the start
	each    atomic.Int64 // bytes of a key, on average over the latest batch

	pace pace // of run, which alone uses it
}

// saveBatch and saveBytes bound one round trip: how many keys are read and committed together, and about how many bytes of them. More
// would hold up Redis and Postgres for longer at a time, and removals of what is in the batch, while the commit's own cost hardly shows.
const (
	saveBatch = 128
	saveBytes = 256 << 10
)

// saveTimeout is how long one batch goes on without getting any further.
const saveTimeout = 30 * time.Second

// maxSaveBackoff is the longest pause between two attempts while Postgres is away.
const maxSaveBackoff = 5 * time.Second

// run saves what is due, or all that is dirty when somebody waits, until ctx ends.
func (v *saver) run(ctx context.Context, interval time.Duration) {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	v.pace = pace{interval: interval}
	for backoff := time.Duration(0); ; {
		whole, wait := backoff > 0, backoff
		if !whole {
			wait = v.pace.wait(&v.queue, time.Now())
		}
		check := whole || wait <= v.pace.recheck()
		timer.Reset(min(wait, max(v.pace.recheck(), backoff)))
		select {
		case <-ctx.Done():
			return
		case <-v.queue.kick:
			whole = true
		case <-timer.C:
			if !check {
				continue
			}
		}
		if err := v.pass(ctx, whole); err != nil {
			backoff = min(max(backoff, interval)*2, maxSaveBackoff)
		} else {
			backoff = 0
		}
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
	told chan struct{} // closed when Postgres has committed, or has not: done follows when the marks are gone, too
	heat session.Heat
	err  error // why nothing of it was saved

	grown  bool     // its size is to be measured, whether or not something is saved
	sizeOf []string // the session's keys, if they follow from its id
	size   int64    // what those take by what was read, 0: not known

	marks map[string]*mark // taken out of the record, to be removed from Redis
}

// pass saves one batch of what is queued now, or the whole of it; a store that is away ends it. whole also takes away all marks that
// need not stand: who waits does not come back for them.
func (v *saver) pass(ctx context.Context, whole bool) (first error) {
	last := v.queue.last()
	for {
		begun := time.Now()
		byDB, n := v.takeBatch(last)
		if n == 0 {
			break
		}
		err, away := v.saveBatch(ctx, byDB, whole)
		now := time.Now()
		v.pace.note(n, now.Sub(begun), now)
		if first = orElse(first, err); away || !whole {
			break
		}
	}
	v.note(first)
	return first
}

// tidy takes away the marks of what is saved, so that the next process does not save it once more. run must have ended.
func (v *saver) tidy(ctx context.Context) {
	if v.queue.keys.Load() == 0 {
		_ = v.pass(ctx, true) // a mark that stays costs the next process a save
	}
}

func (v *saver) note(err error) {
	v.s.alarms.saving(err, v.queue.keys.Load())
	if err != nil {
		v.lastErr.Store(&err)
		return
	}
	v.lastErr.Store(nil)
	since, waits := v.queue.waitsSince()
	if v.queue.keys.Load() == 0 || !waits {
		v.queue.oldest.Store(0)
	} else {
		v.queue.oldest.Store(since.UnixMilli())
	}
}

// takeBatch takes dirty keys of the sessions that have waited longest, of those that were queued when last was, until a batch is full.
// n is how many sessions had their turn.
func (v *saver) takeBatch(last uint64) (byDB map[int][]*job, n int) {
	run, keys := v.s.runs.Current(), 0
	byDB = map[int][]*job{}
	for keys < saveBatch && int64(keys)*v.each.Load() < saveBytes {
		r, ok := v.queue.pop(last)
		if !ok {
			break
		}
		n++
		if j := v.takeOne(r, run); j != nil {
			db := v.s.sessions.dbOf(r.it.Key)
			byDB[db] = append(byDB[db], j)
			keys += max(len(j.keys), 1)
		}
	}
	return byDB, n
}

// saveBatch saves what was taken. away: a store cannot be reached; what is left is dirty again.
func (v *saver) saveBatch(ctx context.Context, byDB map[int][]*job, whole bool) (first error, away bool) {
	for db, jobs := range byDB {
		if away {
			v.giveBack(jobs, first)
			continue
		}
		var err error
		err, away = v.saveJobs(ctx, db, jobs, whole)
		first = orElse(first, err)
	}
	return first, away
}

// giveBack makes dirty again what was taken and is not going to be saved now.
func (v *saver) giveBack(jobs []*job, why error) {
	for _, j := range jobs {
		v.settle(j, nil, why)
		v.finish(j, false)
	}
}

func (v *saver) takeOne(r ref, run upstream.Run) *job {
	r.sh.Lock()
	defer r.sh.Unlock()
	g := &r.it.Value
	g.queued = false
	d := g.more
	if d == nil || (len(d.dirty) == 0 && len(d.marks) == 0 && !d.grown) {
		return nil
	}
	if g.orphaned(run) {
		if len(d.dirty) > 0 {
			kick(v.s.orphans)
		}
		return nil // queued again when it is resident: its keys must not be read as they are now
	}
	if g.state != resident {
		v.queue.retryLocked(r) // the flight is over soon
		return nil
	}
	j := &job{ref: r, id: v.s.sessions.id(r.it.Key), keys: map[string]*dirtyKey{}, seq: d.dirtySeq, run: run, done: make(chan struct{}), told: make(chan struct{})}
	d.settled = ""
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
		v.queue.retryLocked(r)
	}
	j.heat = session.Heat{LastAccess: r.it.LastAccess, Hits: r.it.Hits, Bytes: r.it.Bytes}
	j.grown = d.grown
	d.saving, d.storing, d.grown = j.done, j.told, false
	return j
}

// isReply tells Redis's own error replies from a lost connection.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}
