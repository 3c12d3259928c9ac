package restore

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/session"
)

// heatSQL creates session rows as needed, updates their heat and, above all, locks them in the order of its arrays and
// writes the fence (fence.go). What a removal wrote into a row of its own is no heat.
const heatSQL = heatInto + `unnest($1::int[], $2::text[], $3::bytea[], $4::bytea[], $5::bigint[], $6::bigint[], $7::bigint[])` + heatUpdate

// heatOneSQL is heatSQL for one session: an array costs more than a value.
const heatOneSQL = heatInto + `(VALUES ($1::int, $2::text, $3::bytea, $4::bytea, $5::bigint, $6::bigint, $7::bigint))` + heatUpdate

const heatInto = `
INSERT INTO credproxy.sessions AS s (db, keyspace, id, full_id, last_access, hits, bytes, fence)
SELECT u.*, CASE WHEN $8::bigint > (SELECT value FROM credproxy.meta WHERE name = 'barrier') THEN $8::bigint END
FROM `

const heatUpdate = ` AS u
ON CONFLICT (db, keyspace, id) DO UPDATE SET
	last_access = CASE WHEN s.known THEN greatest(s.last_access, excluded.last_access) ELSE excluded.last_access END,
	hits        = greatest(s.hits, excluded.hits),
	bytes       = excluded.bytes,
	known       = true,
	fence       = CASE WHEN s.fence <= excluded.fence THEN excluded.fence END`

// resolveSQL tells what is stored of each key, and a fresh number where nothing is.
const resolveSQL = `
SELECT s.sid, coalesce(k.kid, nextval('credproxy.keys_kid_seq')), k.form, k.type, k.expire_at, s.elsewhere
FROM unnest($1::int[], $2::text[], $3::bytea[], $4::bytea[]) WITH ORDINALITY AS u (db, keyspace, id, key, n)
` + joinSession + ` LEFT ` + joinKey + `
ORDER BY u.n`

// Save makes the stored sessions what changes say, in one transaction: all of it is committed when err is nil, none of it
// otherwise, but perhaps the heat. It takes two round trips, or mostly one when it is one key (direct.go). It fails with
// ErrSuperseded when a newer write was there first. now (unix milliseconds) tells which stored keys have expired.
//
// A session's row is created as needed; its last access and hits never go back, its bytes are set. A Change without keys
// saves the heat only. A Patch is refused, and returned for the caller to Put the whole key, unless the stored key is a
// hash in the clear that has not expired, or nothing is stored and the patch has all Len fields. A Patch that lists a
// field both as set and as removed sets it. Rows that already hold the same bytes are not written. A session that was
// Elsewhere is stored here from its first key on; what else was known of it is forgotten, so changes must name all of its keys.
func (s *Store) Save(ctx context.Context, changes []session.Change, now int64) (refused []session.Ref, err error) {
	passes, err := splitPasses(changes, s.signer)
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	heats := heatsOf(changes)
	err = s.fenced(ctx, sessionsOf(heats), func(t *transaction) error {
		refused = nil
		if c, ok := directly(passes); ok {
			if done, err := t.saveDirectly(ctx, heats, c, now); err != nil || done {
				return err
			}
		}
		b := begin()
		t.queueHeats(b, heats)
		var back []int64
		for _, pass := range passes {
			was, err := t.resolve(ctx, b, pass)
			if err != nil {
				return err
			}
			var w rewrite
			for i, c := range pass {
				if !w.plan(c, was[i], now) {
					refused = append(refused, c.ref())
				} else if was[i].elsewhere {
					back = append(back, was[i].sid)
				}
			}
			b = &pgx.Batch{}
			w.queue(b)
		}
		queueBack(b, back)
		queueCommit(b)
		return t.send(ctx, b)
	})
	if err != nil {
		return nil, fmt.Errorf("save %d sessions from %q on: %w", len(heats), heats[0].Session, err)
	}
	return refused, nil
}

