package testenv

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
)

type heldLock struct {
	PID int32
	Key int64
}

// StealLocks ends the connections that hold session locks (advisory locks) in a database, as a failing network would, and holds
// the locks itself until release is called.
func StealLocks(t testing.TB, dsn string) (release func()) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	require(t, err)
	t.Cleanup(func() { conn.Close(ctx) })
	rows, err := conn.Query(ctx, `SELECT pid, (classid::bigint << 32) | objid::bigint FROM pg_locks
		WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND granted`)
	require(t, err)
	locks, err := pgx.CollectRows(rows, pgx.RowToStructByPos[heldLock])
	require(t, err)
	if len(locks) == 0 {
		t.Fatal("nobody holds a lock")
	}
	for _, l := range locks {
		_, err := conn.Exec(ctx, "SELECT pg_terminate_backend($1)", l.PID)
		require(t, err)
		_, err = conn.Exec(ctx, "SELECT pg_advisory_lock($1)", l.Key)
		require(t, err)
	}
	return func() { conn.Close(ctx) }
}
