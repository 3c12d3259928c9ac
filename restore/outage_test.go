package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/session"
	"credproxy/internal/testenv"
)

// blocked starts a transaction that makes whoever touches the rows wait, and returns what ends it.
func blocked(t *testing.T, s *Store, statement string) (end func()) {
	t.Helper()
	tx, err := s.pool.Begin(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = tx.Rollback(context.Background())
		}
	}
	t.Cleanup(end)
	if _, err := tx.Exec(testContext(t), statement); err != nil {
		t.Fatal(err)
	}
	return end
}

// terminateWaiting waits for a connection that waits for a lock, ends it, and returns when it is gone: it would be taken for
// the next.
func terminateWaiting(t *testing.T, s *Store) {
	t.Helper()
	const waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
	pid := 0
	testenv.Eventually(t, 10*time.Second, "somebody waits for a lock", func() bool {
		pid = count(t, s, waiting)
		return pid != 0
	})
	if count(t, s, "SELECT count(*) WHERE pg_terminate_backend($1)", pid) != 1 {
		t.Fatalf("backend %d was not there", pid)
	}
	testenv.Eventually(t, 10*time.Second, "the backend is gone", func() bool {
		return count(t, s, "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid) == 0
	})
}

func saveOne(ctx context.Context, s *Store, value string) error {
	_, err := s.Save(ctx, []session.Change{{Session: bot("a"), Keys: []session.KeyChange{putString("k", value)}}}, now)
	return err
}

// TestBackendTerminatedInTheMiddle: losing a connection once is nobody's trouble, losing it again is a temporary error.
func TestBackendTerminatedInTheMiddle(t *testing.T) {
	calls := map[string]struct {
		lock string
		call func(context.Context, *Store) error
	}{
		"load": {"LOCK TABLE credproxy.keys", func(ctx context.Context, s *Store) error { _, err := s.Load(ctx, bot("a"), now); return err }},
		"save": {"SELECT FROM credproxy.sessions FOR UPDATE", func(ctx context.Context, s *Store) error { return saveOne(ctx, s, "new") }},
		"save, its second half": {"SELECT FROM credproxy.keys FOR UPDATE",
			func(ctx context.Context, s *Store) error { return saveOne(ctx, s, "new") }},
		"delete": {"SELECT FROM credproxy.keys FOR UPDATE", func(ctx context.Context, s *Store) error {
			return s.Delete(ctx, []session.Removal{{Session: bot("a"), Key: "k"}})
		}},
	}
	for name, tt := range calls {
		for times, want := range map[int]bool{1: true, 2: false} {
			t.Run(fmt.Sprintf("%s/%d times", name, times), func(t *testing.T) {
				direct := openStore(t, Config{})
				s := openStore(t, Config{DSN: direct.pool.Config().ConnString()})
				mustSave(t, s, bot("a"), putString("k", "old"))
				end := blocked(t, direct, tt.lock)
				result := make(chan error, 1)
				go func() { result <- tt.call(testContext(t), s) }()
				for range times {
					terminateWaiting(t, direct)
				}
				if want {
					end()
				}
				err := <-result
				if (err == nil) != want || err != nil && !Temporary(err) {
					t.Errorf("terminated %d times: %v", times, err)
				}
				end()
				mustSave(t, s, bot("a"), putString("k", "again"))
				wantKeys(t, s, bot("a"), putString("k", "again").Key)
			})
		}
	}
}

func TestReadOnlyForAWhile(t *testing.T) {
	eachMode(t, func(t *testing.T, s *Store) {
		mustSave(t, s, bot("a"), putString("k", "v"))
		conf := s.pool.Config()
		readOnly := func(state string) {
			t.Helper()
			sql(t, s, "BEGIN READ WRITE; ALTER DATABASE "+conf.ConnConfig.Database+" SET default_transaction_read_only = "+state+"; COMMIT")
			s.pool.Reset() // as after a failover: the setting is a connection's
		}
		readOnly("on")
		ctx := testContext(t)
		for what, err := range map[string]error{
			"save": saveOne(ctx, s, "new"), "delete": s.Delete(ctx, []session.Removal{{Session: bot("a"), Key: "k"}}),
			"sessions": s.DeleteSessions(ctx, []session.ID{bot("a")}), "database": s.DeleteDB(ctx, nil),
		} {
			if err == nil || !Temporary(err) || !strings.Contains(err.Error(), "25006") {
				t.Errorf("%s: %v, want a temporary error 25006", what, err)
			}
		}
		again := openStore(t, Config{DSN: conf.ConnString(), SimpleProtocol: s.pooled}) // a start works, too
		wantKeys(t, again, bot("a"), putString("k", "v").Key)
		if _, err := again.Lease(ctx, "x", 0); err == nil || !Temporary(err) {
			t.Errorf("lease: %v, want a temporary error", err)
		}
		readOnly("off")
		again.pool.Reset()
		mustSave(t, again, bot("a"), putString("k", "new"))
		wantKeys(t, s, bot("a"), putString("k", "new").Key)
	})
}

func TestPasswordChangedMeanwhile(t *testing.T) {
	const first, second = "first-s3cr3t", "second-s3cr3t"
	server := testenv.Postgres(t)
	root := openStore(t, Config{DSN: server.DSN()})
	hba := "host all credproxy 127.0.0.1/32 trust\nhost all app 127.0.0.1/32 scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(server.Dir(), "data", "pg_hba.conf"), []byte(hba), 0o600); err != nil {
		t.Fatal(err)
	}
	sql(t, root, "CREATE ROLE app LOGIN PASSWORD '"+first+"'; GRANT ALL ON SCHEMA credproxy TO app; "+
		"GRANT ALL ON ALL TABLES IN SCHEMA credproxy TO app; GRANT ALL ON ALL SEQUENCES IN SCHEMA credproxy TO app; SELECT pg_reload_conf()")
	dsn := strings.Replace(server.DSN(), "credproxy@", "app:"+first+"@", 1)
	s := openStore(t, Config{DSN: dsn})
	mustSave(t, s, bot("a"), putString("k", "v"))

	sql(t, root, "ALTER ROLE app PASSWORD '"+second+"'")
	mustSave(t, s, bot("a"), putString("k", "v2")) // connections that are open go on
	s.pool.Reset()
	_, loadErr := s.Load(testContext(t), bot("a"), now)
	_, openErr := Open(testContext(t), Config{DSN: dsn})
	for what, err := range map[string]error{"load": loadErr, "save": saveOne(testContext(t), s, "lost"), "open": openErr} {
		if err == nil || !strings.Contains(err.Error(), `password authentication failed for user "app"`) {
			t.Errorf("%s: %v, want an error that says what is wrong", what, err)
		} else if strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: the error shows the password: %v", what, err)
		}
	}
	sql(t, root, "ALTER ROLE app PASSWORD '"+first+"'")
	wantKeys(t, s, bot("a"), putString("k", "v2").Key)
}