// splitPasses orders the changes by session and key. When a key is changed more than once, the second change goes into a second
// pass, which sees what the first one left.
func splitPasses(changes []session.Change, by *signer) ([][]change, error) {
	var out [][]change
	seen := make(map[session.Ref]int)
	for i := range changes {
		for j := range changes[i].Keys {
			c := change{id: changes[i].Session, KeyChange: &changes[i].Keys[j], by: by}
			if err := check(c); err != nil {
				return nil, fmt.Errorf("save key %q of session %q: %w", c.Name, c.id, err)
			}
			n := seen[c.ref()]
			seen[c.ref()] = n + 1
			if n == len(out) {
				out = append(out, nil)
			}
			out[n] = append(out[n], c)
		}
	}
	for _, pass := range out {
		slices.SortFunc(pass, func(a, b change) int {
			return cmp.Or(compareID(a.id, b.id), cmp.Compare(a.Name, b.Name))
		})
	}
	return out, nil
}

// heatsOf returns one change per session, without keys, in the order of locking.
func heatsOf(changes []session.Change) []session.Change {
	heats := make([]session.Change, 0, len(changes))
	at := make(map[session.ID]int, len(changes))
	for _, c := range changes {
		i, again := at[c.Session]
		if !again {
			at[c.Session] = len(heats)
			heats = append(heats, session.Change{Session: c.Session, Heat: c.Heat})
			continue
		}
		h := &heats[i].Heat
		h.LastAccess, h.Hits, h.Bytes = max(h.LastAccess, c.Heat.LastAccess), max(h.Hits, c.Heat.Hits), c.Heat.Bytes
	}
	slices.SortFunc(heats, func(a, b session.Change) int { return compareID(a.Session, b.Session) })
	return heats
}

func sessionsOf(heats []session.Change) []session.ID {
	ids := make([]session.ID, 0, len(heats))
	for _, c := range heats {
		ids = append(ids, c.Session)
	}
	return ids
}

func (t *transaction) queueHeats(b *pgx.Batch, heats []session.Change) {
	if len(heats) == 1 {
		id, heat := heats[0].Session, heats[0].Heat
		b.Queue(heatOneSQL, int32(id.DB), id.Keyspace, indexed(id.Name), whole(id.Name),
			heat.LastAccess, hitsOf(heat), heat.Bytes, t.fence)
		return
	}
	var ids idColumns
	var full [][]byte
	var access, hits, bytes []int64
	for _, c := range heats {
		ids.add(c.Session)
		full = append(full, whole(c.Session.Name))
		access = append(access, c.Heat.LastAccess)
		hits = append(hits, hitsOf(c.Heat))
		bytes = append(bytes, c.Heat.Bytes)
	}
	b.Queue(heatSQL, ids.db, ids.keyspace, ids.id, full, access, hits, bytes, t.fence)
}

func hitsOf(heat session.Heat) int64 { return int64(min(heat.Hits, math.MaxInt64)) }

// resolve sends the batch with a look at what is stored of the pass's keys.
func (t *transaction) resolve(ctx context.Context, b *pgx.Batch, pass []change) ([]stored, error) {
	var ids idColumns
	keys := make([][]byte, 0, len(pass))
	for _, c := range pass {
		ids.add(c.id)
		keys = append(keys, indexed(c.Name))
	}
	was := make([]stored, 0, len(pass))
	b.Queue(resolveSQL, ids.db, ids.keyspace, ids.id, keys).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var form, kind *int16
			var expireAt *int64
			var w stored
			if err := rows.Scan(&w.sid, &w.kid, &form, &kind, &expireAt, &w.elsewhere); err != nil {
				return err
			}
			if form != nil {
				w.form, w.kind = *form, session.Type(*kind)
			}
			if expireAt != nil {
				w.expireAt = *expireAt
			}
			was = append(was, w)
		}
		return rows.Err()
	})
	fields := queueHashes(b, pass)
	if err := t.send(ctx, b); err != nil {
		return nil, err
	}
	if len(was) != len(pass) {
		return nil, fmt.Errorf("look up %d keys: %w: %d rows", len(pass), errBadRow, len(was))
	}
	for i := range was {
		was[i].fields = fields[i]
	}
	return was, nil
}
