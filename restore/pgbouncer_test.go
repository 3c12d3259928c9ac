package restore

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"credproxy/internal/session"
	"credproxy/internal/testenv"
)

// pooledDSN starts a PgBouncer in transaction mode, with fewer connections than the test's clients, in front of a database
// and returns the database's DSN through it.
func pooledDSN(t *testing.T, dsn string) string {
	t.Helper()
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("pgbouncer is not installed: apt-get install pgbouncer")
		}
		t.Skip("pgbouncer is not installed: apt-get install pgbouncer")
	}
	target, err := url.Parse(dsn)
	if err != nil {
		t.Fatalf("parse dsn: %v", err)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	users := filepath.Join(dir, "users.txt")
	config := fmt.Sprintf(`[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = transaction
default_pool_size = 3
`, target.Hostname(), target.Port(), port, users)
	for name, content := range map[string]string{users: `"credproxy" ""`, filepath.Join(dir, "pgbouncer.ini"): config} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	startBouncer(t, exec.Command(path, filepath.Join(dir, "pgbouncer.ini")), dir, port)
	target.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return target.String()
}

// startBouncer starts it as a user that may run it, and ends it with the test, also when that is killed.
func startBouncer(t *testing.T, cmd *exec.Cmd, dir string, port int) {
	t.Helper()
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: unprivileged(t, dir)}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the death signal belongs to the thread that starts the process
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		t.Fatalf("start pgbouncer: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	testenv.Eventually(t, 10*time.Second, "pgbouncer accepts connections", func() bool {
		select {
		case <-ended:
			t.Fatalf("pgbouncer ended: %s", output.String())
		default:
		}
		conn, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
}

// unprivileged returns the user nobody when we are root, as whom PgBouncer does not run, and lets it read dir.
func unprivileged(t *testing.T, dir string) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skipf("root may not run pgbouncer, and there is no other user: %v", err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func TestThroughPgBouncer(t *testing.T) {
	direct := testenv.DSN(t)
	dsn := pooledDSN(t, direct)
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
	dsn := pooledDSN(t, testenv.DSN(t))
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
