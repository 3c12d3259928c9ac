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
type saver struct {
	s     *Server
	queue saveQueue
	bound int64 // of keys that wait to be saved

	gen     atomic.Uint64
	lastErr atomic.Pointer[error]
	saved   atomic.Int64 // keys saved since the start
	each    atomic.Int64 // bytes of a key, on average over the latest batch
}

// saveBatch and saveBytes bound one round trip: how many keys are read and committed together, and about how many bytes of them. More
// would hold up Redis and Postgres for longer at a time, and removals of what is in the batch, while the commit's own cost hardly shows.
const (
	saveBatch = 128
	saveBytes = 256 << 10
)

// saveTimeout bounds one batch.
const saveTimeout = 30 * time.Second

// maxSaveBackoff is the longest pause between two attempts while Postgres is away.
const maxSaveBackoff = 5 * time.Second

// pace decides when the next pass begins, so that a change is in Postgres within the interval: what has just missed a pass is
// taken by the next one, and waits for that to end.
type pace struct {
	interval time.Duration
	slow     time.Duration // what passes have taken lately
}

// longestRest bounds the pause after a pass, however long that took, in intervals.
const longestRest = 5

// rest returns how long to wait after a pass that has taken so long. At the least a quarter of the interval lies between the starts of
// two passes, so that changes of one key come together. Where passes take so long that the interval cannot be kept, clients change more
// than can be saved beside them: then half of the time is theirs, and what they change again meanwhile is saved once.
func (p *pace) rest(took time.Duration) time.Duration {
	p.slow = max(took, p.slow*7/8)
	rest := max(max(p.interval-p.slow, p.interval/4)-took, 0)
	if took > p.interval/2 {
		rest = max(rest, min(took, longestRest*p.interval))
	}
	return rest
}

// run saves every interval, or sooner when somebody waits, until ctx ends.
func (v *saver) run(ctx context.Context, interval time.Duration) {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	backoff, pace := interval, pace{interval: interval}
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-v.queue.kick:
		}
		begun := time.Now()
		if err := v.pass(ctx); err != nil {
			backoff = min(backoff*2, maxSaveBackoff)
			timer.Reset(backoff)
			continue
		}
		backoff = interval
		timer.Reset(pace.rest(time.Since(begun)))
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
	away := false // a store cannot be reached: the rest waits
	for db, refs := range byDB {
		for len(refs) > 0 && !away {
			var jobs []*job
			jobs, refs = v.takeBatch(refs)
			if len(jobs) == 0 {
				continue
			}
			var err error
			err, away = v.saveJobs(ctx, db, jobs)
			first = orElse(first, err)
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
		if n >= saveBatch || int64(n)*v.each.Load() >= saveBytes {
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
		v.queue.addLocked(r) // the flight is over soon
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
		v.queue.addLocked(r)
	}
	j.heat = session.Heat{LastAccess: r.it.LastAccess, Hits: r.it.Hits, Bytes: r.it.Bytes}
	d.saving, d.storing, d.grown = j.done, j.told, false
	return j
}

// isReply tells Redis's own error replies from a lost connection.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}
