package restore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"credproxy/internal/session"
)

func TestRoundTripOfEveryForm(t *testing.T) {
	eachMode(t, func(t *testing.T, s *Store) {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		long := strings.Repeat("long\x00", 1000)
		keys := []session.Key{
			{Name: "s:empty", Type: session.String},
			{Name: "s:binary\x00\xff", Type: session.String, Value: all, ExpireAt: now + 1},
			{Name: "s:large", Type: session.String, Value: random(t, 1_300_000)},
			{Name: "", Type: session.String, Value: []byte("the empty key")},
			{Name: long, Type: session.String, Value: []byte("long name")},
			{Name: long + "x", Type: session.String, Value: []byte("another")},
			hash("h", "", "empty name", "empty value", "", string(all), string(all), strings.Repeat("f", maxField), "v"),
			{Name: "h:dump", Type: session.Hash, Dump: []byte("\x04\x00dump"), ExpireAt: now + 1000},
			{Name: "l", Type: session.List, Dump: all},
			{Name: "z", Type: session.ZSet, Dump: []byte{0}},
			{Name: "x", Type: session.Stream, Dump: random(t, 10_000)},
			{Name: "m", Type: session.Module, Dump: []byte{7}},
			{Name: "t", Type: session.Set, Dump: []byte{1}},
		}
		for _, id := range []session.ID{
			bot("+55"), {DB: 6, Keyspace: "baileys", Name: "+55"}, {Keyspace: "other", Name: "+55"}, bot(""),
			bot(long), bot(long + "x"), bot("a@b:c_1::0 \x00\xff"),
		} {
			var changes []session.KeyChange
			for _, k := range keys {
				k.Name += id.Keyspace // the same key in two sessions is two keys
				changes = append(changes, put(k))
			}
			heat := session.Heat{LastAccess: now, Hits: 1 << 40, Bytes: 123}
			if _, err := s.Save(testContext(t), []session.Change{{Session: id, Heat: heat, Keys: changes}}, now); err != nil {
				t.Fatal(err)
			}
			var want []session.Key
			for _, c := range changes {
				want = append(want, c.Key)
			}
			wantKeys(t, s, id, want...)
			equal(t, "heat", mustLoad(t, s, id).Heat, heat)
		}
	})
}

func TestEmptyStringIsNotNone(t *testing.T) {
	s := openStore(t, Config{})
	mustSave(t, s, bot("a"), put(session.Key{Name: "k", Type: session.String, Value: nil}))
	if v := mustLoad(t, s, bot("a")).Keys[0].Value; v == nil || len(v) != 0 {
		t.Errorf("value %#v, want an empty one that is not nil", v)
	}
}

// TestLargeSession is an old and busy bot: 28,700 fields, 17 MB.
func TestLargeSession(t *testing.T) {
	eachMode(t, func(t *testing.T, s *Store) {
		k := largeHash(t)
		mustSave(t, s, bot("big"), put(k))
		wantKeys(t, s, bot("big"), k)
		k.Fields = k.Fields[:20_000]
		k.Fields[7].Value = []byte("changed")
		mustSave(t, s, bot("big"), put(k))
		wantKeys(t, s, bot("big"), k)
		mustSave(t, s, bot("big"), session.KeyChange{Op: session.Delete, Key: session.Key{Name: k.Name}})
		equal(t, "fields left", count(t, s, "SELECT count(*) FROM credproxy.fields"), 0)
	})
}

func largeHash(t testing.TB) session.Key {
	k := session.Key{Name: "wa:auth:big:keys", Type: session.Hash}
	for i := range 28_700 {
		k.Fields = append(k.Fields, session.Field{Name: fmt.Sprintf("session-%d.0", i), Value: random(t, 580)})
	}
	return k
}

func TestPutReplacesExactly(t *testing.T) {
	eachMode(t, func(t *testing.T, s *Store) {
		steps := []session.Key{
			hash("k", "a", "1", "b", "2", "c", "3"),
			hash("k", "b", "2", "c", "changed"),
			{Name: "k", Type: session.String, Value: []byte("now a string")},
			hash("k", "d", "4"),
			{Name: "k", Type: session.Hash, Dump: []byte("now a dump")},
			hash("k", "a", "5"),
			{Name: "k", Type: session.Hash, ExpireAt: now + 5, Fields: hash("", "a", "5").Fields},
		}
		other := hash("other", "a", "1", "b", "2")
		mustSave(t, s, bot("a"), put(other))
		for i, step := range steps {
			mustSave(t, s, bot("a"), put(step))
			wantKeys(t, s, bot("a"), step, other)
			equal(t, fmt.Sprintf("field rows after step %d", i),
				count(t, s, "SELECT count(*) FROM credproxy.fields"), len(step.Fields)+len(other.Fields))
		}
		mustSave(t, s, bot("a"), put(session.Key{Name: "k", Type: session.Hash}))
		wantKeys(t, s, bot("a"), other) // a hash without fields does not exist
	})
}

