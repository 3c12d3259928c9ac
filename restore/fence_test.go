package restore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"credproxy/internal/session"
	"credproxy/internal/testenv"
)

// late runs a call whose caller gives up while what it sent is on its way, then newer, and then lets the call arrive. It
// returns when Postgres is done with it.
func late(t *testing.T, r *relay, call func(context.Context) error, newer func()) {
	t.Helper()
	held := r.hold()
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- call(ctx) }()
	await(t, held.waiting, "the call is on its way")
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatalf("the call that was given up: %v", err)
	}
	newer()
	held.release()
	await(t, held.ended, "postgres is done with the late call")
}

func await(t testing.TB, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatal("not in 20 s: ", what)
	}
}

func TestLateCallsAreTurnedAway(t *testing.T) {
	heat := func(bytes int64) []session.Change {
		return []session.Change{{Session: bot("a"), Heat: session.Heat{Bytes: bytes}}}
	}
	save := func(s *Store, value string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := s.Save(ctx, []session.Change{{Session: bot("a"), Keys: []session.KeyChange{putString("k", value)}}}, now)
			return err
		}
	}
	remove := func(s *Store, r session.Removal) func(context.Context) error {
		return func(ctx context.Context) error { return s.Delete(ctx, []session.Removal{r}) }
	}
	key, field := session.Removal{Session: bot("a"), Key: "k"}, session.Removal{Session: bot("a"), Key: "h", Fields: []string{"f"}}
	tests := map[string]struct {
		call  func(*Store) func(context.Context) error
		newer func(t *testing.T, s *Store)
		want  []session.Key
		bytes int64
	}{
		"delete of a key": {
			func(s *Store) func(context.Context) error { return remove(s, key) },
			func(t *testing.T, s *Store) { mustSave(t, s, bot("a"), putString("k", "newer")) },
			[]session.Key{putString("k", "newer").Key, hash("h", "f", "old")}, 0},
		"delete of a field": {
			func(s *Store) func(context.Context) error { return remove(s, field) },
			func(t *testing.T, s *Store) { mustSave(t, s, bot("a"), patch(hash("h", "f", "newer"), 1)) },
			[]session.Key{putString("k", "old").Key, hash("h", "f", "newer")}, 0},
		"delete of sessions": {
			func(s *Store) func(context.Context) error {
				return func(ctx context.Context) error { return s.DeleteSessions(ctx, []session.ID{bot("b"), bot("a")}) }
			},
			func(t *testing.T, s *Store) { mustSave(t, s, bot("a"), putString("k", "newer")) },
			[]session.Key{putString("k", "newer").Key, hash("h", "f", "old")}, 0},
		"delete of databases": {
			func(s *Store) func(context.Context) error {
				return func(ctx context.Context) error { return s.DeleteDB(ctx, []int{0}) }
			},
			func(t *testing.T, s *Store) { mustSave(t, s, bot("a"), putString("k", "newer")) },
			[]session.Key{putString("k", "newer").Key, hash("h", "f", "old")}, 0},
		"save of a key": {
			func(s *Store) func(context.Context) error { return save(s, "late") },
			func(t *testing.T, s *Store) { mustSave(t, s, bot("a"), putString("k", "newer")) },
			[]session.Key{putString("k", "newer").Key, hash("h", "f", "old")}, 0},
		"save of the heat": {
			func(s *Store) func(context.Context) error {
				return func(ctx context.Context) error { _, err := s.Save(ctx, heat(1), now); return err }
			},
			func(t *testing.T, s *Store) {
				if _, err := s.Save(testContext(t), heat(2), now); err != nil {
					t.Fatal(err)
				}
			},
			[]session.Key{putString("k", "old").Key, hash("h", "f", "old")}, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			direct := openStore(t, Config{})
			r, dsn := startRelay(t, direct.pool.Config().ConnString())
			s := openStore(t, Config{DSN: dsn})
			// Once on time, on the one connection: its statements are then prepared, and only the call itself is late.
			old := []session.KeyChange{putString("k", "old"), put(hash("h", "f", "old"))}
			mustSave(t, s, bot("a"), old...)
			if err := tt.call(s)(testContext(t)); err != nil {
				t.Fatal(err)
			}
			mustSave(t, s, bot("a"), old...)
			late(t, r, tt.call(s), func() { tt.newer(t, s) })
			wantKeys(t, direct, bot("a"), tt.want...)
			equal(t, "bytes", mustLoad(t, direct, bot("a")).Heat.Bytes, tt.bytes)
		})
	}
}

