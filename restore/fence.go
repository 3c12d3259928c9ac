package restore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"credproxy/internal/session"
)

// Fences
//
// A call whose caller gave up (its context ended, the connection broke) may still be carried out by Postgres, much later:
// it lay in a socket, or its backend was frozen. Meanwhile the caller has saved something newer, which it must not undo.
//
//  1. Every call that writes takes a number when it begins, its fence, and keeps it over its repetitions. Fences only
//     grow, also from one process to the next: each Open and each Lease starts above all fences before it, whatever the
//     clocks of the machines say.
//  2. A transaction first writes its fence into the rows of all its sessions, which locks them. A row that has a higher
//     one belongs to a newer call: the statement then yields null for a column that may not be null, which undoes the
//     transaction on the spot, within the round trip that was needed anyway.
//  3. A removal on a session that has no row leaves one that carries only its fence (known is false): a save that comes
//     late would otherwise find nothing that stops it. To everybody else such a session is as unknown as before. Purge
//     takes these rows away after purgeAfter.
//  4. Calls on whole databases write the barrier, below which no call is carried out any more, and are turned away
//     themselves when a session has a higher fence. They lock the table of sessions, as the rows that they would have to
//     lock may not be there yet.

// ErrSuperseded is wrapped by the error of a write that came after a newer one on the same session. Nothing of it was
// carried out. It happens to calls whose caller has given up, and to a program that has lost its lease to a newer one.
var ErrSuperseded = errors.New("superseded by a newer write")

// fenceStep lies between the first fences of two programs that start one after the other: more than either will ever use.
const fenceStep = int64(1) << 40

const (
	// fenceSQL is for removals; a Save does the same while it writes heats.
	fenceSQL = `
INSERT INTO credproxy.sessions AS s (db, keyspace, id, full_id, last_access, hits, bytes, known, fence)
SELECT u.*, $5::bigint, 0, 0, false,
	CASE WHEN $6::bigint > (SELECT value FROM credproxy.meta WHERE name = 'barrier') THEN $6::bigint END
FROM unnest($1::int[], $2::text[], $3::bytea[], $4::bytea[]) AS u
ON CONFLICT (db, keyspace, id) DO UPDATE SET
	last_access = CASE WHEN s.known THEN s.last_access ELSE excluded.last_access END,
	fence       = CASE WHEN s.fence <= excluded.fence THEN excluded.fence END`

	// SHARE ROW EXCLUSIVE waits for all writers, and none begins before the transaction ends; readers go on.
	lockAllSQL = `LOCK TABLE credproxy.sessions IN SHARE ROW EXCLUSIVE MODE`

	barrierSQL = `
UPDATE credproxy.meta SET value = CASE WHEN value < $1::bigint AND NOT EXISTS (
	SELECT FROM credproxy.sessions WHERE fence > $1 AND ($2::int[] IS NULL OR db = ANY ($2))
) THEN $1::bigint END WHERE name = 'barrier'`

	epochSQL = `
UPDATE credproxy.meta SET value = greatest(value + $1::bigint, $2::bigint) WHERE name = 'fence' RETURNING value`

	highestSQL = `
SELECT greatest((SELECT max(s.fence) FROM unnest($1::int[], $2::text[], $3::bytea[]) AS u (db, keyspace, id)
	` + joinSession + `), (SELECT value FROM credproxy.meta WHERE name = 'barrier'))`

	newestSQL = `
SELECT value, coalesce((SELECT max(fence) FROM credproxy.sessions), 0) FROM credproxy.meta WHERE name = 'barrier'`
)

// newEpoch makes later fences higher than those of every program that has used the database until now.
func (s *Store) newEpoch(ctx context.Context) error {
	return s.retry(ctx, func() error {
		s.queries.Add(1)
		var fence int64
		at := max(time.Now().UnixNano(), s.order.current())
		if err := s.pool.QueryRow(ctx, epochSQL, fenceStep, at).Scan(&fence); err != nil {
			return fmt.Errorf("take a new fence: %w", err)
		}
		s.order.raise(fence)
		return nil
	})
}

// fenced runs a transaction on the sessions, nil for all, in its turn and with its fence.
func (s *Store) fenced(ctx context.Context, ids []session.ID, steps func(*transaction) error) error {
	turn := s.order.enter(ids)
	defer s.order.leave(turn)
	if err := turn.wait(ctx); err != nil {
		return fmt.Errorf("wait for an earlier write: %w", err)
	}
	err := s.transact(ctx, func(t *transaction) error {
		t.fence = turn.fence
		return superseded(steps(t))
	})
	if errors.Is(err, ErrSuperseded) && ids != nil {
		s.catchUp(ctx, ids)
	}
	return err
}

// superseded recognises the answer of Postgres to a fence that is too low.
func superseded(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != codeNull || pg.SchemaName != "credproxy" {
		return err
	}
	if pg.TableName == "sessions" && pg.ColumnName == "fence" || pg.TableName == "meta" && pg.ColumnName == "value" {
		return ErrSuperseded // without Postgres's words: they quote the row
	}
	return err
}

// catchUp makes later fences higher than those that are stored of the sessions, for the case that the order of programs was
// not the order of their fences. The call that failed keeps its own: it is late for good. What it cannot do, the next
// failure will.
func (s *Store) catchUp(ctx context.Context, ids []session.ID) {
	var columns idColumns
	for _, id := range ids {
		columns.add(id)
	}
	s.queries.Add(1)
	var highest *int64
	row := s.pool.QueryRow(ctx, highestSQL, columns.db, columns.keyspace, columns.id)
	if err := row.Scan(&highest); err != nil {
		s.log.Debug("cannot read the newest fence", "error", err)
		return
	}
	if highest != nil {
		s.order.raise(*highest)
	}
}

// queueFence locks the sessions for a removal, in the order of ids, and turns it away when a newer call was there.
func (t *transaction) queueFence(b *pgx.Batch, ids []session.ID) {
	var columns idColumns
	var full [][]byte
	for _, id := range ids {
		columns.add(id)
		full = append(full, whole(id.Name))
	}
	b.Queue(fenceSQL, columns.db, columns.keyspace, columns.id, full, time.Now().UnixMilli(), t.fence)
}

// queueBarrier locks all sessions, and turns the call away when a newer one was there. A nil dbs stands for all.
func (t *transaction) queueBarrier(b *pgx.Batch, dbs []int32) {
	b.Queue(lockAllSQL)
	b.Queue(barrierSQL, t.fence, dbs)
}

// wholeDatabases runs a transaction on all sessions. An attempt whose answer was lost may have succeeded: the barrier
// tells, and a second attempt is not made on top of it. then, unless it is nil, goes on in the transaction.
func (s *Store) wholeDatabases(ctx context.Context, dbs []int32, queue func(*pgx.Batch), then func(*transaction) error) error {
	var fence int64
	err := s.fenced(ctx, nil, func(t *transaction) error {
		fence = t.fence
		b := begin()
		t.queueBarrier(b, dbs)
		queue(b)
		if then != nil {
			if err := t.send(ctx, b); err != nil {
				return err
			}
			if err := then(t); err != nil {
				return err
			}
			b = &pgx.Batch{}
		}
		queueCommit(b)
		return t.send(ctx, b)
	})
	if !errors.Is(err, ErrSuperseded) {
		return err
	}
	s.queries.Add(1)
	var barrier, highest int64
	row := s.pool.QueryRow(ctx, newestSQL)
	if failed := row.Scan(&barrier, &highest); failed == nil && barrier == fence {
		return nil
	}
	s.order.raise(max(barrier, highest))
	return err
}
