package restore

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/session"
)

const (
	deleteKeysSQL = `
DELETE FROM credproxy.keys WHERE kid = ANY (ARRAY (
	SELECT k.kid FROM unnest($1::int[], $2::text[], $3::bytea[], $4::bytea[]) AS u (db, keyspace, id, key)
	` + joinSession + ` ` + joinKey + `))`

	deleteFieldsSQL = `
DELETE FROM credproxy.fields WHERE ctid = ANY (ARRAY (
	SELECT f.ctid FROM unnest($1::int[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[]) AS u (db, keyspace, id, key, field)
	` + joinSession + ` ` + joinKey + `
	JOIN LATERAL (SELECT x.ctid FROM credproxy.fields x WHERE x.kid = k.kid AND x.field = u.field LIMIT 1) f ON true
	WHERE k.type = 2 AND k.form = 1))`

	// A hash whose last field went is no key any more.
	deleteEmptySQL = `
DELETE FROM credproxy.keys WHERE kid = ANY (ARRAY (
	SELECT k.kid FROM unnest($1::int[], $2::text[], $3::bytea[], $4::bytea[]) AS u (db, keyspace, id, key)
	` + joinSession + ` ` + joinKey + `
	WHERE k.type = 2 AND k.form = 1 AND NOT EXISTS (SELECT FROM credproxy.fields f WHERE f.kid = k.kid)))`
)

// Delete removes keys and fields, in one transaction and one round trip; it is committed when the error is nil. What is not
// stored is passed over. The session's row stays. It fails with ErrSuperseded when a newer write was there first. A field of a hash that is stored as a DUMP payload is not removed: the
// payload is opaque, and the caller saves the key anew once it has changed.
func (s *Store) Delete(ctx context.Context, removals []session.Removal) error {
	if len(removals) == 0 {
		return nil
	}
	ids := sessionsOfRemovals(removals)
	err := s.fenced(ctx, ids, func(t *transaction) error {
		b := begin()
		t.queueFence(b, ids)
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

// sessionsOfRemovals returns the sessions once each, in the order of locking.
func sessionsOfRemovals(removals []session.Removal) []session.ID {
	ids := make([]session.ID, 0, len(removals))
	for _, r := range removals {
		ids = append(ids, r.Session)
	}
	slices.SortFunc(ids, compareID)
	return slices.Compact(ids)
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
