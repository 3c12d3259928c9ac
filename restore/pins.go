package restore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/session"
)

// Pins are kept apart from the sessions: a session can be pinned before anything of it is stored, and stays pinned when all of
// it is deleted.
const (
	pinsSQL = `
SELECT p.db, p.keyspace, coalesce(p.full_id, p.id), coalesce(s.last_access, 0), coalesce(s.hits, 0), coalesce(s.bytes, 0)
FROM credproxy.pins p LEFT JOIN credproxy.sessions s ON s.db = p.db AND s.keyspace = p.keyspace AND s.id = p.id AND s.known`
	pinSQL   = `INSERT INTO credproxy.pins (db, keyspace, id, full_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`
	unpinSQL = `DELETE FROM credproxy.pins WHERE db = $1 AND keyspace = $2 AND id = $3`
)

// Pins lists the sessions that the memory policy leaves alone, with the heat of those that are stored.
func (s *Store) Pins(ctx context.Context) ([]session.Summary, error) {
	var out []session.Summary
	err := s.list(ctx, pinsSQL, nil, func() { out = nil }, func(rows pgx.Rows) error {
		v := rows.RawValues()
		out = append(out, session.Summary{
			Session: session.ID{DB: int(int64At(v[0])), Keyspace: string(v[1]), Name: string(v[2])},
			Heat:    session.Heat{LastAccess: int64At(v[3]), Hits: uint64(int64At(v[4])), Bytes: int64At(v[5])},
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list pinned sessions: %w", err)
	}
	return out, nil
}

// Pin notes that a session is pinned, or that it is not any more.
func (s *Store) Pin(ctx context.Context, id session.ID, on bool) error {
	sql, args := unpinSQL, []any{int32(id.DB), id.Keyspace, indexed(id.Name)}
	if on {
		sql, args = pinSQL, append(args, whole(id.Name))
	}
	err := s.retry(ctx, func() error {
		s.queries.Add(1)
		_, err := s.pool.Exec(ctx, sql, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("store the pin of session %q: %w", id, err)
	}
	return nil
}
