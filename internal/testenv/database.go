package testenv

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/procs"
)

// shared is the Postgres that all tests of this process use, started when the first one asks.
var shared struct {
	once     sync.Once
	dir      string
	server   *procs.Postgres
	err      error
	database atomic.Int64
}

// Run runs the tests and then ends the shared Postgres. It returns the exit code.
func Run(m *testing.M) int {
	code := m.Run()
	if err := endShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// DSN returns the URL of a new, empty database on the shared Postgres. The database is dropped when the test ends.
func DSN(t testing.TB) string {
	t.Helper()
	shared.once.Do(startShared)
	require(t, shared.err)
	name := fmt.Sprintf("t_%d", shared.database.Add(1))
	admin(t, "CREATE DATABASE "+name)
	t.Cleanup(func() { admin(t, "DROP DATABASE "+name+" WITH (FORCE)") })

	dsn, err := url.Parse(shared.server.DSN())
	if err != nil {
		t.Fatalf("read dsn: %v", err)
	}
	dsn.Path = "/" + name
	return dsn.String()
}

func startShared() {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if shared.dir, shared.err = os.MkdirTemp("", "credproxy-test-"); shared.err != nil {
		return
	}
	if shared.err = os.Chmod(shared.dir, 0o755); shared.err != nil {
		return
	}
	shared.server, shared.err = procs.StartPostgres(ctx, procs.PostgresConfig{Dir: shared.dir})
}

func endShared() error {
	if shared.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := shared.server.Stop(ctx); err != nil {
			return err
		}
	}
	if shared.dir == "" {
		return nil
	}
	return os.RemoveAll(shared.dir)
}

// admin runs one statement on the shared server's own database.
func admin(t testing.TB, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, shared.server.DSN())
	if err != nil {
		t.Fatalf("connect to the shared postgres: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("run %q: %v", sql, err)
	}
}
