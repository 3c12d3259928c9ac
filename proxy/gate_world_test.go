package proxy

import (
	"fmt"
	"strings"
	"testing"

	"credproxy/internal/session"
	"credproxy/keyspace"
	"credproxy/lru"
	"credproxy/proxy/upstream"
)

// The state machine of one session with one key, driven step by step through the real gate, dirty records, saver, evictor and
// loader hooks. Redis and Postgres are a string each. Every interleaving of the actors' steps is walked; states that were
// seen before are not walked again.

// actor is one goroutine's work, cut into the steps between which others may run.
type actor struct {
	name  string
	steps []step
	pc    int
	keeps func() any // what the steps remember between them; nil: nothing
}

type step struct {
	ready func() bool // nil: always
	run   func() bool // false: the same step once more, when it is ready again
}

func (a *actor) enabled() bool {
	return a.pc < len(a.steps) && (a.steps[a.pc].ready == nil || a.steps[a.pc].ready())
}

func do(f func()) step { return step{run: func() bool { f(); return true }} }

// world is everything that the actors share.
type world struct {
	s        *Server
	identity []byte
	session  ref
	run      upstream.Run
	actors   []*actor
	inside   int      // clients between enter and leave
	problems []string // broken invariants

	redis, pg, mark string   // "" absent
	entry           bool     // the residency entry stands in Redis
	truth           string   // what a client must see
	also            string   // what it may see as well, while a removal is under way
	unsure          int      // removals between their two halves
	reading         string   // what the evictor has read
	off             *offPart // with sync = "off"
	frozen          bool     // between the evictor's reading and its UNLINK
}

const theKey = "s:x:k"

