package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"credproxy/internal/session"
	"credproxy/internal/testenv"
	"credproxy/keyspace"
)

// residentSession puts a session with one dirty key into the table.
func residentSession(s *Server, key string) ref {
	identity, _ := s.sessions.match(nil, 0, []byte(key))
	r := s.add(s.sessions.id(string(identity)), session.Heat{})
	r.sh.Lock()
	defer r.sh.Unlock()
	r.it.Value.state, r.it.Value.run = resident, s.runs.Current()
	s.sessions.dirtyLocked(r, writeScope{key: []byte(key)}, &s.saver.queue)
	return r
}

// Between the taking of dirty keys and their reading Redis is restarted, empty: what was taken must not look deleted.
func TestSaveAfterARestartSavesNothing(t *testing.T) {
	s := newServer(t)
	s.cfg.Upstream.Address = testenv.Redis(t).Addr()
	s.control = newControl(s.cfg.Upstream, s.dialer(), s.runs)
	defer s.control.close()
	s.runs.Observe("the run before")
	r := residentSession(s, "s:x:k")
	j := s.saver.takeOne(r, s.runs.Current())
	if _, err := s.control.askRun(); err != nil { // some connection meets the new run
		t.Fatal(err)
	}
	if _, err := s.saver.commit(context.Background(), 0, []*job{j}); !errors.Is(err, errStaleRun) { // there is no store: it would panic
		t.Fatalf("commit: %v, want %v", err, errStaleRun)
	}
	s.saver.settle(j, nil, errStaleRun)
	s.saver.finish(j, false)
	if s.saver.takeOne(r, s.runs.Current()) != nil || len(s.orphans) != 1 {
		t.Fatal("the session is saved before it is restored, or nobody restores it")
	}
	if ids := s.listOrphans(); len(ids) != 1 || s.saver.queue.keys.Load() != 1 {
		t.Fatalf("orphans %q, %d dirty keys", ids, s.saver.queue.keys.Load())
	}
}

func TestPoisonIsNotSavedAsDeleted(t *testing.T) {
	s := newServer(t)
	s.runs.Observe("run")
	r := residentSession(s, "s:x:k")
	r.it.Value.more.poison = map[string]string{"s:x:k": "bad"}
	if j := s.saver.takeOne(r, s.runs.Current()); len(j.keys) != 0 || s.saver.queue.keys.Load() != 0 {
		t.Fatalf("taken: %v, %d dirty keys left", j.keys, s.saver.queue.keys.Load())
	}
}

// markedSession has a session whose key is being written, under the mark gen.
func markedSession(t *testing.T) (s *Server, r ref, gen string) {
	t.Helper()
	s = newServer(t)
	s.runs.Observe("run")
	r = residentSession(s, "s:x:k")
	gen = s.sessions.beginWrite(r, []byte("s:x:k"), s.saver)
	r.marked([]byte("s:x:k"), gen)
	return s, r, gen
}

// A mark whose removal got no reply may be gone, or may go later: the next write sets one of another generation.
func TestDoubtfulMarkIsSetAnew(t *testing.T) {
	s, r, first := markedSession(t)
	if again := s.sessions.beginWrite(r, []byte("s:x:k"), s.saver); again != "" {
		t.Fatalf("a sure mark is set again: %q", again)
	}
	j := s.saver.takeOne(r, s.runs.Current())
	s.saver.settle(j, nil, nil)
	if pairs := j.takeMarks(true); len(pairs) != 2 || pairs[1] != first {
		t.Fatalf("marks to be removed: %v", pairs)
	}
	s.saver.finish(j, true)
	if second := s.sessions.beginWrite(r, []byte("s:x:k"), s.saver); second == "" || second == first {
		t.Fatalf("generation %q after %q", second, first)
	}
}

