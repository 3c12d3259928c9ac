package restore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"credproxy/internal/session"
	"credproxy/internal/testenv"
)

// waitForLock waits until some connection waits for a row that another one has locked.
func waitForLock(t testing.TB, s *Store) {
	t.Helper()
	testenv.Eventually(t, 10*time.Second, "a writer waits for a lock", func() bool {
		return count(t, s, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`) > 0
	})
}

func TestPostgresKilledAndRestarted(t *testing.T) {
	server := testenv.Postgres(t)
	s := openStore(t, Config{DSN: server.DSN()})
	mustSave(t, s, bot("a"), putString("k", "committed"))
	fillPool(t, s)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	for what, do := range map[string]func() error{
		"load":   func() error { _, err := s.Load(ctx, bot("a"), now); return err },
		"save":   func() error { _, err := s.Save(ctx, []session.Change{{Session: bot("a")}}, now); return err },
		"delete": func() error { return s.Delete(ctx, []session.Removal{{Session: bot("a"), Key: "k"}}) },
		"ping":   func() error { return s.Ping(ctx) },
		"keys":   func() error { _, err := s.Keys(ctx, 0, 0, 1, now); return err },
		"lease":  func() error { _, err := s.Lease(ctx, "x", 0); return err },
	} {
		if err := do(); err == nil || !Temporary(err) {
			t.Errorf("%s on a killed postgres: %v, want a temporary error", what, err)
		}
	}
	server = testenv.RestartPostgres(t, server)
	wantKeys(t, s, bot("a"), putString("k", "committed").Key)

	// A restart while nobody looks: all pooled connections are dead, and no call fails for it.
	fillPool(t, s)
	if err := server.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	testenv.RestartPostgres(t, server)
	wantKeys(t, s, bot("a"), putString("k", "committed").Key)
	mustSave(t, s, bot("a"), putString("k", "again"))
}

// fillPool makes the pool open several connections.
func fillPool(t *testing.T, s *Store) {
	t.Helper()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := s.pool.Exec(testContext(t), "SELECT pg_sleep(0.05)"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestFrozenPostgresEndsWithTheDeadline(t *testing.T) {
	server := testenv.Postgres(t)
	s := openStore(t, Config{DSN: server.DSN()})
	mustSave(t, s, bot("a"), putString("k", "v"))
	// A frozen postmaster still has backends that answer; only new connections hang.
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	s.pool.Reset()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := s.Load(ctx, bot("a"), now)
	if err == nil || !Temporary(err) {
		t.Errorf("load gave %v, want a temporary error", err)
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, s, bot("a"), putString("k", "v").Key)
}

func TestCanceledSaveLeavesNoLock(t *testing.T) {
	s := openStore(t, Config{MaxConns: 3})
	mustSave(t, s, bot("a"), putString("k", "v"))
	ctx := testContext(t)
	other, err := s.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(ctx, "SELECT FROM credproxy.sessions FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(ctx)
	failed := make(chan error)
	go func() {
		_, err := s.Save(canceled, []session.Change{{Session: bot("a"), Keys: []session.KeyChange{putString("k", "new")}}}, now)
		failed <- err
	}()
	waitForLock(t, s)
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) || Temporary(err) {
		t.Errorf("save gave %v, want a canceled one, not temporary", err)
	}
	if err := other.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	mustSave(t, s, bot("a"), putString("k2", "v"))
}

// TestDeadlockIsRepeated provokes a deadlock with somebody who locks in another order.
func TestDeadlockIsRepeated(t *testing.T) {
	s := openStore(t, Config{})
	mustSave(t, s, bot("a"))
	mustSave(t, s, bot("b"))
	ctx := testContext(t)
	other, err := s.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Rollback(ctx) }()
	// The other one waits longer before it looks for a deadlock, so the save is the one to find it and give way.
	for _, statement := range []string{
		"SET LOCAL deadlock_timeout = '60s'", "SELECT FROM credproxy.sessions WHERE id = 'b' FOR UPDATE",
	} {
		if _, err := other.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	before := s.Queries()
	failed := make(chan error)
	go func() {
		_, err := s.Save(ctx, []session.Change{{Session: bot("b")}, {Session: bot("a")}}, now)
		failed <- err
	}()
	waitForLock(t, s)
	if _, err := other.Exec(ctx, "SELECT FROM credproxy.sessions WHERE id = 'a' FOR UPDATE"); err != nil {
		t.Fatalf("the other one was chosen: %v", err)
	}
	if err := other.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	if n := s.Queries() - before; n < 2 {
		t.Errorf("%d round trips: there was no deadlock", n)
	}
}

func TestTemporary(t *testing.T) {
	pg := func(code string) error { return fmt.Errorf("save: %w", &pgconn.PgError{Code: code}) }
	for code, want := range map[string]bool{
		"57P01": true, "57P03": true, "25006": true, "53100": true, "53300": true, "08006": true, "40P01": true, "57014": true,
		"23505": false, "42P01": false, "28P01": false, "3D000": false, "08P01": false, "22001": false,
	} {
		equal(t, code, Temporary(pg(code)), want)
	}
	_, refused := net.Dial("tcp", "127.0.0.1:1")
	equal(t, "refused", Temporary(refused), true)
	equal(t, "deadline", Temporary(fmt.Errorf("x: %w", context.DeadlineExceeded)), true)
	equal(t, "canceled", Temporary(context.Canceled), false)
	equal(t, "poison", Temporary(&PoisonError{}), false)
	equal(t, "none", Temporary(nil), false)
}

func TestOpenErrorsForOperators(t *testing.T) {
	server := testenv.DSN(t)
	const password = "s3cr3t"
	at := func(user, host string) string { return "postgres://" + user + ":" + password + "@" + host }
	host := strings.TrimSuffix(server[strings.Index(server, "@")+1:], "?sslmode=disable")
	address, _, _ := strings.Cut(host, "/")
	for name, tt := range map[string]struct {
		dsn, want string
		temporary bool
	}{
		"no URL":        {"host:5432 password " + password, "neither a postgres:// URL", false},
		"bad port":      {at("u", "h:notaport/db"), "neither a postgres:// URL", false},
		"raw slash":     {"postgres://u:pa/" + password + "@h/db", "percent-encoded", false},
		"raw percent":   {"postgres://u:%zz" + password + "@h/db", "percent-encoded", false},
		"bad sslmode":   {at("u", "h/db?sslmode=nonsense"), "sslmode is invalid", false},
		"unreachable":   {at("u", "127.0.0.1:1/db?sslmode=disable"), "is Postgres running", true},
		"no such user":  {at("nobody", host+"?sslmode=disable"), `user "nobody"`, false},
		"no database":   {at("credproxy", address+"/missing?sslmode=disable"), `CREATE DATABASE "missing"`, false},
		"no such param": {at("u", "h/db?pool_max_conns=x"), "pool_max_conns", false},
	} {
		_, err := Open(testContext(t), Config{DSN: tt.dsn})
		if err == nil || !strings.Contains(err.Error(), tt.want) || Temporary(err) != tt.temporary {
			t.Errorf("%s: error %v, temporary %v; want %q, %v", name, err, Temporary(err), tt.want, tt.temporary)
			continue
		}
		if strings.Contains(err.Error(), password) {
			t.Errorf("%s: the error shows the password: %v", name, err)
		}
	}
}