// newServer makes a Server that is connected to nothing.
func newServer(t *testing.T) *Server {
	t.Helper()
	s, err := New(Config{
		Keyspaces: []keyspace.Spec{{Name: "s", Patterns: []string{"s:{session}:*"}, DB: -1}},
		Memory:    MemoryConfig{Budget: lru.Budget{Max: 1 << 20, Threshold: 80, Target: 70}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newWorld puts the one session into s, anew.
func newWorld(s *Server, start state) *world {
	w := &world{s: s, run: s.runs.Observe("first"), pg: "v0", truth: "v0"}
	w.identity, _ = s.sessions.match(nil, 0, []byte(theKey))
	if old, ok := s.sessions.lookup(string(w.identity)); ok {
		old.sh.Remove(old.it)
		s.saver.queue.empty()
		s.saver.queue.keys.Store(0)
		s.saver.gen.Store(0)
	}
	r := s.add(s.sessions.id(string(w.identity)), session.Heat{})
	w.session = r
	r.it.Value.state = evicted
	if start == resident {
		r.it.Value.state, r.it.Value.run, w.redis, w.entry = resident, w.run, "v0", true
		r.sh.List(r.it)
	}
	return w
}

func (w *world) it() *item { return w.session.it }

func (w *world) assert(ok bool, format string, args ...any) {
	if !ok {
		w.problems = append(w.problems, fmt.Sprintf(format, args...))
	}
}

func over(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// load is the gate's loader: it starts an actor.
func (w *world) load(r ref, fl *flight, run upstream.Run) {
	if w.off != nil {
		w.actors = append(w.actors, w.offLoad(r, fl, run))
		return
	}
	w.actors = append(w.actors, &actor{name: "load", steps: []step{
		do(func() {
			if w.redis == "" {
				w.redis = w.pg
			}
		}),
		do(func() { w.s.arrive(r, session.Snapshot{}, 0, run, nil); w.entry = true }),
		do(func() { r.endFlight(fl, resident, nil) }),
	}})
}

// touching adds a client's way through the gate to its steps.
func (w *world) touching(t *touch) []step {
	var fl *flight
	return []step{{
		ready: func() bool { return fl == nil || over(fl.done) },
		run: func() bool {
			var err error
			t.ref, fl, err = w.s.sessions.admit(w.identity, t.key, w.run, w.load)
			w.assert(err == nil, "admit: %v", err)
			if fl == nil {
				w.inside++
				w.assert(w.redis == w.truth || w.redis == w.also, "G2: inside, Redis has %q, want %q", w.redis, w.truth)
			}
			return fl == nil
		},
	}}
}

func (w *world) leave(t *touch, changed bool) step {
	return do(func() { w.s.finishTouch(t, changed); w.inside-- })
}

// see is the moment at which a command of a client runs in Redis.
func (w *world) see() {
	w.assert(w.redis == w.truth, "a command finds %q, want %q", w.redis, w.truth)
	st := w.it().Value.state
	w.assert(st == resident, "G1: a command runs while the session is %s", st)
	w.assert(!w.frozen, "E1: a command runs between the evictor's reading and its UNLINK")
}

func (w *world) reader(name string) *actor {
	t := &touch{key: []byte(theKey), access: keyspace.Read}
	return &actor{name: name, steps: append(w.touching(t), do(w.see), w.leave(t, false))}
}

func (w *world) writer(name, value string) *actor {
	t := &touch{key: []byte(theKey), access: keyspace.Write, write: writeScope{key: []byte(theKey)}}
	return &actor{name: name, keeps: func() any { return t.gen }, steps: append(w.touching(t),
		do(func() { t.gen = w.s.sessions.beginWrite(t.ref, t.key, w.s.saver) }),
		do(func() { // mark and write travel on one connection
			w.see()
			if t.gen != "" {
				w.mark = t.gen
			}
			w.redis, w.truth = value, value
		}),
		do(func() { t.ref.marked(t.key, t.gen) }),
		w.leave(t, true),
	)}
}

func (w *world) remover(name string) *actor {
	t := &touch{key: []byte(theKey), access: keyspace.Remove, write: writeScope{key: []byte(theKey)}}
	var saving chan struct{}
	return &actor{name: name, keeps: func() any { return t.gen }, steps: append(w.touching(t),
		do(func() { t.gen = w.s.sessions.beginWrite(t.ref, t.key, w.s.saver) }),
		do(func() {
			if t.gen != "" {
				w.mark = t.gen
				t.ref.marked(t.key, t.gen)
			}
		}),
		do(func() { t.held = true; saving = t.ref.holdOnce(theKey) }),
		step{ready: func() bool { return saving == nil || over(saving) }, run: func() bool { w.pg = ""; w.unsure++; return true }},
		do(func() { w.see(); w.redis, w.truth = "", ""; w.unsure-- }),
		w.leave(t, true),
	)}
}

// unlinker deletes the key where it is, without a restore, if the session is outside Redis.
func (w *world) unlinker(name string) *actor {
	u := &unlinking{}
	during := func(f func()) step {
		return do(func() {
			if len(u.claims) > 0 {
				f()
			}
		})
	}
	return &actor{name: name, keeps: func() any { return len(u.claims) }, steps: []step{
		do(func() {
			if cl, ok := w.s.sessions.claim(w.identity); ok {
				u.claims = append(u.claims, cl)
				w.assert(w.inside == 0 && !w.frozen, "L1: claimed with %d clients inside, being evicted: %v", w.inside, w.frozen)
			}
		}),
		during(func() { w.redis = "" }),
		during(func() {
			w.assert(w.it().Value.state == loading, "L1: deletes while the session is %s", w.it().Value.state)
			u.claims[0].ref.holdOnce(theKey)
			w.pg, w.truth = "", ""
		}),
		during(func() { u.claims[0].ref.release(theKey); u.open() }),
	}}
}

// empty forgets who waits.
func (q *saveQueue) empty() { q.first, q.again = nil, nil }

// saver makes rounds passes of the saver; fail breaks the commit of the first one.
func (w *world) saver(rounds int, fail bool) *actor {
	var j *job
	var read string
	a := &actor{name: "save", keeps: func() any {
		if j == nil {
			return nil
		}
		return []any{len(j.keys), len(j.marks), read}
	}}
	for round := range rounds {
		var err error
		if fail && round == 0 {
			err = errStaleRun
		}
		during := func(f func()) step {
			return do(func() {
				if j != nil {
					f()
				}
			})
		}
		a.steps = append(a.steps,
			do(func() { w.s.saver.queue.empty(); j = w.s.saver.takeOne(w.session, w.run) }),
			during(func() { read = w.redis }),
			during(func() {
				if len(j.keys) > 0 && err == nil {
					if w.pg = read; w.off != nil {
						w.off.away = false
					}
				}
			}),
			during(func() {
				var pairs []any
				if w.s.saver.settle(j, nil, err); err == nil {
					pairs = j.takeMarks(round == rounds-1) // the passes before leave marks of what they save
				}
				read = ""
				if len(pairs) == 2 {
					read = pairs[1].(string)
				}
			}),
			during(func() {
				if w.mark == read {
					w.mark = ""
				}
			}),
			during(func() { w.s.saver.finish(j, false) }),
		)
	}
	return a
}

func (w *world) evictor(fail bool) *actor {
	var v *victim
	during := func(f func()) step {
		return do(func() {
			if v != nil {
				f()
			}
		})
	}
	next := evicted
	if fail {
		next = resident
	}
	return &actor{name: "evict", keeps: func() any {
		if v == nil {
			return nil
		}
		return []int{len(v.dirty), len(v.marks)}
	}, steps: []step{
		do(func() {
			v, _ = w.s.evictor.close(w.session, w.run, overMemory, func() {})
			w.assert(v == nil || w.inside == 0, "G3: closed with %d clients inside", w.inside)
		}),
		during(func() { w.reading, w.frozen = w.redis, true }),
		during(func() {
			if !fail {
				w.pg = w.reading
			}
		}),
		during(func() {
			if w.frozen = false; !fail {
				w.assert(w.redis == w.reading, "E2: Redis has %q, Postgres got %q", w.redis, w.reading)
				w.redis, w.mark, w.entry = "", "", false
			}
		}),
		during(func() { w.s.evictor.open(v, next) }),
	}}
}

// check holds at every moment, and says what a process would find that started now because this one was killed.
func (w *world) check() {
	if w.off != nil {
		w.checkOff()
		return
	}
	g := &w.it().Value
	w.assert(int(g.inFlight()) == w.inside, "G1: busy is %d, %d clients are inside", g.inFlight(), w.inside)
	moving := g.state == loading || g.state == evicting
	w.assert(moving == (g.more != nil && g.more.flight != nil), "G4: %s, and flight %v", g.state, g.more)
	seen := w.redis
	if !w.entry && w.redis == "" {
		seen = w.pg
	}
	w.assert(seen == w.truth || (w.unsure > 0 && seen == ""), "killed: the next process shows %q, want %q", seen, w.truth)
	w.assert(w.truth != "" || w.pg == "", "S2: removed, and Postgres has %q", w.pg)
	if w.entry && w.mark == "" {
		w.assert(w.redis == w.pg, "killed: unmarked, Redis has %q, Postgres %q", w.redis, w.pg)
	}
}

// end checks what must be true when all actors are done, and after one more pass of the saver.
func (w *world) end() {
	last := w.saver(1, false)
	for _, s := range last.steps {
		s.run()
		w.check()
	}
	if w.off != nil {
		w.endOff()
		return
	}
	g := &w.it().Value
	w.assert(g.inFlight() == 0 && g.more == nil, "at the end: busy %d, detail %+v", g.inFlight(), g.more)
	w.assert(w.pg == w.truth, "at the end Postgres has %q, want %q", w.pg, w.truth)
	w.assert(w.s.saver.queue.keys.Load() == 0, "at the end %d keys are counted as dirty", w.s.saver.queue.keys.Load())
}

// fingerprint is all that decides how the world goes on.
func (w *world) fingerprint() string {
	var b strings.Builder
	for _, a := range w.actors {
		fmt.Fprintf(&b, "%s%d%v ", a.name, a.pc, a.enabled())
		if a.keeps != nil {
			fmt.Fprint(&b, a.keeps())
		}
	}
	g := &w.it().Value
	fmt.Fprintf(&b, "%v|%v|%v|%v|%v|%v %v %v %v ", w.redis, w.pg, w.mark, w.entry, w.truth, g.state, g.inFlight(), g.queued, w.reading)
	if w.off != nil {
		fmt.Fprintf(&b, "%+v %v", *w.off, g.away)
	}
	if d := g.more; d != nil {
		fmt.Fprintf(&b, "%d %v %v %v %q", len(d.dirty), d.held, d.saving != nil, d.storing != nil, d.settled)
		for _, m := range d.marks {
			fmt.Fprintf(&b, "%+v", *m)
		}
	}
	return b.String()
}
