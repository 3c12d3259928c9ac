package restore

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/session"
)

// The benchmarks stand beside what the driver takes for the same rows without any of this package's promises: no look at
// what is stored, no fence, no order. Both sides of a save take turns, so that a busy machine is as busy for both, and the
// medians are compared: "ratio" is the rate of the store by the rate of the bare driver.

const benchBatch = 512 // keys in one Save, as the proxy gives at most

// benchShapes are sessions as bots have them.
var benchShapes = []struct {
	name              string
	keys, fields, len int
}{
	{"1key", 1, 0, 500},
	{"200keys", 200, 0, 500},
	{"855keys", 855, 0, 300},
	{"3071keys", 3_071, 0, 550},
	{"28700fields", 1, 28_700, 580},
}

// benchKeys builds a session's keys; round makes the values new each time.
func benchKeys(round, keys, fields, size int) []session.KeyChange {
	value := func(i int) []byte { return fmt.Appendf(make([]byte, 0, size), "%0*d", size, round*100_000+i) }
	var out []session.KeyChange
	for i := range keys {
		k := session.Key{Name: fmt.Sprintf("baileys:session:+5511:%d", i), Type: session.String}
		if fields == 0 {
			k.Value = value(i)
		}
		for f := range fields {
			k.Type = session.Hash
			k.Fields = append(k.Fields, session.Field{Name: fmt.Sprintf("session-%d.0", f), Value: value(f)})
		}
		out = append(out, put(k))
	}
	return out
}

// benchFleet changes some fields of the hash of each session.
func benchFleet(round, sessions, fields int) []session.Change {
	var changes []session.Change
	for i := range sessions {
		k := benchKeys(round*sessions+i, 1, fields, 400)[0].Key
		changes = append(changes, session.Change{
			Session: bot(fmt.Sprintf("+55119%d", i)), Heat: session.Heat{LastAccess: now + int64(round), Hits: uint64(round), Bytes: 1},
			Keys: []session.KeyChange{patch(k, int64(fields))},
		})
	}
	return changes
}

func BenchmarkSave(b *testing.B) {
	for _, shape := range benchShapes {
		benchmarkSave(b, shape.name, max(shape.keys, shape.fields), func(round int) []session.Change {
			return []session.Change{{Session: bot("+5511"), Heat: session.Heat{LastAccess: now, Bytes: 1},
				Keys: benchKeys(round, shape.keys, shape.fields, shape.len)}}
		})
	}
	for _, fleet := range []struct{ sessions, fields int }{{1, 1}, {1, 20}, {10, 1}, {50, 1}, {50, 20}, {benchBatch, 1}} {
		benchmarkSave(b, fmt.Sprintf("fleet%dx%d", fleet.sessions, fleet.fields), fleet.sessions*fleet.fields, func(round int) []session.Change {
			return benchFleet(round, fleet.sessions, fleet.fields)
		})
	}
}

func benchmarkSave(b *testing.B, name string, rows int, changes func(round int) []session.Change) {
	b.Run(name, func(b *testing.B) {
		turn := max(1, 32/rows) // saves; what follows something else is slower, and a fleet's saves follow each other
		s := openStore(b, Config{})
		ctx := testContext(b)
		save := func(c []session.Change) {
			if refused, err := s.Save(ctx, c, now); err != nil || refused != nil {
				b.Fatal(refused, err)
			}
		}
		save(changes(0))
		ids := benchIDs(b, s)
		bare := func(c []session.Change) { bareSave(ctx, b, s, ids, c) }
		bare(changes(-1))
		var store, driver []time.Duration
		for n := 0; b.Loop(); n += 2 * turn {
			for i := range turn {
				store = append(store, timed(save, changes(n+i+1)))
			}
			for i := range turn {
				driver = append(driver, timed(bare, changes(n+turn+i+1)))
			}
		}
		a, d := median(store), median(driver)
		b.ReportMetric(float64(d)/float64(a), "ratio")
		b.ReportMetric(float64(rows)/a.Seconds(), "rows/s")
		b.ReportMetric(float64(rows)/d.Seconds(), "bare-rows/s")
		b.ReportMetric(0, "ns/op") // both together, and what it takes to make the values
	})
}

