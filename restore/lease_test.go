package restore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"credproxy/internal/testenv"
)

func isLost(l *Lease) bool {
	select {
	case <-l.Lost():
		return true
	default:
		return false
	}
}

func TestLeaseHasOneHolder(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *Store) {
		ctx := testContext(t)
		first, err := s.Lease(ctx, "redis-1", 0)
		if err != nil {
			t.Fatal(err)
		}
		other, err := s.Lease(ctx, "redis-2", 0)
		if err != nil {
			t.Fatalf("another name: %v", err)
		}
		second := openStore(t, Config{DSN: s.pool.Config().ConnString(), SimpleProtocol: s.pooled})
		_, err = second.Lease(ctx, "redis-1", 150*time.Millisecond)
		if !errors.Is(err, ErrHeld) || Temporary(err) {
			t.Fatalf("second holder: %v, want ErrHeld", err)
		}
		if s.pooled && !strings.Contains(err.Error(), holderName()) || !s.pooled && !strings.Contains(err.Error(), "credproxy from 127.0.0.1") {
			t.Errorf("the error does not say who holds it: %v", err)
		}
		// Longer than a row stays fresh: only the heartbeat keeps the lease.
		if _, err = second.Lease(ctx, "redis-1", 4500*time.Millisecond); !errors.Is(err, ErrHeld) {
			t.Errorf("second holder after the heartbeat interval: %v, want ErrHeld", err)
		}
		if isLost(first) {
			t.Error("the lease was lost while it was held")
		}
		got := make(chan error)
		go func() {
			l, err := second.Lease(ctx, "redis-1", 10*time.Second)
			if err == nil {
				err = l.Release(ctx)
			}
			got <- err
		}()
		if err := first.Release(ctx); err != nil {
			t.Fatal(err)
		}
		if err := <-got; err != nil {
			t.Errorf("second holder after the release: %v", err)
		}
		if !isLost(first) {
			t.Error("Lost is open after Release")
		}
		if err := other.Release(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestLeaseIsLostWithItsConnection(t *testing.T) {
	t.Parallel()
	s := openStore(t, Config{})
	ctx := testContext(t)
	l, err := s.Lease(ctx, "x", 0)
	if err != nil {
		t.Fatal(err)
	}
	// Only in this database: other tests' leases live on the same server.
	sql(t, s, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
	again, err := s.Lease(ctx, "x", 5*time.Second)
	if err != nil {
		t.Fatalf("after the holder's connection died: %v", err)
	}
	testenv.Eventually(t, 10*time.Second, "the first holder knows", func() bool { return isLost(l) })
	if err := l.Release(ctx); err != nil {
		t.Errorf("release of a lost lease: %v", err)
	}
	if isLost(again) {
		t.Error("the new holder lost it, too")
	}
	if err := again.Release(ctx); err != nil {
		t.Error(err)
	}
}

// TestRowLeaseOfADeadHolder: a holder that stopped renewing is followed by the next one, and knows it.
func TestRowLeaseOfADeadHolder(t *testing.T) {
	t.Parallel()
	s := openStore(t, Config{SimpleProtocol: true})
	ctx := testContext(t)
	hold, err := s.rowTaker("x")(ctx)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	next, err := s.Lease(ctx, "x", 5*time.Second)
	if err != nil {
		t.Fatalf("after %s: %v", time.Since(begun), err)
	}
	if took := time.Since(begun); took < 3*time.Second {
		t.Errorf("taken over after %s, while the holder may still believe in it", took)
	}
	if err := hold.renew(ctx); !errors.Is(err, ErrHeld) {
		t.Errorf("the old holder renewed: %v", err)
	}
	if err := hold.release(ctx); err != nil {
		t.Error(err)
	}
	if _, err := s.Lease(ctx, "x", 0); !errors.Is(err, ErrHeld) {
		t.Errorf("the old holder's release freed the new one's lease: %v", err)
	}
	if err := next.Release(ctx); err != nil {
		t.Error(err)
	}
}