// TestLateSaveBringsNothingBack: what was removed meanwhile had no row that could have stopped the save.
func TestLateSaveBringsNothingBack(t *testing.T) {
	for name, newer := range map[string]func(context.Context, *Store) error{
		"delete": func(ctx context.Context, s *Store) error {
			return s.Delete(ctx, []session.Removal{{Session: bot("new"), Key: "k"}})
		},
		"sessions":    func(ctx context.Context, s *Store) error { return s.DeleteSessions(ctx, []session.ID{bot("new")}) },
		"database":    func(ctx context.Context, s *Store) error { return s.DeleteDB(ctx, []int{0}) },
		"all":         func(ctx context.Context, s *Store) error { return s.DeleteDB(ctx, nil) },
		"swapped out": func(ctx context.Context, s *Store) error { return s.SwapDB(ctx, 0, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			direct := openStore(t, Config{})
			r, dsn := startRelay(t, direct.pool.Config().ConnString())
			s := openStore(t, Config{DSN: dsn})
			heat := []session.Change{{Session: bot("other")}}
			if _, err := s.Save(testContext(t), heat, now); err != nil {
				t.Fatal(err)
			}
			heat[0].Session = bot("new") // a save that is one round trip, so that it is complete when it arrives
			late(t, r, func(ctx context.Context) error { _, err := s.Save(ctx, heat, now); return err }, func() {
				if err := newer(testContext(t), s); err != nil {
					t.Fatal(err)
				}
			})
			equal(t, "snapshot", mustLoad(t, direct, bot("new")), session.Snapshot{})
			listed, err := direct.Sessions(testContext(t), 0, 10)
			if err != nil || len(listed) != 1 || listed[0].Session.Name != "other" {
				t.Errorf("sessions %+v, %v; want the other one alone", listed, err)
			}
		})
	}
}

// TestSlowProcessIsOvertaken: the older program has not given up; its save of two round trips arrives after the newer
// program's, and must learn that it came late.
func TestSlowProcessIsOvertaken(t *testing.T) {
	newer := openStore(t, Config{})
	r, dsn := startRelay(t, newer.pool.Config().ConnString())
	older := openStore(t, Config{DSN: dsn})
	mustSave(t, older, bot("a"), putString("k", "old"), putString("k2", "old"))
	next := openStore(t, Config{DSN: newer.pool.Config().ConnString()})
	held := r.hold()
	failed := make(chan error, 1)
	go func() {
		_, err := older.Save(testContext(t), []session.Change{{Session: bot("b")},
			{Session: bot("a"), Keys: []session.KeyChange{putString("k", "late"), putString("k2", "late")}}}, now)
		failed <- err
	}()
	await(t, held.waiting, "the save is on its way")
	mustSave(t, next, bot("a"), putString("k", "newer"))
	before := older.Queries()
	held.release()
	err := <-failed
	if !errors.Is(err, ErrSuperseded) || !Temporary(err) {
		t.Fatalf("the late save: %v, want ErrSuperseded, temporary", err)
	}
	equal(t, "round trips after the refusal: no repetition, one look at the fences", older.Queries()-before, 1)
	wantKeys(t, newer, bot("a"), putString("k", "newer").Key, putString("k2", "old").Key)
	equal(t, "session b, of the same save", mustLoad(t, newer, bot("b")), session.Snapshot{})
	// A new call is newer than all before it, whoever makes it.
	mustSave(t, older, bot("a"), putString("k", "again"))
	wantKeys(t, newer, bot("a"), putString("k", "again").Key, putString("k2", "old").Key)
}