// Whoever waits for a change to be saved must be woken also by an eviction, and by the saving of a session that was at rest
// meanwhile, whose numbers started anew.
func TestWaitSaved(t *testing.T) {
	for name, save := range map[string]func(s *Server, r ref){
		"saver": func(s *Server, r ref) {
			j := s.saver.takeOne(r, s.runs.Current())
			s.saver.settle(j, nil, nil)
			j.takeMarks(true)
			s.saver.finish(j, false)
		},
		"eviction": func(s *Server, r ref) {
			v, err := s.evictor.close(r, s.runs.Current(), overMemory, func() {})
			if err != nil {
				t.Error(err)
				return
			}
			s.evictor.open(v, evicted)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.runs.Observe("run")
			r := residentSession(s, "s:x:k")
			late := r.it.Value.more.dirtySeq + 100 // as if it was of a detail that is gone
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			waited := make(chan error, 1)
			go func() { waited <- s.saver.waitSaved(ctx, r, late, s.runs.Current()) }()
			testenv.Eventually(t, 5*time.Second, "waiting", func() bool {
				r.sh.Lock()
				defer r.sh.Unlock()
				return r.it.Value.more.saved != nil
			})
			save(s, r)
			if err := <-waited; err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A session that is finished twice, by the command and by the cleaning up after a defect, is left once.
func TestAbandonLeavesOnce(t *testing.T) {
	s := newServer(t)
	run := s.runs.Observe("run")
	r := residentSession(s, "s:x:k")
	c := &client{s: s}
	for range 2 {
		in, ok := s.sessions.tryEnter(ref{}, []byte(r.it.Key), run, 1)
		if !ok {
			t.Fatal("the gate is closed")
		}
		c.g.touches = append(c.g.touches, touch{ref: in, key: []byte("s:x:k"), access: keyspace.Read})
	}
	s.finishTouch(&c.g.touches[0], false)
	c.abort()
	if r.it.Value.inFlight() != 0 || !c.quit {
		t.Fatalf("busy %d, quit %v", r.it.Value.inFlight(), c.quit)
	}
}

// A write finds out at the gate that its key's mark stands in Redis; for no other key, and not for a read.
func TestGateKnowsMarkedKey(t *testing.T) {
	s := newServer(t)
	run := s.runs.Observe("run")
	r := residentSession(s, "s:x:k")
	gen := s.sessions.beginWrite(r, []byte("s:x:k"), s.saver)
	for _, step := range []struct {
		key  string
		want bool
	}{{"s:x:k", true}, {"s:x:other", false}, {"", false}} {
		r.marked([]byte("s:x:k"), gen)
		r.sh.Lock()
		s.sessions.dirtyLocked(r, writeScope{key: []byte("s:x:k"), scope: keyspace.Whole}, &s.saver.queue)
		r.sh.Unlock()
		in, marked, ok := s.sessions.tryEnterFor([]byte(step.key), ref{}, []byte(r.it.Key), run, 1)
		if !ok || marked != step.want {
			t.Errorf("key %q: marked %v, entered %v", step.key, marked, ok)
		}
		in.leave()
	}
}

// While one client asks Redis about an unknown command, others wait for the answer instead of sending theirs past the gate.
func TestLearnedCommandIsAskedOnce(t *testing.T) {
	var l learned
	q, mine := l.ask("json.set")
	if !mine {
		t.Fatal("nobody asks")
	}
	var wg sync.WaitGroup
	for range 4 {
		if other, asks := l.ask("json.set"); asks || other != q {
			t.Fatal("asked twice")
		}
		wg.Go(func() { <-q.done })
	}
	failed := errors.New("no answer")
	l.answer("json.set", q, failed)
	wg.Wait()
	if q.err != failed {
		t.Fatalf("others hear %v", q.err)
	}
	if q, mine = l.ask("json.set"); !mine {
		t.Fatal("not asked again after no answer")
	}
	l.answer("json.set", q, nil)
	if _, mine = l.ask("json.set"); mine {
		t.Fatal("asked again after an answer")
	}
	for i := range 2 * maxUnknown {
		if q, mine := l.ask(fmt.Sprint(i)); mine {
			l.answer(fmt.Sprint(i), q, nil)
		}
	}
	if n := len(l.asked); n > maxUnknown {
		t.Fatalf("%d names are remembered", n)
	}
}

// New keyspaces make the note of an earlier scan void.
func TestAdoptionMark(t *testing.T) {
	s := newServer(t)
	before := s.sessions.adoptionMark("run")
	if err := s.sessions.setPatterns([]keyspace.Spec{
		{Name: "s", Patterns: []string{"s:{session}:*"}, DB: -1}, {Name: "t", Patterns: []string{"t:{session}:*"}, DB: -1},
	}); err != nil {
		t.Fatal(err)
	}
	if after := s.sessions.adoptionMark("run"); after == before || before == s.sessions.adoptionMark("other") {
		t.Fatalf("%q, then %q", before, after)
	}
}

// Shutdown before, or while, Serve begins leaves nothing running.
func TestShutdownWithoutServe(t *testing.T) {
	s := newServer(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	if s.begin() {
		t.Fatal("it begins after its end")
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// An empty value is a value: nil would be stored as none.
func TestEmptyValuesAreValues(t *testing.T) {
	if b := bytesOf(""); b == nil || len(b) != 0 {
		t.Errorf("empty: %#v", b)
	}
	if b := bytesOf("text"); string(b) != "text" {
		t.Errorf("text: %q", b)
	}
}

// Who goes on writing finds the mark that stands, save after save; it goes with the first turn in which nothing is to be saved.
func TestMarkStaysWhileItsKeyIsWritten(t *testing.T) {
	s, r, gen := markedSession(t)
	turn := func() []any {
		j := s.saver.takeOne(r, s.runs.Current())
		s.saver.settle(j, nil, nil)
		pairs := j.takeMarks(false)
		s.saver.finish(j, false)
		return pairs
	}
	for range 3 {
		if pairs := turn(); len(pairs) != 0 {
			t.Fatalf("the mark of a key that was just saved goes: %v", pairs)
		}
		if again := s.sessions.beginWrite(r, []byte("s:x:k"), s.saver); again != "" {
			t.Fatalf("a mark that stands is set again: %q", again)
		}
		if !r.it.Value.queued {
			t.Fatal("nobody will take the mark away")
		}
		s.sessions.dirtyLocked(r, writeScope{key: []byte("s:x:k")}, &s.saver.queue)
	}
	turn()
	if pairs := turn(); len(pairs) != 2 || pairs[1] != gen {
		t.Fatalf("marks to be removed: %v", pairs)
	}
	if again := s.sessions.beginWrite(r, []byte("s:x:k"), s.saver); again == "" || again == gen {
		t.Fatalf("a key without a mark is written under %q", again)
	}
}