func TestEqualRowsAreNotWritten(t *testing.T) {
	s := openStore(t, Config{})
	keys := []session.KeyChange{put(hash("h", "a", "1", "b", "2")), putString("s", "v")}
	mustSave(t, s, bot("a"), keys...)
	where := "SELECT count(DISTINCT x) FROM (SELECT xmin::text x FROM credproxy.fields UNION ALL SELECT xmin::text FROM credproxy.keys) r"
	mustSave(t, s, bot("a"), keys...)
	equal(t, "transactions that wrote rows", count(t, s, where), 1)
	mustSave(t, s, bot("a"), patch(hash("h", "a", "1", "b", "changed"), 2))
	equal(t, "transactions that wrote rows", count(t, s, where), 2)
	equal(t, "rows of the second", count(t, s, `SELECT count(*) FROM credproxy.fields
		WHERE xmin::text <> (SELECT xmin::text FROM credproxy.keys LIMIT 1)`), 1)
}

// nextTransaction returns a number below those of all transactions from now on that write.
func nextTransaction(t testing.TB, s *Store) int {
	t.Helper()
	return count(t, s, "SELECT (pg_current_xact_id()::text::bigint % (1::bigint << 32))::bigint")
}

// touched counts the rows of fields that transactions after since have written, or have locked, which is written as well.
func touched(t testing.TB, s *Store, since int) int {
	t.Helper()
	return count(t, s, `SELECT count(*) FROM credproxy.fields WHERE xmin::text::bigint > $1 OR xmax::text::bigint > $1`, since)
}

// TestOneChangedField: what a changed field of a large hash costs in rows is as much as what changed, also when the caller
// has only the whole hash.
func TestOneChangedField(t *testing.T) {
	eachMode(t, func(t *testing.T, s *Store) {
		k := largeHash(t)
		mustSave(t, s, bot("big"), put(k))
		step := func(what string, rows int, c session.KeyChange) {
			t.Helper()
			since := nextTransaction(t, s)
			mustSave(t, s, bot("big"), c)
			equal(t, "rows touched by "+what, touched(t, s, since), rows)
			wantKeys(t, s, bot("big"), k)
		}
		step("nothing", 0, put(k))
		k.Fields[7].Value = []byte("changed")
		step("the whole hash", 1, put(k))
		k.Fields[8].Value = nil
		step("a patch", 1, patch(session.Key{Name: k.Name, Type: session.Hash, Fields: k.Fields[8:9]}, int64(len(k.Fields))))
		k.Fields = append(slices.Clone(k.Fields[1:]), session.Field{Name: "new", Value: []byte("v")}, k.Fields[5], k.Fields[5])
		since := nextTransaction(t, s)
		mustSave(t, s, bot("big"), put(k)) // names one field three times, and another one no more
		equal(t, "rows touched by one less, one more", touched(t, s, since), 1)
		equal(t, "fields", count(t, s, "SELECT count(*) FROM credproxy.fields"), len(k.Fields)-2)
	})
}

// TestOneKeyOfASessionElsewhere: one key alone is saved without a look at the session, which must not stay elsewhere.
func TestOneKeyOfASessionElsewhere(t *testing.T) {
	eachMode(t, func(t *testing.T, s *Store) {
		for i, c := range []session.KeyChange{putString("k", "v"), putString("stub", "v"), patch(hash("h", "a", "1"), 1)} {
			id := bot(fmt.Sprint(i))
			stub := session.KeyChange{Key: session.Key{Name: "stub", Type: session.String}}
			if err := s.SaveElsewhere(testContext(t), []session.Change{{Session: id, Keys: []session.KeyChange{stub}}}); err != nil {
				t.Fatal(err)
			}
			mustSave(t, s, id, c)
			wantKeys(t, s, id, c.Key)
		}
		equal(t, "sessions elsewhere", count(t, s, "SELECT count(*) FROM credproxy.sessions WHERE elsewhere"), 0)
	})
}

