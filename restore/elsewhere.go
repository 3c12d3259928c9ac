package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/session"
)

// A session that the application's own tables hold byte for byte need not be stored here as well (restore.sync = "off"). Of it
// stay the session's row, which says so (elsewhere), and a row for each key with the name and the type (formStub), so that
// listings show them. Either all keys of a session are such stubs or none is: half of a session from here and half from
// there could be of two different moments. SaveElsewhere and Save are the only ways from one to the other.

// errNoSource is said instead of "not there": the session exists, but nobody can tell what it holds.
var errNoSource = errors.New("the application's own tables hold it, and there is no restore.source to ask: " +
	"give the source with which it was used last")

const (
	// The rows of keys that stay are kept, as listings page along their numbers: what is stored is named -1 first, and what is
	// still so in the end goes. Nobody sees form -1, it does not outlive the transaction.
	stubFieldsSQL = `
DELETE FROM credproxy.fields WHERE kid = ANY (ARRAY (
	SELECT k.kid FROM unnest($1::int[], $2::text[], $3::bytea[]) AS u (db, keyspace, id) ` + joinSession + `
	JOIN credproxy.keys k ON k.sid = s.sid WHERE k.type = 2 AND k.form = 1 OR k.form >= 5))`

	stubAsideSQL = `
UPDATE credproxy.keys SET form = -1, value = NULL, expire_at = NULL WHERE sid = ANY (ARRAY (
	SELECT s.sid FROM unnest($1::int[], $2::text[], $3::bytea[]) AS u (db, keyspace, id) ` + joinSession + `))`

	stubKeysSQL = `
INSERT INTO credproxy.keys (sid, key, full_key, type, form)
SELECT s.sid, u.key, u.full_key, u.type, 3
FROM unnest($1::int[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[], $6::smallint[]) AS u (db, keyspace, id, key, full_key, type)
` + joinSession + `
ON CONFLICT (sid, key) DO UPDATE SET type = excluded.type, form = excluded.form`

	stubRestSQL = `
DELETE FROM credproxy.keys WHERE form = -1 AND sid = ANY (ARRAY (
	SELECT s.sid FROM unnest($1::int[], $2::text[], $3::bytea[]) AS u (db, keyspace, id) ` + joinSession + `))`

	stubSessionSQL = `
UPDATE credproxy.sessions SET elsewhere = true WHERE NOT elsewhere AND sid = ANY (ARRAY (
	SELECT s.sid FROM unnest($1::int[], $2::text[], $3::bytea[]) AS u (db, keyspace, id) ` + joinSession + `))`

	backKeysSQL    = `DELETE FROM credproxy.keys WHERE sid = ANY ($1::bigint[]) AND form = 3`
	backSessionSQL = `UPDATE credproxy.sessions SET elsewhere = false WHERE sid = ANY ($1::bigint[])`

	keptSQL = `
SELECT s.sid, s.db, s.keyspace, coalesce(s.full_id, s.id), s.last_access, s.hits, s.bytes
FROM credproxy.sessions s WHERE s.known AND NOT s.elsewhere AND s.sid > $1 ORDER BY s.sid LIMIT $2`
)

// SaveElsewhere notes that the application's own tables hold the sessions, in one transaction and one round trip: whatever was
// stored of them is replaced by the names and types of the changes' keys, their heat is saved as Save does it. No session may
// be named twice. It fails with ErrSuperseded when a newer write was there first.
func (s *Store) SaveElsewhere(ctx context.Context, changes []session.Change) error {
	if len(changes) == 0 {
		return nil
	}
	heats := heatsOf(changes)
	err := s.fenced(ctx, sessionsOf(heats), func(t *transaction) error {
		b := begin()
		t.queueHeats(b, heats)
		queueStubs(b, changes)
		queueCommit(b)
		return t.send(ctx, b)
	})
	if err != nil {
		return fmt.Errorf("note that %d sessions from %q on are elsewhere: %w", len(heats), heats[0].Session, err)
	}
	return nil
}

func queueStubs(b *pgx.Batch, changes []session.Change) {
	var ids, of idColumns
	var keys, full [][]byte
	var types []int16
	for i := range changes {
		c := &changes[i]
		ids.add(c.Session)
		for j := range c.Keys {
			of.add(c.Session)
			keys, full = append(keys, indexed(c.Keys[j].Name)), append(full, whole(c.Keys[j].Name))
			types = append(types, int16(c.Keys[j].Type))
		}
	}
	b.Queue(stubFieldsSQL, ids.db, ids.keyspace, ids.id)
	b.Queue(stubAsideSQL, ids.db, ids.keyspace, ids.id)
	if len(keys) > 0 {
		b.Queue(stubKeysSQL, of.db, of.keyspace, of.id, keys, full, types)
	}
	b.Queue(stubRestSQL, ids.db, ids.keyspace, ids.id)
	b.Queue(stubSessionSQL, ids.db, ids.keyspace, ids.id)
}

// queueBack makes sessions that were elsewhere stored ones, after their keys were written.
func queueBack(b *pgx.Batch, sids []int64) {
	if len(sids) == 0 {
		return
	}
	slices.Sort(sids)
	sids = slices.Compact(sids)
	b.Queue(backKeysSQL, sids)
	b.Queue(backSessionSQL, sids)
}

// Kept lists up to limit sessions that are stored here as a whole, not Elsewhere, in the order of Pos, from the first one after
// Pos after; 0 starts. Fewer than limit means the end. Their keys are not counted.
func (s *Store) Kept(ctx context.Context, after int64, limit int) ([]session.Summary, error) {
	var out []session.Summary
	err := s.list(ctx, keptSQL, []any{after, int64(limit)}, func() { out = nil }, func(rows pgx.Rows) error {
		v := rows.RawValues()
		out = append(out, session.Summary{
			Pos:     int64At(v[0]),
			Session: session.ID{DB: int(int64At(v[1])), Keyspace: string(v[2]), Name: string(v[3])},
			Heat:    session.Heat{LastAccess: int64At(v[4]), Hits: uint64(int64At(v[5])), Bytes: int64At(v[6])},
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list stored sessions: %w", err)
	}
	return out, nil
}
