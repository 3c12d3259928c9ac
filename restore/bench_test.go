package restore

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/session"
)

// The benchmarks stand beside what the driver takes for the same rows without any of this package's promises.

const benchSessions = 50 // in one Save, as a busy fleet gives in a sync interval

// benchChanges changes fields of each session's hash; round makes the values new each time.
func benchChanges(round, fields int) []session.Change {
	var changes []session.Change
	for i := range benchSessions {
		k := session.Key{Name: "keys", Type: session.Hash}
		for f := range fields {
			value := fmt.Appendf(make([]byte, 0, 400), "%0400d", round*benchSessions+i+f)
			k.Fields = append(k.Fields, session.Field{Name: fmt.Sprintf("session-%d", f), Value: value})
		}
		changes = append(changes, session.Change{
			Session: bot(fmt.Sprintf("+55119%d", i)), Heat: session.Heat{LastAccess: now + int64(round), Hits: uint64(round), Bytes: 1},
			Keys: []session.KeyChange{patch(k, int64(fields))},
		})
	}
	return changes
}

func BenchmarkSave(b *testing.B) {
	for _, fields := range []int{1, 20} {
		s := openStore(b, Config{})
		ctx := testContext(b)
		if _, err := s.Save(ctx, benchChanges(0, fields), now); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("fields=%d/store", fields*benchSessions), func(b *testing.B) {
			for n := 1; b.Loop(); n++ {
				if refused, err := s.Save(ctx, benchChanges(n, fields), now); err != nil || refused != nil {
					b.Fatal(refused, err)
				}
			}
		})
		b.Run(fmt.Sprintf("fields=%d/bare", fields*benchSessions), func(b *testing.B) {
			kids := kidsByName(b, s)
			for n := 1; b.Loop(); n++ {
				bareSave(b, s, kids, benchChanges(n, fields))
			}
		})
	}
}

func kidsByName(b *testing.B, s *Store) map[string]int64 {
	rows, err := s.pool.Query(testContext(b), "SELECT s.id, k.kid FROM credproxy.sessions s JOIN credproxy.keys k USING (sid)")
	if err != nil {
		b.Fatal(err)
	}
	kids := make(map[string]int64)
	var id []byte
	var kid int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &kid}, func() error { kids[string(id)] = kid; return nil }); err != nil {
		b.Fatal(err)
	}
	return kids
}

// bareSave upserts the same rows, one statement each, in one batch and transaction.
func bareSave(b *testing.B, s *Store, kids map[string]int64, changes []session.Change) {
	batch := &pgx.Batch{}
	batch.Queue("begin")
	for _, c := range changes {
		batch.Queue(`INSERT INTO credproxy.sessions (db, keyspace, id, last_access, hits, bytes) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (db, keyspace, id) DO UPDATE SET last_access = excluded.last_access, hits = excluded.hits, bytes = excluded.bytes`,
			c.Session.DB, c.Session.Keyspace, []byte(c.Session.Name), c.Heat.LastAccess, int64(c.Heat.Hits), c.Heat.Bytes)
		for _, f := range c.Keys[0].Fields {
			batch.Queue(`INSERT INTO credproxy.fields (kid, field, value) VALUES ($1, $2, $3)
				ON CONFLICT (kid, field) DO UPDATE SET value = excluded.value`, kids[c.Session.Name], []byte(f.Name), f.Value)
		}
	}
	batch.Queue("commit")
	if err := s.pool.SendBatch(testContext(b), batch).Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkSaveLarge(b *testing.B) {
	s := openStore(b, Config{})
	k := largeHash(b)
	b.SetBytes(k.Bytes())
	for n := 0; b.Loop(); n++ {
		mustSave(b, s, bot(fmt.Sprint(n)), put(k))
	}
}

func BenchmarkLoad(b *testing.B) {
	s := openStore(b, Config{})
	large := largeHash(b)
	for _, fields := range []int{1, 3_071, 28_700} {
		k := large
		k.Fields = k.Fields[:fields]
		id := bot(fmt.Sprint(fields))
		mustSave(b, s, id, put(k))
		b.Run(fmt.Sprintf("fields=%d/store", fields), func(b *testing.B) {
			for b.Loop() {
				if got := mustLoad(b, s, id); len(got.Keys[0].Fields) != fields {
					b.Fatal("fields are missing")
				}
			}
		})
		b.Run(fmt.Sprintf("fields=%d/bare", fields), func(b *testing.B) {
			for b.Loop() {
				if n := bareLoad(b, s, id); n != fields {
					b.Fatal("fields are missing")
				}
			}
		})
	}
}

// bareLoad reads the fields of a session that has one hash.
func bareLoad(b *testing.B, s *Store, id session.ID) int {
	rows, err := s.pool.Query(testContext(b), `SELECT f.field, f.value FROM credproxy.sessions s
		JOIN credproxy.keys k ON k.sid = s.sid JOIN credproxy.fields f ON f.kid = k.kid
		WHERE s.db = $1 AND s.keyspace = $2 AND s.id = $3`, id.DB, id.Keyspace, []byte(id.Name))
	if err != nil {
		b.Fatal(err)
	}
	var fields []session.Field
	var name, value []byte
	if _, err := pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		fields = append(fields, session.Field{Name: string(name), Value: append([]byte(nil), value...)})
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	return len(fields)
}
