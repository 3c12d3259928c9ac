package procs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// closedDir returns a folder that only the user of the test can reach, as t.TempDir is when root runs the tests.
func closedDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "closed", "pg")
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	// The cluster itself may lie elsewhere, behind a link.
	t.Cleanup(func() {
		if data, err := filepath.EvalSymlinks(filepath.Join(dir, "data")); err == nil {
			_ = os.RemoveAll(data)
		}
	})
	return dir
}

func startTestPostgres(t *testing.T, cfg PostgresConfig) *Postgres {
	t.Helper()
	p, err := StartPostgres(testContext(t), cfg)
	need(t, err)
	t.Cleanup(func() { _ = p.Kill() })
	return p
}

func queryInt(t *testing.T, p *Postgres, sql string) int {
	t.Helper()
	conn, err := pgx.Connect(testContext(t), p.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var n int
	if err := conn.QueryRow(testContext(t), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPostgresSurvivesKill(t *testing.T) {
	cfg := PostgresConfig{Dir: closedDir(t), Settings: map[string]string{"max_connections": "17"}}
	p := startTestPostgres(t, cfg)
	if n := queryInt(t, p, "SELECT current_setting('max_connections')::int"); n != 17 {
		t.Errorf("max_connections = %d, want 17", n)
	}
	queryInt(t, p, "WITH x AS (SELECT 1) SELECT 1 FROM x")
	conn, err := pgx.Connect(testContext(t), p.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(testContext(t), "CREATE TABLE t AS SELECT 42 AS n"); err != nil {
		t.Fatal(err)
	}
	children := childrenOf(p.PID())
	if len(children) < 3 {
		t.Fatalf("postgres has %d children, want the background processes and our backend", len(children))
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range children {
		if runs(pid) {
			t.Errorf("child %d outlived Kill", pid)
		}
	}
	if _, err := conn.Exec(testContext(t), "SELECT 1"); err == nil {
		t.Error("a killed postgres answered")
	}

	cfg.Port = p.Port()
	again := startTestPostgres(t, cfg)
	if n := queryInt(t, again, "SELECT n FROM t"); n != 42 {
		t.Errorf("t.n = %d after the restart, want 42", n)
	}
	if _, err := StartPostgres(testContext(t), PostgresConfig{Dir: cfg.Dir}); err == nil {
		t.Error("a second postgres started on the same folder")
	}
	if err := again.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := again.Stop(testContext(t)); err != nil {
		t.Errorf("second Stop: %v", err)
	}
}

// TestStaleLockFile: the number in the lock file of a killed postmaster has been given to another process.
func TestStaleLockFile(t *testing.T) {
	data := t.TempDir()
	stranger := exec.Command("cat") // ends when its stdin closes
	stdin, err := stranger.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close(); _ = stranger.Wait() }()
	path := filepath.Join(data, pidFile)
	if err := os.WriteFile(path, []byte(itoa(stranger.Process.Pid)+"\n"+data+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := removeStalePID(data); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the stale lock file is still there: %v", err)
	}
}

func TestPostgresThatCannotStart(t *testing.T) {
	_, err := StartPostgres(testContext(t), PostgresConfig{Dir: closedDir(t), Settings: map[string]string{"no_such": "1"}})
	if err == nil || !strings.Contains(err.Error(), "no_such") {
		t.Errorf("error %v does not hold postgres's own words", err)
	}
}

// TestServersDieWithTheirParent kills a process that has started both servers, and watches them go.
func TestServersDieWithTheirParent(t *testing.T) {
	if os.Getenv("PROCS_TEST_PARENT") != "" {
		beParent(t)
		return
	}
	parent := exec.Command(os.Args[0], "-test.run=^TestServersDieWithTheirParent$", "-test.v")
	dir := closedDir(t)
	parent.Env = append(os.Environ(), "PROCS_TEST_PARENT="+dir)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = parent.Process.Kill(); _ = parent.Wait() }()

	pids := readPIDs(t, filepath.Join(dir, "pids"))
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := waitGone(pids); err != nil {
		t.Error(err)
	}
}

// beParent starts both servers, writes their numbers down and waits to be killed.
func beParent(t *testing.T) {
	dir := os.Getenv("PROCS_TEST_PARENT")
	p := startTestPostgres(t, PostgresConfig{Dir: dir})
	r := startTestRedis(t, RedisConfig{Dir: dir})
	pids := itoa(r.PID()) + " " + itoa(p.PID())
	for _, child := range childrenOf(p.PID()) {
		pids += " " + itoa(child)
	}
	draft := filepath.Join(dir, "draft")
	if err := os.WriteFile(draft, []byte(pids), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(draft, filepath.Join(dir, "pids")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Exited():
	case <-time.After(time.Minute): // our own parent died before it could kill us
	}
}
