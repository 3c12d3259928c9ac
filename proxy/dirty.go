package proxy

import (
	"time"

	"credproxy/keyspace"
)

// dirtyKey says what of a key has changed in Redis since it was last saved.
type dirtyKey struct {
	name   string
	whole  bool                // all of it may have
	fields map[string]struct{} // only these fields of a hash have; empty and not whole: only the expiry has
}

// maxDirtyFields is how many changed fields of one hash are remembered one by one; beyond it the whole hash is saved.
const maxDirtyFields = 4096

// mark is the sign in Redis that a key may be newer there than in Postgres. A new process trusts Redis for marked keys.
type mark struct {
	gen  string // the value written; removal compares it, so that an old removal cannot take a new mark away
	sure bool   // Redis has acknowledged it

	doubt bool // it may be gone: its removal's outcome is unknown, or Redis was restarted
}

// writeScope is what a write command changed of one key.
type writeScope struct {
	key    []byte
	scope  keyspace.Scope
	fields [][]byte // with keyspace.Fields: args that name them, every step-th
	step   int
	size   int // bytes that the command may have added
}

// beginWrite returns the generation with which the key must be marked in Redis before the write runs, "" if a mark is
// known to be there, or none is needed (O2).
func (s *sessions) beginWrite(r ref, key []byte, v *saver) string {
	r.sh.Lock()
	defer r.sh.Unlock()
	if r.it.Value.away {
		return ""
	}
	d := r.it.Value.detailLocked()
	if d.isSettled(key) {
		return ""
	}
	if m := d.marks[string(key)]; m != nil {
		if m.sure {
			return ""
		}
		if m.doubt {
			// Not under the old generation: a removal that is still on its way would take the new mark too.
			m.gen, m.doubt = v.newGen(), false
		}
		return m.gen // another client's mark is on its way on another connection: ours may be faster
	}
	if d.marks == nil {
		d.marks = map[string]*mark{}
	}
	m := &mark{gen: v.newGen()}
	d.marks[string(key)] = m
	return m.gen
}

// isSettled reports that one more write to key changes nothing in the session's record.
func (d *detail) isSettled(key []byte) bool { return len(key) > 0 && d.settled == string(key) }

// doubtLocked says of all marks that they may be gone from Redis.
func (d *detail) doubtLocked() {
	d.settled = ""
	for _, m := range d.marks {
		m.sure, m.doubt = false, true
	}
}

// marked records that Redis has acknowledged a mark.
func (r ref) marked(key []byte, gen string) {
	r.sh.Lock()
	defer r.sh.Unlock()
	if d := r.it.Value.more; d != nil {
		if m := d.marks[string(key)]; m != nil && m.gen == gen {
			m.sure = true
		}
	}
}

// endWrite counts a write out and records what it may have changed. It is called once the reply is there, or the outcome is
// unknown: what was not sent before a save took the dirty keys is dirty after it. It returns the session's place in the
// order of changes.
func (s *sessions) endWrite(r ref, w writeScope, q *saveQueue) uint64 {
	r.sh.Lock()
	defer r.sh.Unlock()
	r.it.Value.in--
	return s.dirtyLocked(r, w, q)
}

// dirtyLocked records a change and queues the session for saving; 0: nothing of the session is saved (O2).
func (s *sessions) dirtyLocked(r ref, w writeScope, q *saveQueue) uint64 {
	d := r.it.Value.detailLocked()
	if w.size > 0 {
		r.sh.SetBytes(r.it, r.it.Bytes+int64(w.size)) // an upper bound; the saver measures where it can
	}
	if r.it.Value.away {
		s.noteLocked(r, w.key)
		if w.size > 0 {
			d.grown = true
			q.addLocked(r)
		}
		return 0
	}
	d.dirtySeq = q.seq.Add(1) // of all sessions together: it goes on where a dropped detail had stopped
	if q.oldest.Load() == 0 {
		q.oldest.CompareAndSwap(0, time.Now().UnixMilli())
	}
	q.addLocked(r)
	if d.isSettled(w.key) {
		return d.dirtySeq
	}
	if d.dirty == nil {
		d.dirty = map[string]*dirtyKey{}
	}
	k := d.dirty[string(w.key)]
	if k == nil {
		k = &dirtyKey{name: string(w.key)}
		d.dirty[k.name] = k
		q.keys.Add(1)
	}
	k.add(w)
	if m := d.marks[k.name]; k.whole && m != nil && m.sure {
		d.settled = k.name
	}
	return d.dirtySeq
}

func (k *dirtyKey) add(w writeScope) {
	if k.whole {
		return
	}
	switch w.scope {
	case keyspace.Whole:
		k.whole, k.fields = true, nil
	case keyspace.Fields:
		if k.fields == nil {
			k.fields = map[string]struct{}{}
		}
		for i := 0; i < len(w.fields); i += w.step {
			if _, known := k.fields[string(w.fields[i])]; !known { // to assign what is there would allocate
				k.fields[string(w.fields[i])] = struct{}{}
			}
		}
		if len(k.fields) > maxDirtyFields {
			k.whole, k.fields = true, nil
		}
	}
}

// merge puts back what a failed save had taken.
func (k *dirtyKey) merge(old *dirtyKey) {
	if k.whole || old.whole {
		k.whole, k.fields = true, nil
		return
	}
	if k.fields == nil {
		k.fields = old.fields
		return
	}
	for f := range old.fields {
		k.fields[f] = struct{}{}
	}
}

// putBackLocked makes keys dirty again.
func (d *detail) putBackLocked(keys map[string]*dirtyKey, q *saveQueue) {
	if len(keys) == 0 {
		return
	}
	if d.dirty == nil {
		d.dirty = map[string]*dirtyKey{}
	}
	for name, k := range keys {
		if now := d.dirty[name]; now != nil {
			now.merge(k)
			continue
		}
		k.name = name
		d.dirty[name] = k
		q.keys.Add(1)
	}
}