func timed[A any](do func(A), with A) time.Duration {
	start := time.Now()
	do(with)
	return time.Since(start)
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

type benchID struct{ sid, kid int64 }

// benchIDs maps a session to its number and that of a key.
func benchIDs(b *testing.B, s *Store) map[string]benchID {
	rows, err := s.pool.Query(testContext(b), "SELECT s.id, s.sid, max(k.kid) FROM credproxy.sessions s JOIN credproxy.keys k USING (sid) GROUP BY s.sid")
	if err != nil {
		b.Fatal(err)
	}
	ids := make(map[string]benchID)
	var name []byte
	var id benchID
	if _, err := pgx.ForEachRow(rows, []any{&name, &id.sid, &id.kid}, func() error { ids[string(name)] = id; return nil }); err != nil {
		b.Fatal(err)
	}
	return ids
}

// bareSave upserts the same rows, one statement each, in one batch and transaction.
func bareSave(ctx context.Context, b *testing.B, s *Store, ids map[string]benchID, changes []session.Change) {
	batch := &pgx.Batch{}
	batch.Queue("begin")
	for _, c := range changes {
		batch.Queue(`INSERT INTO credproxy.sessions (db, keyspace, id, last_access, hits, bytes) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (db, keyspace, id) DO UPDATE SET last_access = excluded.last_access, hits = excluded.hits, bytes = excluded.bytes`,
			c.Session.DB, c.Session.Keyspace, []byte(c.Session.Name), c.Heat.LastAccess, int64(c.Heat.Hits), c.Heat.Bytes)
		id := ids[c.Session.Name]
		for _, k := range c.Keys {
			if k.Type == session.String {
				batch.Queue(`INSERT INTO credproxy.keys (sid, key, type, form, value) VALUES ($1, $2, 1, 1, $3)
					ON CONFLICT (sid, key) DO UPDATE SET value = excluded.value`, id.sid, []byte(k.Name), k.Value)
			}
			for _, f := range k.Fields {
				batch.Queue(`INSERT INTO credproxy.fields (kid, field, value) VALUES ($1, $2, $3)
					ON CONFLICT (kid, field) DO UPDATE SET value = excluded.value`, id.kid, []byte(f.Name), f.Value)
			}
		}
	}
	batch.Queue("commit")
	if err := s.pool.SendBatch(ctx, batch).Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSaveOneField changes one field of a large hash: as a patch, when it is known which, and as the whole hash, when it
// was a script that did it. Beside them what it takes to save the hash at first, and to read it.
func BenchmarkSaveOneField(b *testing.B) {
	s := openStore(b, Config{})
	k := largeHash(b)
	mustSave(b, s, bot("a"), put(k))
	change := func(round int) session.Key {
		one := session.Field{Name: k.Fields[round%len(k.Fields)].Name, Value: fmt.Appendf(nil, "%0580d", round)}
		k.Fields[round%len(k.Fields)] = one
		return session.Key{Name: k.Name, Type: session.Hash, Fields: []session.Field{one}}
	}
	round := 0
	for _, c := range []struct {
		name string
		do   func(round int)
	}{
		{"first", func(round int) { mustSave(b, s, bot(fmt.Sprint("first", round)), put(k)) }},
		{"load", func(int) { mustLoad(b, s, bot("a")) }},
		{"whole", func(round int) {
			change(round)
			mustSave(b, s, bot("a"), put(k))
		}},
		{"patch", func(round int) { mustSave(b, s, bot("a"), patch(change(round), int64(len(k.Fields)))) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			wal := "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"
			since, before, first := nextTransaction(b, s), count(b, s, wal), round
			for b.Loop() {
				round++ // never the same again, so that each changes something
				c.do(round)
			}
			times := float64(round - first)
			b.ReportMetric(float64(count(b, s, wal)-before)/times, "WAL-B/op")
			b.ReportMetric(float64(touched(b, s, since))/times, "rows/op")
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, shape := range benchShapes {
		s := openStore(b, Config{})
		id := bot("+5511")
		mustSave(b, s, id, benchKeys(1, shape.keys, shape.fields, shape.len)...)
		sql(b, s, "ANALYZE")
		ctx := testContext(b)
		want := max(shape.keys, shape.fields)
		b.Run(shape.name+"/store", func(b *testing.B) {
			for b.Loop() {
				got, err := s.Load(ctx, id, now)
				if err != nil || len(got.Keys) != shape.keys || len(got.Keys[0].Fields) != shape.fields {
					b.Fatal("rows are missing", err)
				}
			}
		})
		b.Run(shape.name+"/bare", func(b *testing.B) {
			for b.Loop() {
				if n := bareLoad(ctx, b, s, id, shape.fields > 0); n != want {
					b.Fatal("rows are missing")
				}
			}
		})
	}
}

// bareLoad reads a session's strings, or the fields of its one hash.
func bareLoad(ctx context.Context, b *testing.B, s *Store, id session.ID, fields bool) int {
	query := `SELECT k.key, k.value FROM credproxy.sessions s JOIN credproxy.keys k ON k.sid = s.sid
		WHERE s.db = $1 AND s.keyspace = $2 AND s.id = $3`
	if fields {
		query = `SELECT f.field, f.value FROM credproxy.sessions s
			JOIN credproxy.keys k ON k.sid = s.sid JOIN credproxy.fields f ON f.kid = k.kid
			WHERE s.db = $1 AND s.keyspace = $2 AND s.id = $3`
	}
	rows, err := s.pool.Query(ctx, query, id.DB, id.Keyspace, []byte(id.Name))
	if err != nil {
		b.Fatal(err)
	}
	var out []session.Field
	var name, value []byte
	if _, err := pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		out = append(out, session.Field{Name: string(name), Value: append([]byte(nil), value...)})
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	return len(out)
}

// BenchmarkDelete removes a field of each of some sessions: what a bot does with a pre-key that was used, and somebody waits for it.
func BenchmarkDelete(b *testing.B) {
	const fields = 500
	for _, sessions := range []int{1, 4, 16} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			s := openStore(b, Config{})
			fill := func() {
				if refused, err := s.Save(testContext(b), benchFleet(1, sessions, fields), now); err != nil || refused != nil {
					b.Fatal(refused, err)
				}
			}
			for n := 0; b.Loop(); n++ {
				if n%fields == 0 {
					b.StopTimer()
					fill()
					b.StartTimer()
				}
				var gone []session.Removal
				for _, c := range benchFleet(1, sessions, 1) {
					gone = append(gone, session.Removal{Session: c.Session, Key: c.Keys[0].Name, Fields: []string{fmt.Sprintf("session-%d.0", n%fields)}})
				}
				if err := s.Delete(testContext(b), gone); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*sessions), "us/removal")
		})
	}
}
