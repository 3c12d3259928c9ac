package restore

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"credproxy/internal/session"
	"credproxy/internal/testenv"
)

func TestThroughPgBouncer(t *testing.T) {
	direct := testenv.DSN(t)
	dsn := testenv.PgBouncer(t, direct)
	_, err := Open(testContext(t), Config{DSN: dsn})
	if err == nil || !strings.Contains(err.Error(), "a pooler stands in between") {
		t.Errorf("opened without saying that there is a pooler: %v", err)
	}
	s := openStore(t, Config{DSN: dsn, SimpleProtocol: true,
		Source: "SELECT 'k', NULL, 'of ' || $1 WHERE left($1, 6) = 'source'"})

	// More callers than connections to Postgres, so that each transaction runs on whatever connection is free.
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for round := range 20 {
				if err := pooledRound(t, s, w, round); err != nil {
					t.Errorf("caller %d: %v", w, err)
					return
				}
			}
		})
	}
	wg.Wait()
	large := largeHash(t)
	mustSave(t, s, bot("large"), put(large))
	wantKeys(t, s, bot("large"), large)
	equal(t, "from the source", mustLoad(t, s, bot("source1")),
		session.Snapshot{FromSource: true, Keys: []session.Key{putString("k", "of source1").Key}})
	if _, err := s.Purge(testContext(t), now, 10); err != nil {
		t.Error(err)
	}
	for _, err := range []error{s.SwapDB(testContext(t), 0, 1), s.DeleteDB(testContext(t), []int{1}), s.DeleteDB(testContext(t), nil)} {
		if err != nil {
			t.Error(err)
		}
	}
	wantKeys(t, s, bot("large"))
	if _, err := s.Keys(testContext(t), 0, 0, 10, now); err != nil {
		t.Error(err)
	}
}

// pooledRound saves, loads and removes in a session of the caller's own and in one that all share.
func pooledRound(t *testing.T, s *Store, caller, round int) error {
	ctx := testContext(t)
	own, field := bot(fmt.Sprint("own", caller)), fmt.Sprint("f", caller)
	value := fmt.Sprint(round)
	refused, err := s.Save(ctx, []session.Change{
		{Session: own, Keys: []session.KeyChange{putString("k", value), put(hash("h", "a", value, "b", "x"))}},
		{Session: bot("shared"), Keys: []session.KeyChange{putString(field, value)}},
	}, now)
	if err != nil || refused != nil {
		return fmt.Errorf("refused %v: %w", refused, err)
	}
	err = s.Delete(ctx, []session.Removal{{Session: own, Key: "h", Fields: []string{"b"}}, {Session: bot("shared"), Key: field}})
	if err != nil {
		return err
	}
	got, err := s.Load(ctx, own, now)
	if err != nil {
		return err
	}
	sortKeys(got.Keys)
	if len(got.Keys) != 2 || len(got.Keys[0].Fields) != 1 || string(got.Keys[1].Value) != value {
		return fmt.Errorf("round %d: loaded %d keys, or not what was saved", round, len(got.Keys))
	}
	if round%5 == 4 {
		return s.DeleteSessions(ctx, []session.ID{own})
	}
	return nil
}

func TestLeaseThroughPgBouncer(t *testing.T) {
	t.Parallel()
	dsn := testenv.PgBouncer(t, testenv.DSN(t))
	first := openStore(t, Config{DSN: dsn, SimpleProtocol: true})
	second := openStore(t, Config{DSN: dsn, SimpleProtocol: true})
	ctx := testContext(t)
	held, err := first.Lease(ctx, "x", 0)
	if err != nil {
		t.Fatal(err)
	}
	// Longer than a row stays fresh: the heartbeat goes through the pooler, too.
	if _, err := second.Lease(ctx, "x", 4500*time.Millisecond); !errors.Is(err, ErrHeld) {
		t.Errorf("second holder: %v, want ErrHeld", err)
	}
	if isLost(held) {
		t.Error("the lease was lost while it was held")
	}
	if err := held.Release(ctx); err != nil {
		t.Fatal(err)
	}
	next, err := second.Lease(ctx, "x", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Release(ctx); err != nil {
		t.Error(err)
	}
}
