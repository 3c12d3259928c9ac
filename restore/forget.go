package restore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/session"
)

const (
	// purgeAfter is how long an expired key stays, so that a clock that is ahead does not cost a key that is still valid
	// elsewhere, and how long the fence of a removal stays.
	purgeAfter = time.Hour
	// purgeScan is how many rows one step of Purge looks at.
	purgeScan = 5_000
)

const (
	forgetSQL = `
UPDATE credproxy.sessions SET known = false, elsewhere = false, last_access = $4, hits = 0, bytes = 0 WHERE sid = ANY (ARRAY (
	SELECT s.sid FROM unnest($1::int[], $2::text[], $3::bytea[]) AS u (db, keyspace, id) ` + joinSession + `))`

	forgetKeysSQL = `
DELETE FROM credproxy.keys WHERE sid = ANY (ARRAY (
	SELECT s.sid FROM unnest($1::int[], $2::text[], $3::bytea[]) AS u (db, keyspace, id) ` + joinSession + `))`
)

// DeleteSessions removes sessions with all their keys, in one transaction and one round trip: afterwards they are as
// unknown as if they had never been saved, and a source is asked for them again. It fails with ErrSuperseded when a newer
// write was there first. A row with nothing but the fence stays until Purge removes it.
func (s *Store) DeleteSessions(ctx context.Context, ids []session.ID) error {
	if len(ids) == 0 {
		return nil
	}
	ids = slices.Clone(ids)
	slices.SortFunc(ids, compareID)
	ids = slices.Compact(ids)
	var columns idColumns
	for _, id := range ids {
		columns.add(id)
	}
	err := s.fenced(ctx, ids, func(t *transaction) error {
		b := begin()
		t.queueFence(b, ids)
		b.Queue(forgetKeysSQL, columns.db, columns.keyspace, columns.id)
		b.Queue(forgetSQL, columns.db, columns.keyspace, columns.id, time.Now().UnixMilli())
		queueCommit(b)
		return t.send(ctx, b)
	})
	if err != nil {
		return fmt.Errorf("delete %d sessions from %q on: %w", len(ids), ids[0], err)
	}
	return nil
}

const (
	// An index over expiry times would make every write of an expiring key touch all indexes; walking along the primary
	// key in small steps costs nobody anything.
	expiredSQL = `
SELECT k.kid, k.sid, k.expire_at <= $2 FROM credproxy.keys k WHERE k.kid > $1 ORDER BY k.kid LIMIT $3`

	lockSessionsSQL = `
SELECT FROM credproxy.sessions WHERE sid = ANY ($1::bigint[]) ORDER BY db, keyspace, id FOR NO KEY UPDATE`

	// The condition is looked at again: the key may have been saved anew since it was read.
	purgeSQL = `DELETE FROM credproxy.keys WHERE kid = ANY ($1::bigint[]) AND expire_at <= $2`

	purgeFencesSQL = `
DELETE FROM credproxy.sessions WHERE NOT known AND last_access < $1 AND sid = ANY (ARRAY (
	SELECT sid FROM credproxy.sessions WHERE NOT known ORDER BY sid LIMIT $2))`
)

// Purge removes up to limit keys that expired more than an hour before now (unix milliseconds), and fences of removals that
// are as old. It goes on where the last call stopped; n < limit means that it has been through all keys. Each step is a
// transaction of its own, so an error leaves what was removed before it.
func (s *Store) Purge(ctx context.Context, now int64, limit int) (n int, err error) {
	before := now - purgeAfter.Milliseconds()
	if err := s.purgeFences(ctx, limit); err != nil {
		return 0, fmt.Errorf("purge old fences: %w", err)
	}
	s.purging.Lock() // two walks would share one position
	defer s.purging.Unlock()
	for n < limit {
		found, err := s.expired(ctx, before, limit-n)
		if err != nil {
			return n, fmt.Errorf("look for expired keys: %w", err)
		}
		removed, err := s.purgeKeys(ctx, found, before)
		n += removed
		if err != nil {
			return n, fmt.Errorf("purge expired keys: %w", err)
		}
		s.purged = found.last
		if found.end {
			s.purged = 0
			break
		}
	}
	return n, nil
}

// purgeFences removes rows that removals left. A removal that is not ours to see yet cannot be among them: its row is newer.
func (s *Store) purgeFences(ctx context.Context, limit int) error {
	return s.retry(ctx, func() error {
		s.queries.Add(1)
		// By our clock, not the caller's: it is what removals write.
		_, err := s.pool.Exec(ctx, purgeFencesSQL, time.Now().Add(-purgeAfter).UnixMilli(), int64(limit))
		return err
	})
}

// expiredKeys is what one step of Purge has found.
type expiredKeys struct {
	kids, sids []int64
	last       int64 // the last row that was looked at
	end        bool  // there are no more rows
}

func (s *Store) expired(ctx context.Context, before int64, limit int) (expiredKeys, error) {
	var found expiredKeys
	rows := 0
	reset := func() { found, rows = expiredKeys{last: s.purged}, 0 }
	err := s.list(ctx, expiredSQL, []any{s.purged, before, int64(purgeScan)}, reset, func(r pgx.Rows) error {
		v := r.RawValues()
		rows++
		if len(found.kids) == limit {
			return nil // read to the end, look at again by the next call
		}
		found.last = int64At(v[0])
		if len(v[2]) == 1 && v[2][0] == 1 {
			found.kids, found.sids = append(found.kids, found.last), append(found.sids, int64At(v[1]))
		}
		return nil
	})
	found.end = rows < purgeScan && len(found.kids) < limit
	return found, err
}

func (s *Store) purgeKeys(ctx context.Context, found expiredKeys, before int64) (removed int, err error) {
	if len(found.kids) == 0 {
		return 0, nil
	}
	err = s.transact(ctx, func(t *transaction) error {
		b := begin()
		b.Queue(lockSessionsSQL, found.sids)
		b.Queue(purgeSQL, found.kids, before).Query(func(rows pgx.Rows) error {
			rows.Close()
			removed = int(rows.CommandTag().RowsAffected())
			return rows.Err()
		})
		queueCommit(b)
		return t.send(ctx, b)
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}
