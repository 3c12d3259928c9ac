package restore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// transaction sends batches, one round trip each, on one connection.
type transaction struct {
	store *Store
	conn  *pgx.Conn
	fence int64
}

// beginSQL names the isolation level: rule 2 of the package fails under a stricter default of the database.
const beginSQL = "begin isolation level read committed"

// begin returns a batch that starts the transaction.
func begin() *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue(beginSQL)
	return b
}

// queueCommit ends the transaction with the batch. Any failed statement before it makes Postgres skip it.
func queueCommit(b *pgx.Batch) {
	b.Queue("commit").Query(func(rows pgx.Rows) error {
		rows.Close()
		if err := rows.Err(); err != nil {
			return err
		}
		// COMMIT of a failed transaction is answered with success and this tag.
		if tag := rows.CommandTag().String(); tag != "COMMIT" {
			return errors.New("commit: postgres answered " + tag)
		}
		return nil
	})
}

// send sends a batch and runs the callbacks of its queries.
func (t *transaction) send(ctx context.Context, b *pgx.Batch) error {
	t.store.queries.Add(1)
	if err := t.conn.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("run transaction: %w", err)
	}
	return nil
}
