package restore

import "github.com/jackc/pgx/v5"

// chunkBytes is how much one statement carries at most, unless a single value is larger: it bounds what Postgres holds in
// memory of a large session.
const chunkBytes = 8 << 20

// Statements that carry out a rewrite. They name rows by number, so that no plan of theirs can be a scan.
const (
	dropKeysSQL   = `DELETE FROM credproxy.keys WHERE kid = ANY ($1::bigint[])`
	dropFieldsSQL = `DELETE FROM credproxy.fields WHERE kid = ANY ($1::bigint[])`

	headersSQL = `
INSERT INTO credproxy.keys AS k (kid, sid, key, full_key, type, form, expire_at, value)
SELECT kid, sid, key, full_key, type, form, nullif(expire_at, 0), value
FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[], $5::smallint[], $6::smallint[], $7::bigint[], $8::bytea[])
	AS u (kid, sid, key, full_key, type, form, expire_at, value)
ON CONFLICT (kid) DO UPDATE SET
	type = excluded.type, form = excluded.form, expire_at = excluded.expire_at, value = excluded.value
WHERE (k.type, k.form, k.expire_at) IS DISTINCT FROM (excluded.type, excluded.form, excluded.expire_at)
	OR k.value IS DISTINCT FROM excluded.value`

	expiriesSQL = `
UPDATE credproxy.keys k SET expire_at = nullif(u.expire_at, 0)
FROM unnest($1::bigint[], $2::bigint[]) AS u (kid, expire_at) WHERE k.kid = u.kid`

	delFieldsSQL = `
DELETE FROM credproxy.fields WHERE ctid = ANY (ARRAY (
	SELECT f.ctid FROM unnest($1::bigint[], $2::bytea[]) AS u (kid, field) ` + joinField + `))`

	// A row's place is as good as its name while the session is locked. For the limit see joinSession.
	joinField = `JOIN LATERAL (SELECT x.ctid FROM credproxy.fields x WHERE x.kid = u.kid AND x.field = u.field LIMIT 1) f ON true`

	putFieldsSQL = `
INSERT INTO credproxy.fields AS f (kid, field, value)
SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[])
ON CONFLICT (kid, field) DO UPDATE SET value = excluded.value WHERE f.value IS DISTINCT FROM excluded.value`

	dropEmptySQL = `
DELETE FROM credproxy.keys k WHERE kid = ANY ($1::bigint[])
	AND NOT EXISTS (SELECT FROM credproxy.fields f WHERE f.kid = k.kid)`
)

// queue adds the statements of w to a batch.
func (w *rewrite) queue(b *pgx.Batch) {
	queueIDs(b, dropKeysSQL, w.dropKeys)
	for chunk := range chunks(w.headers, func(h header) int { return len(h.name) + len(h.value) }) {
		queueHeaders(b, chunk)
	}
	w.queueExpiries(b)
	queueIDs(b, dropFieldsSQL, w.dropFields)
	if len(w.delFields) > 0 {
		kids, names, _ := fieldColumns(w.delFields)
		b.Queue(delFieldsSQL, kids, names)
	}
	for chunk := range chunks(w.putFields, func(f fieldOf) int { return len(f.Name) + len(f.Value) }) {
		kids, names, values := fieldColumns(chunk)
		b.Queue(putFieldsSQL, kids, names, values)
	}
	queueIDs(b, dropEmptySQL, w.dropEmpty)
}

func queueIDs(b *pgx.Batch, sql string, ids []int64) {
	if len(ids) > 0 {
		b.Queue(sql, ids)
	}
}

func queueHeaders(b *pgx.Batch, headers []header) {
	n := len(headers)
	kids, sids, expiries := make([]int64, n), make([]int64, n), make([]int64, n)
	names, full, values := make([][]byte, n), make([][]byte, n), make([][]byte, n)
	kinds, forms := make([]int16, n), make([]int16, n)
	for i, h := range headers {
		kids[i], sids[i], expiries[i] = h.kid, h.sid, h.expireAt
		names[i], full[i], values[i] = indexed(h.name), whole(h.name), h.value
		kinds[i], forms[i] = int16(h.kind), h.form
	}
	b.Queue(headersSQL, kids, sids, names, full, kinds, forms, expiries, values)
}

func (w *rewrite) queueExpiries(b *pgx.Batch) {
	if len(w.expiries) == 0 {
		return
	}
	kids, expiries := make([]int64, len(w.expiries)), make([]int64, len(w.expiries))
	for i, h := range w.expiries {
		kids[i], expiries[i] = h.kid, h.expireAt
	}
	b.Queue(expiriesSQL, kids, expiries)
}

func fieldColumns(fields []fieldOf) (kids []int64, names, values [][]byte) {
	kids, names, values = make([]int64, len(fields)), make([][]byte, len(fields)), make([][]byte, len(fields))
	for i, f := range fields {
		kids[i], names[i], values[i] = f.kid, []byte(f.Name), f.Value
	}
	return kids, names, values
}

// chunks cuts rows into runs of at most chunkBytes, or one row.
func chunks[R any](rows []R, size func(R) int) func(yield func([]R) bool) {
	return func(yield func([]R) bool) {
		for len(rows) > 0 {
			n, total := 1, size(rows[0])
			for n < len(rows) && total+size(rows[n]) <= chunkBytes {
				total += size(rows[n])
				n++
			}
			if !yield(rows[:n]) {
				return
			}
			rows = rows[n:]
		}
	}
}
