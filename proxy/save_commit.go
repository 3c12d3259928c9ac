package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"credproxy/internal/session"
)

// saveJobs reads and commits one batch, and says so to everyone who waits for it.
func (v *saver) saveJobs(ctx context.Context, db int, jobs []*job, whole bool) (err error, away bool) {
	ctx, cancel := whileAdvancing(ctx, saveTimeout)
	defer cancel()
	again, err := v.commit(ctx, db, jobs)
	if away = err != nil && !v.s.evictor.someCannot(ctx, err); err != nil && !away && len(jobs) > 1 {
		again, err = v.oneByOne(ctx, db, jobs)
	} else if err != nil {
		for _, j := range jobs {
			j.err = err
		}
	}
	var pairs []any
	for _, j := range jobs {
		v.settle(j, again[j.ref], j.err)
		if j.err == nil {
			pairs = append(pairs, j.takeMarks(whole)...)
		}
	}
	// The marks go while the sessions still count as being saved: an eviction must not leave one behind.
	uerr := v.s.meta.unmark(ctx, db, pairs)
	if len(pairs) > 0 {
		v.s.barrier("save-unmarked")
	}
	if err == nil {
		v.measure(ctx, db, jobs)
	}
	for _, j := range jobs {
		v.finish(j, uerr != nil)
	}
	return orElse(err, uerr), away
}

// oneByOne saves each session of a batch by itself, so that one that Postgres refuses holds up no other.
func (v *saver) oneByOne(ctx context.Context, db int, jobs []*job) (again map[ref]map[string]*dirtyKey, first error) {
	again = map[ref]map[string]*dirtyKey{}
	for _, j := range jobs {
		a, err := v.commit(ctx, db, []*job{j})
		j.err = err
		first = orElse(first, err)
		maps.Copy(again, a)
	}
	return again, first
}

// commit saves the jobs' keys as Redis has them and returns those that must be read again as a whole.
func (v *saver) commit(ctx context.Context, db int, jobs []*job) (again map[ref]map[string]*dirtyKey, err error) {
	v.s.flushing.RLock()
	defer v.s.flushing.RUnlock()
	var wants []wanted
	var owner []*job
	var more []string // keys of which only the size is wanted
	for _, j := range jobs {
		more = j.appendSizes(more, v.s.sessions)
		for name, k := range j.keys {
			wants = append(wants, wanted{key: name, patch: !k.whole, fields: slices.Collect(maps.Keys(k.fields))})
			owner = append(owner, j)
		}
	}
	readings, sizes, err := readBack(ctx, v.s.control.db(db), wants, more, v.s.greeting.atLeast(7, 4))
	if err != nil {
		return nil, err
	}
	// The run of the taking, not of now: a restart in between would make everything that Redis has lost look deleted (S3).
	if err := v.s.control.checkRun(jobs[0].run); err != nil {
		return nil, err
	}
	v.weigh(readings)
	for _, j := range jobs {
		j.addSizes(sizes)
	}
	again = map[ref]map[string]*dirtyKey{}
	whole := func(j *job, key string) {
		if again[j.ref] == nil {
			again[j.ref] = map[string]*dirtyKey{}
		}
		again[j.ref][key] = &dirtyKey{whole: true}
	}
	changes := map[*job]*session.Change{}
	var apart []int
	left := 0
	for i, rd := range readings {
		j := owner[i]
		switch {
		case rd.again:
			whole(j, wants[i].key)
			continue
		case rd.later:
			whole(j, wants[i].key)
			*again[j.ref][wants[i].key] = *j.keys[wants[i].key]
			left++
			continue
		case rd.apart:
			apart = append(apart, i)
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
	for _, i := range apart {
		j, key := owner[i], wants[i].key
		err := v.s.saveApart(ctx, j.run, j.id, j.heat, key)
		if errors.Is(err, errAgain) {
			whole(j, key)
		} else if err != nil {
			return nil, err
		}
	}
	v.saved.Add(int64(len(readings) - len(refused) - left))
	return again, nil
}

// weigh notes how large keys are, for the next batch.
func (v *saver) weigh(readings []reading) {
	var sum int
	for i := range readings {
		c := &readings[i].change
		sum += len(c.Value) + len(c.Dump)
		for _, f := range c.Fields {
			sum += len(f.Value)
		}
	}
	v.each.Store(int64(sum / max(len(readings), 1)))
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
	d.storing = nil
	close(j.told)
	defer v.queue.keys.Add(-int64(len(j.keys))) // after those that are put back are counted anew
	switch {
	case err != nil:
		d.putBackLocked(j.keys, &v.queue)
		v.queue.retryLocked(r)
	case len(again) > 0:
		d.putBackLocked(again, &v.queue)
		v.queue.retryLocked(r)
	case j.seq > d.savedSeq:
		d.savedSeq = j.seq
		d.announceLocked()
	}
}

// takeMarks takes the marks of saved keys out of the record and returns them as key and generation alternately. A command in
// flight may have found its mark there and written none, so marks stay while the session is busy. Unless all is true they also stay
// for one turn more after the save: most that is written is written again soon, and would have to be marked again.
func (j *job) takeMarks(all bool) (pairs []any) {
	j.ref.sh.Lock()
	defer j.ref.sh.Unlock()
	d := j.ref.it.Value.more
	if j.ref.it.Value.inFlight() > 0 || d == nil {
		return nil
	}
	d.settled = ""
	j.marks = map[string]*mark{}
	for key, m := range d.marks {
		if d.dirty[key] == nil && (all || j.keys[key] == nil) {
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
		v.queue.addLocked(r) // changed again, in use, or marked: look again
	}
	if !r.it.Value.unsavedLocked() {
		d.announceLocked()
	}
	r.it.Value.restLocked()
}

// newGen returns a mark's generation: no other mark of any process has it.
func (v *saver) newGen() string { return tmpToken + strconv.FormatUint(v.gen.Add(1), 16) }
