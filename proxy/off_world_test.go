package proxy

import (
	"strings"
	"testing"

	"credproxy/internal/session"
	"credproxy/keyspace"
	"credproxy/lru"
	"credproxy/proxy/upstream"
)

// offPart is what the world of gate_world_test.go has besides with sync = "off": the application's row, and who holds the session
// by Postgres's word. The session has one key, so "a part of it" is never seen here; the other tests look for that.
type offPart struct {
	src  string // what the source returns
	away bool   // by Postgres
}

// ending is how an eviction goes on after its decision.
type ending string

const (
	goesWell   ending = "goes well"
	execFails  ending = "EXEC fails"
	notDone    ending = "commit fails"
	answerLost ending = "answer lost"
)

func TestOffStateMachine(t *testing.T) {
	type build func(w *world) []*actor
	for name, actors := range map[string]build{
		"writer and follower":  func(w *world) []*actor { return []*actor{w.writer("A", "v1"), w.follower(1)} },
		"writer and reader":    func(w *world) []*actor { return []*actor{w.writer("A", "v1"), w.reader("B"), w.follower(1)} },
		"remover and follower": func(w *world) []*actor { return []*actor{w.offRemover("A"), w.follower(1)} },
		"writer and remover":   func(w *world) []*actor { return []*actor{w.writer("A", "v1"), w.offRemover("B")} },
		"twice evicted": func(w *world) []*actor {
			return []*actor{w.writer("A", "v1"), w.follower(1), w.offEvictor(goesWell)}
		},
	} {
		for _, start := range []state{resident, evicted} {
			for _, away := range []bool{true, false} {
				for _, end := range []ending{goesWell, execFails, notDone, answerLost} {
					if start == evicted && end != goesWell {
						continue // begins with a load, and goes on like the others
					}
					if name == "twice evicted" && (start == evicted || end == execFails || end == notDone) {
						continue // the largest
					}
					side := "kept"
					if away {
						side = "away"
					}
					t.Run(strings.Join([]string{name, start.String(), side, string(end)}, "/"), func(t *testing.T) {
						s := newOffServer(t)
						explore(t, func() *world {
							w := newWorld(s, start)
							w.off = &offPart{src: "v0", away: away}
							w.it().Value.away = away && start == resident
							w.actors = append(actors(w), w.offEvictor(end), w.saver(1, false))
							return w
						})
					})
				}
			}
		}
	}
}