func TestPatch(t *testing.T) {
	stored := hash("h", "a", "1", "b", "2", "c", "3")
	expired, expiring := stored, stored
	expired.ExpireAt, expiring.ExpireAt = now, now+1
	withExpiry := hash("h", "a", "9")
	withExpiry.ExpireAt = now + 77
	wantExpiry := hash("h", "a", "9", "b", "2", "c", "3")
	wantExpiry.ExpireAt = now + 77
	text := session.Key{Name: "h", Type: session.String, Value: []byte("s")}
	dump := session.Key{Name: "h", Type: session.Hash, Dump: []byte("d")}
	longField := hash("h", strings.Repeat("f", maxField+1), "v")

	tests := []struct {
		name    string
		stored  *session.Key
		patch   session.KeyChange
		refused bool
		want    *session.Key
	}{
		{"sets and removes", &stored, patch(hash("h", "a", "9", "d", "4"), 3, "b", "gone already"), false,
			ptr(hash("h", "a", "9", "c", "3", "d", "4"))},
		{"sets the expiry", &stored, patch(withExpiry, 3), false, &wantExpiry},
		{"clears the expiry", &expiring, patch(hash("h", "a", "9"), 3), false, ptr(hash("h", "a", "9", "b", "2", "c", "3"))},
		{"a field set and removed is set", &stored, patch(hash("h", "a", "9"), 3, "a"), false,
			ptr(hash("h", "a", "9", "b", "2", "c", "3"))},
		{"the last of two values", &stored, patch(hash("h", "a", "8", "a", "9"), 3), false,
			ptr(hash("h", "a", "9", "b", "2", "c", "3"))},
		{"removes the last field", &stored, patch(hash("h"), 0, "a", "b", "c"), false, nil},
		{"whole, nothing stored", nil, patch(hash("h", "a", "1", "b", "2"), 2), false, ptr(hash("h", "a", "1", "b", "2"))},
		{"part, nothing stored", nil, patch(hash("h", "a", "1", "b", "2"), 3), true, nil},
		{"counted twice, nothing stored", nil, patch(hash("h", "a", "1", "a", "2"), 2), true, nil},
		{"empty, nothing stored", nil, patch(hash("h"), 0, "a"), true, nil},
		{"stored has expired", &expired, patch(hash("h", "a", "9"), 3), true, nil},
		{"stored is a string", &text, patch(hash("h", "a", "9"), 1), true, &text},
		{"stored is a dump", &dump, patch(hash("h", "a", "9"), 1), true, &dump},
		{"long field", &stored, patch(longField, 4), true, &stored},
		{"not a hash", &stored, patch(text, 1), true, &stored},
	}
	eachMode(t, func(t *testing.T, s *Store) {
		for _, tt := range tests {
			beside := putString("beside", "saved whether or not the patch is")
			try := func(t *testing.T, name string, beside ...session.KeyChange) {
				id := bot(name)
				if tt.stored != nil {
					mustSave(t, s, id, put(*tt.stored))
				}
				changes := []session.Change{{Session: id, Keys: append(beside, tt.patch)}}
				refused, err := s.Save(testContext(t), changes, now)
				if err != nil {
					t.Fatal(err)
				}
				var wantRefused []session.Ref
				if tt.refused {
					wantRefused = []session.Ref{{Session: id, Key: "h"}}
				}
				equal(t, "refused", refused, wantRefused)
				var want []session.Key
				for _, c := range beside {
					want = append(want, c.Key)
				}
				if tt.want != nil {
					want = append(want, *tt.want)
				}
				wantKeys(t, s, id, want...)
			}
			t.Run(tt.name, func(t *testing.T) { try(t, tt.name, beside) })
			t.Run(tt.name+", alone", func(t *testing.T) { try(t, tt.name+", alone") })
		}
	})
}

func ptr(k session.Key) *session.Key { return &k }

func TestRefusedPatchLeavesTheExpiredRow(t *testing.T) {
	s := openStore(t, Config{})
	old := hash("h", "a", "1")
	old.ExpireAt = now
	mustSave(t, s, bot("a"), put(old))
	if _, err := s.Save(testContext(t), []session.Change{{Session: bot("a"),
		Keys: []session.KeyChange{patch(hash("h", "b", "2"), 1)}}}, now); err != nil {
		t.Fatal(err)
	}
	equal(t, "rows that mix two lives of a key", count(t, s, "SELECT count(*) FROM credproxy.fields WHERE field = 'b'"), 0)
}

func TestSeveralChangesOfOneKeyInOrder(t *testing.T) {
	s := openStore(t, Config{})
	drop := session.KeyChange{Op: session.Delete, Key: session.Key{Name: "k"}}
	mustSave(t, s, bot("a"), put(hash("k", "a", "1")), patch(hash("k", "b", "2"), 2), drop,
		putString("k", "text"), put(hash("k", "c", "3")), patch(hash("k", "d", "4"), 2), putString("other", "x"))
	wantKeys(t, s, bot("a"), hash("k", "c", "3", "d", "4"), putString("other", "x").Key)
	mustSave(t, s, bot("a"), putString("k", "back"), drop)
	wantKeys(t, s, bot("a"), putString("other", "x").Key)
}

