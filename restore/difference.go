package restore

import (
	"bytes"
	"fmt"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/session"
)

// hashesSQL returns all fields that are stored of hashes in the clear; n is the hash's place in the request.
const hashesSQL = `
SELECT u.n, f.field, f.value
FROM unnest($1::int[], $2::text[], $3::bytea[], $4::bytea[]) WITH ORDINALITY AS u (db, keyspace, id, key, n)
` + joinSession + ` ` + joinKey + ` JOIN credproxy.fields f ON f.kid = k.kid
WHERE k.type = 2 AND k.form = 1`

// difference is between a hash and what is stored of it. Most hashes that are saved as a whole were changed by a script that did
// not say where, and differ in a few fields. Postgres could find those as well, if it were sent all: but it locks each
// row that it compares, in the row, and logs that, and takes five times as long as it takes to send what it has.
type difference struct {
	left map[string][]byte // fields that are not stored as they should be
	gone []string          // stored fields that the hash does not have
}

func newDifference(fields []session.Field) *difference {
	d := &difference{left: make(map[string][]byte, len(fields))}
	for _, f := range fields {
		d.left[f.Name] = f.Value
	}
	return d
}

// stored takes a field that is stored; the bytes stay the caller's.
func (d *difference) stored(name, value []byte) {
	want, ok := d.left[string(name)]
	switch {
	case !ok:
		d.gone = append(d.gone, string(name))
	case bytes.Equal(value, want):
		delete(d.left, string(name))
	}
}

// changed returns those of the hash's fields that must be stored.
func (d *difference) changed(fields []session.Field) []session.Field {
	if len(d.left) == len(fields) {
		return fields
	}
	out := make([]session.Field, 0, len(d.left))
	for _, f := range fields {
		if _, ok := d.left[f.Name]; ok {
			out = append(out, f)
		}
	}
	return out
}

// queueHashes adds to a batch the look at what is stored of the hashes that the pass replaces. The result has the pass's
// order, nil for other changes, and is complete when the batch has run.
func queueHashes(b *pgx.Batch, pass []change) []*difference {
	all := make([]*difference, len(pass))
	var asked []*difference
	var ids idColumns
	var keys [][]byte
	for i, c := range pass {
		if c.Op == session.Put && c.Type == session.Hash && c.Dump == nil {
			all[i] = newDifference(c.Fields)
			asked = append(asked, all[i])
			ids.add(c.id)
			keys = append(keys, indexed(c.Name))
		}
	}
	if asked == nil {
		return all
	}
	b.Queue(hashesSQL, ids.db, ids.keyspace, ids.id, keys).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			v := rows.RawValues()
			n := int(int64At(v[0])) - 1
			if n < 0 || n >= len(asked) {
				return fmt.Errorf("compare %d hashes: %w", len(asked), errBadRow)
			}
			asked[n].stored(v[1], v[2])
		}
		return rows.Err()
	})
	return all
}
