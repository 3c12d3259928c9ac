package restore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// DeleteDB removes all keys of some databases, of all when dbs is nil, in one transaction. The sessions' rows stay: their
// sessions are known, and known to be empty, also those that were Elsewhere.
func (s *Store) DeleteDB(ctx context.Context, dbs []int) error {
	numbers := int32s(dbs)
	err := s.wholeDatabases(ctx, numbers, func(b *pgx.Batch) {
		b.Queue(`UPDATE credproxy.sessions SET elsewhere = false WHERE elsewhere AND ($1::int[] IS NULL OR db = ANY ($1))`, numbers)
		if dbs == nil {
			b.Queue("TRUNCATE credproxy.keys, credproxy.fields")
			return
		}
		b.Queue(`DELETE FROM credproxy.keys k USING credproxy.sessions s
			WHERE s.db = ANY ($1::int[]) AND k.sid = s.sid`, numbers)
	}, nil)
	if err != nil {
		return fmt.Errorf("delete databases %v: %w", dbs, err)
	}
	return nil
}

// SwapDB exchanges the sessions of two databases, in one transaction. After an error it may nevertheless have happened,
// and unlike the other writes a second one undoes it. Payloads are signed anew, as a signature names the database.
func (s *Store) SwapDB(ctx context.Context, a, b int) error {
	if a == b {
		return nil
	}
	var then func(*transaction) error
	if s.signer != nil {
		then = func(t *transaction) error { return t.signMoved(ctx, a, b) }
	}
	const aside = -1 // no database has this number; (db, keyspace, id) must stay unique at every step
	err := s.wholeDatabases(ctx, int32s([]int{a, b}), func(batch *pgx.Batch) {
		for _, step := range [][2]int{{a, aside}, {b, a}, {aside, b}} {
			batch.Queue("UPDATE credproxy.sessions SET db = $2::int WHERE db = $1::int", int32(step[0]), int32(step[1]))
		}
	}, then)
	if err != nil {
		return fmt.Errorf("swap databases %d and %d: %w", a, b, err)
	}
	return nil
}

// int32s keeps nil: it stands for all databases.
func int32s(numbers []int) []int32 {
	if numbers == nil {
		return nil
	}
	out := make([]int32, len(numbers))
	for i, n := range numbers {
		out[i] = int32(n)
	}
	return out
}