func TestHeatNeverGoesBack(t *testing.T) {
	s := openStore(t, Config{})
	save := func(heat session.Heat) {
		t.Helper()
		if _, err := s.Save(testContext(t), []session.Change{{Session: bot("a"), Heat: heat}}, now); err != nil {
			t.Fatal(err)
		}
	}
	save(session.Heat{LastAccess: 100, Hits: 10, Bytes: 1000})
	save(session.Heat{LastAccess: 90, Hits: 11, Bytes: 500})
	got := mustLoad(t, s, bot("a"))
	equal(t, "snapshot", got, session.Snapshot{Found: true, Heat: session.Heat{LastAccess: 100, Hits: 11, Bytes: 500}})
}

func TestSaveIsAllOrNothing(t *testing.T) {
	s := openStore(t, Config{})
	mustSave(t, s, bot("a"), putString("k", "old"))
	sql(t, s, "ALTER TABLE credproxy.fields ADD CHECK (field <> 'bad')")
	changes := []session.Change{
		{Session: bot("a"), Heat: session.Heat{Hits: 5}, Keys: []session.KeyChange{putString("k", "new")}},
		{Session: bot("b"), Keys: []session.KeyChange{put(hash("h", "bad", "secret value"))}},
	}
	_, err := s.Save(testContext(t), changes, now)
	if err == nil || Temporary(err) {
		t.Fatalf("save gave %v, want a permanent error", err)
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error shows a value: %v", err)
	}
	wantKeys(t, s, bot("a"), putString("k", "old").Key)
	equal(t, "hits", mustLoad(t, s, bot("a")).Heat.Hits, 0)
	equal(t, "session b", mustLoad(t, s, bot("b")), session.Snapshot{})
}

func TestSaveRefusesMistakes(t *testing.T) {
	s := openStore(t, Config{})
	for name, change := range map[string]session.KeyChange{
		"list in the clear": put(session.Key{Name: "k", Type: session.List}),
		"no type":           put(session.Key{Name: "k"}),
		"unknown type":      put(session.Key{Name: "k", Type: 99, Dump: []byte("d")}),
		"long field":        put(hash("k", strings.Repeat("f", maxField+1), "v")),
		"unknown operation": {Op: 9, Key: session.Key{Name: "k"}},
	} {
		_, err := s.Save(testContext(t), []session.Change{{Session: bot("a"), Keys: []session.KeyChange{change}}}, now)
		if err == nil || Temporary(err) || !strings.Contains(err.Error(), `"k"`) {
			t.Errorf("%s: error %v, want one that names the key", name, err)
		}
	}
	equal(t, "queries beside those of Open", s.Queries(), openStore(t, Config{DSN: s.pool.Config().ConnString()}).Queries())
}

func TestRoundTrips(t *testing.T) {
	s := openStore(t, Config{})
	trips := func(what string, want uint64, do func() error) {
		t.Helper()
		before := s.Queries()
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		equal(t, what, s.Queries()-before, want)
	}
	ctx := testContext(t)
	var changes []session.Change
	for i := range 50 {
		id := bot(fmt.Sprint(i))
		changes = append(changes, session.Change{Session: id, Keys: []session.KeyChange{
			putString("s", "v"), put(hash("h", "a", "1")), patch(hash("p", "a", "1"), 1)}})
	}
	trips("save", 2, func() error { _, err := s.Save(ctx, changes, now); return err })
	trips("save heat", 1, func() error { _, err := s.Save(ctx, []session.Change{{Session: bot("a")}}, now); return err })
	save := func(c session.KeyChange) func() error {
		return func() error {
			_, err := s.Save(ctx, []session.Change{{Session: bot("one"), Keys: []session.KeyChange{c}}}, now)
			return err
		}
	}
	expiring := hash("h", "a", "3")
	expiring.ExpireAt = now + 1
	trips("save one new string", 1, save(putString("s", "v")))
	trips("save one string", 1, save(putString("s", "w")))
	trips("save one hash", 2, save(put(hash("h", "a", "1", "b", "2"))))
	trips("save one field", 1, save(patch(hash("h", "a", "2"), 2)))
	// Tried in vain: it is not as it mostly is.
	trips("save one field and the expiry", 3, save(patch(expiring, 2)))
	trips("save one field of nothing", 3, save(patch(hash("absent", "a", "2"), 2)))
	trips("save a string where a hash was", 3, save(putString("h", "v")))
	trips("save the same again", 3, save(putString("h", "v")))
	trips("save nothing", 0, func() error { _, err := s.Save(ctx, nil, now); return err })
	trips("load", 1, func() error { _, err := s.Load(ctx, bot("7"), now); return err })
	trips("load nothing", 1, func() error { _, err := s.Load(ctx, bot("absent"), now); return err })
	trips("load many", 1, func() error { _, err := s.LoadMany(ctx, []session.ID{bot("1"), bot("2")}, now); return err })
	trips("delete", 1, func() error {
		return s.Delete(ctx, []session.Removal{{Session: bot("1"), Key: "s"}, {Session: bot("2"), Key: "h", Fields: []string{"a"}}})
	})
}
