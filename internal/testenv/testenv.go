// Package testenv gives tests the real redis-server and the real Postgres.
//
// A package that uses DSN has a TestMain that calls Run, which stops the Postgres that all its tests share:
//
//	func TestMain(m *testing.M) { os.Exit(testenv.Run(m)) }
//
// Where the binaries are missing a test is skipped, but with CI in the environment it fails.
package testenv

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"credproxy/internal/procs"
)

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 20 * time.Second
	pollInterval = 2 * time.Millisecond
)

// Redis starts a redis-server of the test's own, with more options as pairs ("--maxmemory", "64mb"), and stops it when the
// test ends.
func Redis(t testing.TB, args ...string) *procs.Redis {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	r, err := procs.StartRedis(ctx, procs.RedisConfig{Dir: t.TempDir(), Args: args})
	require(t, err)
	t.Cleanup(func() {
		if err := r.Kill(); err != nil {
			t.Errorf("end redis: %v", err)
		}
	})
	return r
}

// Postgres starts a Postgres of the test's own, for tests that stop, kill or freeze it, and ends it when the test ends. It
// takes a second or two; DSN is cheaper. To restart it after Kill, see RestartPostgres.
func Postgres(t testing.TB) *procs.Postgres {
	t.Helper()
	// Not t.TempDir: its parent is closed to the user that Postgres runs as when tests run as root.
	dir, err := os.MkdirTemp("", "credproxy-test-")
	if err != nil {
		t.Fatalf("make postgres folder: %v", err)
	}
	// Registered first, so run last: also a restarted server is gone by then.
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove postgres folder: %v", err)
		}
	})
	return startPostgres(t, procs.PostgresConfig{Dir: dir})
}

// RestartPostgres starts a stopped or killed server again, on the same port and data, and ends it when the test ends.
func RestartPostgres(t testing.TB, old *procs.Postgres) *procs.Postgres {
	t.Helper()
	return startPostgres(t, procs.PostgresConfig{Dir: old.Dir(), Port: old.Port()})
}

func startPostgres(t testing.TB, cfg procs.PostgresConfig) *procs.Postgres {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := os.Chmod(cfg.Dir, 0o755); err != nil {
		t.Fatalf("open postgres folder: %v", err)
	}
	p, err := procs.StartPostgres(ctx, cfg)
	require(t, err)
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Errorf("end postgres: %v", err)
		}
	})
	return p
}

// Eventually fails the test when cond has not become true within timeout; what says what was waited for.
func Eventually(t testing.TB, timeout time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so after %s", what, timeout)
		}
		<-tick.C
	}
}

// require skips the test when a server is not installed (fails it in CI) and fails it on any other error.
func require(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, procs.ErrMissing) && os.Getenv("CI") == "":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}
