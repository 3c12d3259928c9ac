package restore

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/session"
)

const (
	keysSQL = `
SELECT k.kid, s.keyspace, coalesce(s.full_id, s.id), coalesce(k.full_key, k.key), k.type
FROM credproxy.keys k JOIN credproxy.sessions s ON s.sid = k.sid
WHERE k.kid > $2 AND s.db = $1 AND (k.expire_at IS NULL OR k.expire_at > $4)
ORDER BY k.kid LIMIT $3`

	extentSQL = `
SELECT count(*), coalesce(min(k.kid), 0), coalesce(max(k.kid), 0)
FROM credproxy.keys k JOIN credproxy.sessions s ON s.sid = k.sid
WHERE s.db = $1 AND (k.expire_at IS NULL OR k.expire_at > $2)`

	keysOfSQL = `
SELECT coalesce(k.full_key, k.key), k.form
FROM credproxy.sessions s JOIN credproxy.keys k ON k.sid = s.sid
WHERE s.db = $1 AND s.keyspace = $2 AND s.id = $3 AND (k.expire_at IS NULL OR k.expire_at > $4)
ORDER BY k.kid`

	sessionsSQL = `
SELECT s.sid, s.db, s.keyspace, coalesce(s.full_id, s.id), s.last_access, s.hits, s.bytes,
	(SELECT count(*) FROM credproxy.keys k WHERE k.sid = s.sid AND (k.expire_at IS NULL OR k.expire_at > $3))
FROM credproxy.sessions s WHERE s.known AND s.sid > $1 ORDER BY s.sid LIMIT $2`
)

// Keys lists up to limit stored keys of a database that have not expired at now (unix milliseconds), in the order of Pos,
// from the first one after Pos after; 0 starts. A key that is stored all the while a caller pages through is listed
// exactly once. Fewer than limit means the end.
func (s *Store) Keys(ctx context.Context, db int, after int64, limit int, now int64) ([]session.Entry, error) {
	var out []session.Entry
	err := s.list(ctx, keysSQL, []any{int32(db), after, int64(limit), now}, func() { out = nil }, func(rows pgx.Rows) error {
		v := rows.RawValues()
		out = append(out, session.Entry{
			Pos:     int64At(v[0]),
			Session: session.ID{DB: db, Keyspace: string(v[1]), Name: string(v[2])},
			Key:     string(v[3]),
			Type:    session.Type(int64At(v[4])),
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list keys of database %d: %w", db, err)
	}
	return out, nil
}

// Extent counts what Keys lists of a database in all. It reads an index entry for every key.
func (s *Store) Extent(ctx context.Context, db int, now int64) (x session.Extent, err error) {
	err = s.list(ctx, extentSQL, []any{int32(db), now}, func() { x = session.Extent{} }, func(rows pgx.Rows) error {
		v := rows.RawValues()
		x = session.Extent{Keys: int64At(v[0]), First: int64At(v[1]), Last: int64At(v[2])}
		return nil
	})
	if err != nil {
		return session.Extent{}, fmt.Errorf("count keys of database %d: %w", db, err)
	}
	return x, nil
}

// KeysOf lists the stored keys of a session that have not expired at now (unix milliseconds).
func (s *Store) KeysOf(ctx context.Context, id session.ID, now int64) ([]string, error) {
	var out []string
	args := []any{int32(id.DB), id.Keyspace, indexed(id.Name), now}
	err := s.list(ctx, keysOfSQL, args, func() { out = nil }, func(rows pgx.Rows) error {
		v := rows.RawValues()
		if int64At(v[1]) == formStub && s.source == nil {
			return errNoSource // whether it is still there, nobody can say
		}
		out = append(out, string(v[0]))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list keys of session %q: %w", id, err)
	}
	return out, nil
}

// Sessions lists up to limit stored sessions of all databases in the order of Pos, from the first one after Pos after; 0
// starts. Fewer than limit means the end. Keys counts those that have not expired by this machine's clock; counting
// reads an index entry per key, so a page of 1,000 large sessions takes seconds.
func (s *Store) Sessions(ctx context.Context, after int64, limit int) ([]session.Summary, error) {
	var out []session.Summary
	args := []any{after, int64(limit), time.Now().UnixMilli()}
	err := s.list(ctx, sessionsSQL, args, func() { out = nil }, func(rows pgx.Rows) error {
		v := rows.RawValues()
		out = append(out, session.Summary{
			Pos:     int64At(v[0]),
			Session: session.ID{DB: int(int64At(v[1])), Keyspace: string(v[2]), Name: string(v[3])},
			Heat:    session.Heat{LastAccess: int64At(v[4]), Hits: uint64(int64At(v[5])), Bytes: int64At(v[6])},
			Keys:    int64At(v[7]),
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return out, nil
}

// list reads rows, and starts over when it must repeat the query.
func (s *Store) list(ctx context.Context, sql string, args []any, reset func(), each func(pgx.Rows) error) error {
	return s.retry(ctx, func() error {
		reset()
		return s.read(ctx, sql, args, each)
	})
}