// TestLaterProcessIsAbove: fences grow from one program to the next, even when the clock went back by a century.
func TestLaterProcessIsAbove(t *testing.T) {
	first := openStore(t, Config{})
	dsn := first.pool.Config().ConnString()
	first.order.raise(time.Now().AddDate(100, 0, 0).UnixNano())
	lease, err := first.Lease(testContext(t), "x", 0) // tells the database
	if err != nil {
		t.Fatal(err)
	}
	mustSave(t, first, bot("a"), putString("k", "first"))
	second := openStore(t, Config{DSN: dsn})
	mustSave(t, second, bot("a"), putString("k", "second"))
	if err := lease.Release(testContext(t)); err != nil {
		t.Fatal(err)
	}
	lease, err = first.Lease(testContext(t), "x", 10*time.Second) // Postgres may still be closing the other connection
	if err != nil {
		t.Fatal(err)
	}
	mustSave(t, first, bot("a"), putString("k", "first again")) // at once: the lease made it the newer one
	wantKeys(t, second, bot("a"), putString("k", "first again").Key)
	if err := lease.Release(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

// TestSwapIsNotRepeated: a swap whose answer was lost has happened once.
func TestSwapIsNotRepeated(t *testing.T) {
	s := openStore(t, Config{})
	mustSave(t, s, bot("a"), putString("k", "v"))
	if err := s.SwapDB(testContext(t), 0, 1); err != nil {
		t.Fatal(err)
	}
	s.order.mu.Lock()
	s.order.last-- // the next call has the fence of the last one, as a repetition has
	s.order.mu.Unlock()
	if err := s.SwapDB(testContext(t), 0, 1); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, s, session.ID{DB: 1, Keyspace: "baileys", Name: "a"}, putString("k", "v").Key)
}

// TestConcurrentCallsDoNotSupersede: a call that is older but slower is waited for.
func TestConcurrentCallsDoNotSupersede(t *testing.T) {
	direct := openStore(t, Config{})
	r, dsn := startRelay(t, direct.pool.Config().ConnString())
	s := openStore(t, Config{DSN: dsn})
	mustSave(t, s, bot("a"), putString("k", "old"))
	held := r.hold()
	failed := make(chan error, 1)
	go func() {
		_, err := s.Save(testContext(t), []session.Change{{Session: bot("a"), Keys: []session.KeyChange{putString("k", "1")}}}, now)
		failed <- err
	}()
	await(t, held.waiting, "the first save is on its way")
	go func() { failed <- s.Delete(testContext(t), []session.Removal{{Session: bot("a"), Key: "k"}}) }()
	testenv.Eventually(t, 10*time.Second, "the delete waits its turn", func() bool {
		s.order.mu.Lock()
		defer s.order.mu.Unlock()
		return len(s.order.live) == 2
	})
	mustSave(t, s, bot("b"), putString("k", "others go on"))
	held.release()
	for range 2 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	wantKeys(t, direct, bot("a"))
}

func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o order
		ids := func(names ...string) (out []session.ID) {
			for _, n := range names {
				out = append(out, bot(n))
			}
			return out
		}
		waits := func(turn *turn) bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return turn.wait(ctx) != nil
		}
		a, ab, c := o.enter(ids("a")), o.enter(ids("a", "b")), o.enter(ids("c"))
		equal(t, "a waits", waits(a), false)
		equal(t, "ab waits", waits(ab), true)
		equal(t, "c waits", waits(c), false)
		b := o.enter(ids("b"))
		all, after := o.enter(nil), o.enter(ids("d"))
		o.leave(ab) // gave up while a is under way
		synctest.Wait()
		equal(t, "b waits for what ab waited for", waits(b), true)
		o.leave(a)
		synctest.Wait()
		equal(t, "b waits", waits(b), false)
		o.leave(b)
		equal(t, "all waits for c", waits(all), true)
		equal(t, "d waits for all", waits(after), true)
		o.leave(c)
		equal(t, "all waits", waits(all), false)
		o.leave(all)
		equal(t, "d waits", waits(after), false)
		o.leave(after)
		if len(o.live) != 0 || len(o.newest) != 0 || o.all != nil {
			t.Errorf("left behind: %d turns, %d sessions", len(o.live), len(o.newest))
		}
	})
}
