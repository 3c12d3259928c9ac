package restore

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/session"
)

const (
	// lockSQL locks session rows in the order of its arrays.
	lockSQL = `
SELECT FROM unnest($1::int[], $2::text[], $3::bytea[]) WITH ORDINALITY AS u (db, keyspace, id, n)
JOIN credproxy.sessions s ON s.db = u.db AND s.keyspace = u.keyspace AND s.id = u.id
ORDER BY u.n FOR NO KEY UPDATE OF s`

	deleteKeysSQL = `
DELETE FROM credproxy.keys k
USING unnest($1::int[], $2::text[], $3::bytea[], $4::bytea[]) AS u (db, keyspace, id, key), credproxy.sessions s
WHERE s.db = u.db AND s.keyspace = u.keyspace AND s.id = u.id AND k.sid = s.sid AND k.key = u.key`

	deleteFieldsSQL = `
DELETE FROM credproxy.fields f
USING unnest($1::int[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[]) AS u (db, keyspace, id, key, field),
	credproxy.sessions s, credproxy.keys k
WHERE s.db = u.db AND s.keyspace = u.keyspace AND s.id = u.id AND k.sid = s.sid AND k.key = u.key
	AND f.kid = k.kid AND f.field = u.field`

	// A hash whose last field went is no key any more.
	deleteEmptySQL = `
DELETE FROM credproxy.keys k
USING unnest($1::int[], $2::text[], $3::bytea[], $4::bytea[]) AS u (db, keyspace, id, key), credproxy.sessions s
WHERE s.db = u.db AND s.keyspace = u.keyspace AND s.id = u.id AND k.sid = s.sid AND k.key = u.key
	AND k.type = 2 AND k.form = 1 AND NOT EXISTS (SELECT FROM credproxy.fields f WHERE f.kid = k.kid)`
)

// Delete removes keys and fields, in one transaction and one round trip; it is committed when the error is nil. What is not
// stored is passed over. The session's row stays. A field of a hash that is stored as a DUMP payload is not removed: the
// payload is opaque, and the caller saves the key anew once it has changed.
func (s *Store) Delete(ctx context.Context, removals []session.Removal) error {
	if len(removals) == 0 {
		return nil
	}
	err := s.transact(ctx, func(t *transaction) error {
		b := begin()
		queueLock(b, removals)
		queueDeletes(b, removals)
		queueCommit(b)
		return t.send(ctx, b)
	})
	if err != nil {
		first := removals[0]
		return fmt.Errorf("delete %d keys from %q of session %q on: %w", len(removals), first.Key, first.Session, err)
	}
	return nil
}

func queueLock(b *pgx.Batch, removals []session.Removal) {
	ids := make([]session.ID, 0, len(removals))
	for _, r := range removals {
		ids = append(ids, r.Session)
	}
	slices.SortFunc(ids, compareID)
	var columns idColumns
	for _, id := range slices.Compact(ids) {
		columns.add(id)
	}
	b.Queue(lockSQL, columns.db, columns.keyspace, columns.id)
}

func queueDeletes(b *pgx.Batch, removals []session.Removal) {
	var keyIDs, hashIDs, fieldIDs idColumns
	var keys, hashes, fieldKeys, fields [][]byte
	for _, r := range removals {
		key := indexed(r.Key)
		if r.Fields == nil {
			keyIDs.add(r.Session)
			keys = append(keys, key)
			continue
		}
		hashIDs.add(r.Session)
		hashes = append(hashes, key)
		for _, field := range r.Fields {
			fieldIDs.add(r.Session)
			fieldKeys, fields = append(fieldKeys, key), append(fields, []byte(field))
		}
	}
	if len(keys) > 0 {
		b.Queue(deleteKeysSQL, keyIDs.db, keyIDs.keyspace, keyIDs.id, keys)
	}
	if len(fields) > 0 {
		b.Queue(deleteFieldsSQL, fieldIDs.db, fieldIDs.keyspace, fieldIDs.id, fieldKeys, fields)
		b.Queue(deleteEmptySQL, hashIDs.db, hashIDs.keyspace, hashIDs.id, hashes)
	}
}

const lockDBsSQL = `
SELECT FROM credproxy.sessions WHERE db = ANY ($1::int[]) ORDER BY db, keyspace, id FOR UPDATE`

// DeleteDB removes all keys of some databases, of all when dbs is nil, in one transaction. The sessions' rows stay: their
// sessions are known, and known to be empty.
func (s *Store) DeleteDB(ctx context.Context, dbs []int) error {
	err := s.transact(ctx, func(t *transaction) error {
		b := begin()
		if dbs == nil {
			b.Queue("TRUNCATE credproxy.keys, credproxy.fields")
		} else {
			numbers := int32s(dbs)
			b.Queue(lockDBsSQL, numbers)
			b.Queue(`DELETE FROM credproxy.keys k USING credproxy.sessions s
				WHERE s.db = ANY ($1::int[]) AND k.sid = s.sid`, numbers)
		}
		queueCommit(b)
		return t.send(ctx, b)
	})
	if err != nil {
		return fmt.Errorf("delete databases %v: %w", dbs, err)
	}
	return nil
}

// SwapDB exchanges the sessions of two databases, in one transaction.
func (s *Store) SwapDB(ctx context.Context, a, b int) error {
	if a == b {
		return nil
	}
	const aside = -1 // no database has this number; (db, keyspace, id) must stay unique at every step
	err := s.transact(ctx, func(t *transaction) error {
		batch := begin()
		batch.Queue(lockDBsSQL, int32s([]int{a, b}))
		for _, step := range [][2]int{{a, aside}, {b, a}, {aside, b}} {
			batch.Queue("UPDATE credproxy.sessions SET db = $2::int WHERE db = $1::int", int32(step[0]), int32(step[1]))
		}
		queueCommit(batch)
		return t.send(ctx, batch)
	})
	if err != nil {
		return fmt.Errorf("swap databases %d and %d: %w", a, b, err)
	}
	return nil
}

func int32s(numbers []int) []int32 {
	out := make([]int32, len(numbers))
	for i, n := range numbers {
		out[i] = int32(n)
	}
	return out
}
