package restore

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"credproxy/internal/session"
)

// A save of one key is mostly the change of a value in a row that is there already, and somebody may wait for it. It is
// tried in one round trip, without a look at what is stored: the statement writes only where it is sure to be right, and tells by
// the number of rows whether it was. Where it was not, nothing is changed but the session's heat, or what differs is written
// already, and the save goes the ordinary way. With more keys one of them could have been written when that fails, and
// the round trip matters less.

const (
	// Not for a hash in the clear or a value in parts, which would leave their rows behind, and not for the first key of a session that was elsewhere.
	directPutSQL = `
INSERT INTO credproxy.keys AS k (sid, key, full_key, type, form, expire_at, value)
SELECT x.sid, $4::bytea, $5::bytea, $6::smallint, $7::smallint, nullif($8::bigint, 0), $9::bytea
FROM credproxy.sessions x WHERE x.db = $1 AND x.keyspace = $2 AND x.id = $3 AND NOT x.elsewhere
ON CONFLICT (sid, key) DO UPDATE SET
	type = excluded.type, form = excluded.form, expire_at = excluded.expire_at, value = excluded.value
WHERE NOT (k.type = 2 AND k.form = 1) AND k.form < 5
	AND ((k.type, k.form, k.expire_at) IS DISTINCT FROM (excluded.type, excluded.form, excluded.expire_at)
		OR k.value IS DISTINCT FROM excluded.value)`

	// For a hash in the clear that has not expired and keeps its expiry.
	directPatchSQL = `
INSERT INTO credproxy.fields AS f (kid, field, value)
SELECT x.kid, unnest($7::bytea[]), unnest($8::bytea[]) FROM credproxy.keys x
WHERE x.sid = (SELECT x.sid FROM credproxy.sessions x WHERE x.db = $1 AND x.keyspace = $2 AND x.id = $3) AND x.key = $4
	AND x.type = 2 AND x.form = 1
	AND x.expire_at IS NOT DISTINCT FROM nullif($6::bigint, 0) AND (x.expire_at IS NULL OR x.expire_at > $5)
ON CONFLICT (kid, field) DO UPDATE SET value = excluded.value WHERE f.value IS DISTINCT FROM excluded.value`
)

// directly returns the change that may be tried in one round trip, if that is what a save consists of.
func directly(passes [][]change) (c change, ok bool) {
	if len(passes) != 1 || len(passes[0]) != 1 {
		return change{}, false
	}
	c = passes[0][0]
	switch c.Op {
	case session.Put:
		return c, c.Type != session.Hash || c.Dump != nil
	case session.Patch:
		return c, c.isHashPatch() && len(c.Removed) == 0 && len(c.Fields) > 0 && c.Bytes() <= chunkBytes
	default:
		return c, false
	}
}

// saveDirectly tries a change in a transaction of its own, and reports whether it is stored.
func (t *transaction) saveDirectly(ctx context.Context, heats []session.Change, c change, now int64) (done bool, err error) {
	// A batch is a transaction also without saying so, which is a third of the work here. Behind a pooler it is not known which
	// isolation it would have (planSettings).
	b := &pgx.Batch{}
	if t.store.pooled {
		b = begin()
	}
	t.queueHeats(b, heats)
	args := []any{int32(c.id.DB), c.id.Keyspace, indexed(c.id.Name), indexed(c.Name)}
	sql, rows := directPutSQL, 1
	if c.Op == session.Patch {
		_, names, values := fieldColumns(fieldsOf(0, c.Fields))
		sql, rows = directPatchSQL, len(names)
		args = append(args, now, c.ExpireAt, names, values)
	} else {
		form, value := c.stored()
		args = append(args, whole(c.Name), int16(c.Type), form, c.ExpireAt, value)
	}
	b.Queue(sql, args...).Exec(func(tag pgconn.CommandTag) error {
		done = tag.RowsAffected() == int64(rows)
		return nil
	})
	if t.store.pooled {
		queueCommit(b)
	}
	err = t.send(ctx, b)
	return done, err
}