// TestDiskFull fills a small disk of its own, and then makes it larger.
func TestDiskFull(t *testing.T) {
	dir, err := os.MkdirTemp("", "credproxy-test-disk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=6m"); err != nil {
		t.Skipf("mounting a small disk is not permitted here: %v", err)
	}
	t.Cleanup(func() { // after the server has ended
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount the small disk: %v", err)
		}
	})
	server := testenv.Postgres(t)
	owner, err := os.Stat(filepath.Join(server.Dir(), "data", "PG_VERSION"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(owner.Sys().(*syscall.Stat_t).Uid), -1); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, Config{DSN: server.DSN()})
	sql(t, s, "CREATE TABLESPACE small LOCATION '"+dir+"'")
	sql(t, s, "ALTER TABLE credproxy.fields SET TABLESPACE small")
	kept := hash("h", "f", "kept")
	mustSave(t, s, bot("a"), put(kept))
	large := largeHash(t) // 17 MB
	_, err = s.Save(testContext(t), []session.Change{{Session: bot("a"), Keys: []session.KeyChange{put(large), put(hash("h", "f", "lost"))}}}, now)
	if err == nil || !Temporary(err) || !strings.Contains(err.Error(), "53100") {
		t.Fatalf("save on a full disk: %v, want a temporary error 53100", err)
	}
	wantKeys(t, s, bot("a"), kept)
	if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT, "size=128m"); err != nil {
		t.Fatal(err)
	}
	mustSave(t, s, bot("a"), put(large))
	wantKeys(t, s, bot("a"), kept, large)
}

func TestTimeoutsOfPostgres(t *testing.T) {
	for setting, code := range map[string]string{"statement_timeout": "57014", "lock_timeout": "55P03"} {
		t.Run(setting, func(t *testing.T) {
			direct := openStore(t, Config{})
			s := openStore(t, Config{DSN: direct.pool.Config().ConnString() + "&" + setting + "=100ms"})
			mustSave(t, s, bot("a"), putString("k", "v"))
			end := blocked(t, direct, "SELECT FROM credproxy.sessions FOR UPDATE")
			err := saveOne(testContext(t), s, "late")
			if err == nil || !Temporary(err) || !strings.Contains(err.Error(), code) {
				t.Errorf("save: %v, want a temporary error %s", err, code)
			}
			end()
			wantKeys(t, s, bot("a"), putString("k", "v").Key)
			end = blocked(t, direct, "LOCK TABLE credproxy.keys")
			if _, err = s.Load(testContext(t), bot("a"), now); err == nil || !Temporary(err) || !strings.Contains(err.Error(), code) {
				t.Errorf("load: %v, want a temporary error %s", err, code)
			}
			end()
			mustSave(t, s, bot("a"), putString("k", "after"))
			equal(t, "idle in a transaction", count(t, direct, `SELECT count(*) FROM pg_stat_activity
				WHERE datname = current_database() AND state LIKE 'idle in transaction%'`), 0)
		})
	}
}

// TestFrozenBackendsEndWithTheDeadline freezes every process of Postgres, not only the one that accepts connections.
func TestFrozenBackendsEndWithTheDeadline(t *testing.T) {
	server := testenv.Postgres(t)
	s := openStore(t, Config{DSN: server.DSN()})
	mustSave(t, s, bot("a"), putString("k", "v"))
	var pids []int32
	rows, err := s.pool.Query(testContext(t), "SELECT pid FROM pg_stat_activity")
	if err != nil {
		t.Fatal(err)
	}
	if pids, err = pgx.CollectRows(rows, pgx.RowTo[int32]); err != nil {
		t.Fatal(err)
	}
	signal := func(sig syscall.Signal) {
		for _, pid := range append(pids, int32(server.PID())) {
			if err := syscall.Kill(int(pid), sig); err != nil {
				t.Errorf("signal %d: %v", pid, err)
			}
		}
	}
	signal(syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(testContext(t), 200*time.Millisecond)
	err = saveOne(ctx, s, "late")
	cancel()
	signal(syscall.SIGCONT)
	if !errors.Is(err, context.DeadlineExceeded) || !Temporary(err) {
		t.Errorf("save: %v, want the deadline, temporary", err)
	}
	mustSave(t, s, bot("a"), putString("k", "newer"))
	wantKeys(t, s, bot("a"), putString("k", "newer").Key)
}