func newOffServer(t *testing.T) *Server {
	t.Helper()
	s, err := New(Config{
		Keyspaces: []keyspace.Spec{{Name: "s", Patterns: []string{"s:{session}:k"}, DB: -1}},
		Memory:    MemoryConfig{Budget: lru.Budget{Max: 1 << 20, Threshold: 80, Target: 70}},
		Sync:      SyncConfig{Mode: SyncOff},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// follower is the application: so many times it writes what Redis has to its own table.
func (w *world) follower(times int) *actor {
	a := &actor{name: "follow", keeps: func() any { return w.off.src }}
	for range times {
		a.steps = append(a.steps, do(func() { w.off.src = w.truth }))
	}
	return a
}

// offRemover removes in Postgres first only if the session is kept.
func (w *world) offRemover(name string) *actor {
	t := &touch{key: []byte(theKey), access: keyspace.Remove, write: writeScope{key: []byte(theKey)}}
	var saving chan struct{}
	ahead := false
	return &actor{name: name, keeps: func() any { return []any{t.gen, ahead} }, steps: append(w.touching(t),
		do(func() {
			t.gen = w.s.sessions.beginWrite(t.ref, t.key, w.s.saver)
			if ahead = !t.ref.isAway(); !ahead {
				t.access = keyspace.Write
				return
			}
			t.held = true
			saving = t.ref.holdOnce(theKey)
			if t.gen != "" {
				w.mark = t.gen
				t.ref.marked(t.key, t.gen)
			}
		}),
		step{ready: func() bool { return saving == nil || over(saving) }, run: func() bool {
			if ahead {
				w.assert(!w.off.away || w.s.sessions.dirtyAtAll(t.ref), "O2: a removal is committed for a session that is away")
				w.pg = ""
				w.unsure++
			}
			return true
		}},
		do(func() {
			w.see()
			w.redis, w.truth = "", ""
			if ahead {
				w.unsure--
			}
		}),
		w.leave(t, true),
	)}
}

// dirtyAtAll reports whether something of a session waits to be saved or is being saved.
func (s *sessions) dirtyAtAll(r ref) bool {
	r.sh.Lock()
	defer r.sh.Unlock()
	d := r.it.Value.more
	return d != nil && (len(d.dirty) > 0 || d.saving != nil)
}

func (w *world) offEvictor(end ending) *actor {
	var v *victim
	equal := false
	next := resident
	during := func(f func()) step {
		return do(func() {
			if v != nil {
				f()
			}
		})
	}
	return &actor{name: "evict", keeps: func() any {
		if v == nil {
			return nil
		}
		return []any{len(v.dirty), len(v.marks), equal, v.fate, next}
	}, steps: []step{
		do(func() { v, _ = w.s.evictor.close(w.session, w.run, overMemory, func() {}) }),
		during(func() {
			w.reading, w.frozen, v.keys = w.redis, true, []string{theKey}
			v.known = session.Snapshot{Found: !w.off.away, Elsewhere: w.off.away}
		}),
		during(func() { equal = w.off.src == w.reading }),
		during(func() { // the commit
			if v.known.Found == equal {
				v.fate = doubtful
			}
			if end != notDone {
				if w.off.away = equal; !equal {
					w.pg = w.reading
				} else {
					w.pg = ""
				}
			}
			if end == goesWell || end == execFails {
				if v.fate = kept; equal {
					v.fate = handed
				}
			}
		}),
		during(func() {
			if w.frozen = false; end == goesWell {
				w.redis, w.mark, w.entry, next = "", "", false, evicted
			}
		}),
		during(func() { w.s.evictor.open(v, next) }),
	}}
}

// offLoad is the loader's work: what Postgres keeps, or else what the source has.
func (w *world) offLoad(r ref, fl *flight, run upstream.Run) *actor {
	return &actor{name: "load", steps: []step{
		do(func() {
			switch {
			case w.redis != "":
			case w.off.away:
				w.redis = w.off.src
			default:
				w.redis = w.pg
			}
		}),
		do(func() {
			w.s.arrive(r, session.Snapshot{Found: !w.off.away, Elsewhere: w.off.away}, 0, run, nil)
			w.entry = true
		}),
		do(func() { r.endFlight(fl, resident, nil) }),
	}}
}

// checkOff is check with sync = "off".
func (w *world) checkOff() {
	g := &w.it().Value
	w.assert(int(g.inFlight()) == w.inside, "G1: busy is %d, %d clients are inside", g.inFlight(), w.inside)
	seen := w.redis
	if !w.entry && w.redis == "" {
		if seen = w.pg; w.off.away {
			seen = w.off.src
		}
	}
	w.assert(seen == w.truth || (w.unsure > 0 && seen == ""), "killed: the next process shows %q, want %q", seen, w.truth)
	if w.entry && w.mark == "" && !w.off.away {
		w.assert(w.redis == w.pg, "killed: kept and unmarked, Redis has %q, Postgres %q", w.redis, w.pg)
	}
	if g.state != resident {
		return
	}
	unsaved := g.more != nil && (len(g.more.dirty) > 0 || g.more.saving != nil || len(g.more.held) > 0)
	w.assert(!g.away || w.off.away, "O3: away in memory, kept in Postgres")
	w.assert(g.away || !w.off.away || unsaved, "O3: kept in memory, away in Postgres, and nothing waits to be saved")
	w.assert(!g.away || g.more == nil || len(g.more.dirty) == 0, "O2: away, and %v is dirty", g.more)
}

// endOff checks what must be true in the end, when the saver has looked once more.
func (w *world) endOff() {
	g := &w.it().Value
	w.assert(g.inFlight() == 0, "at the end: busy %d", g.inFlight())
	w.assert(w.s.saver.queue.keys.Load() == 0, "at the end %d keys are counted as dirty", w.s.saver.queue.keys.Load())
	if g.state == resident && !g.away {
		w.assert(!w.off.away && w.pg == w.truth, "at the end: kept, Postgres has %q (away %v), want %q", w.pg, w.off.away, w.truth)
	}
	w.assert(w.mark == "", "at the end the mark %q is left", w.mark)
}
