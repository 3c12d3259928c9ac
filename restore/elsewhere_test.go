package restore

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"credproxy/internal/session"
	"credproxy/internal/testenv"
)

// stubs says that a session with these keys is elsewhere.
func stubs(id session.ID, keys ...session.Key) session.Change {
	c := session.Change{Session: id, Heat: session.Heat{LastAccess: 7, Hits: 3, Bytes: 9}}
	for _, k := range keys {
		c.Keys = append(c.Keys, session.KeyChange{Key: session.Key{Name: k.Name, Type: k.Type}})
	}
	return c
}

func mustStub(t testing.TB, s *Store, changes ...session.Change) {
	t.Helper()
	if err := s.SaveElsewhere(testContext(t), changes); err != nil {
		t.Fatal(err)
	}
}

func mustStored(t testing.TB, s *Store, id session.ID) session.Snapshot {
	t.Helper()
	got, err := s.LoadStored(testContext(t), []session.ID{id}, now)
	if err != nil {
		t.Fatal(err)
	}
	return got[0]
}

func mustKeys(t testing.TB, s *Store) (keys []string, pos map[string]int64) {
	t.Helper()
	list, err := s.Keys(testContext(t), 0, 0, 100, now)
	if err != nil {
		t.Fatal(err)
	}
	pos = map[string]int64{}
	for _, e := range list {
		keys = append(keys, fmt.Sprintf("%s %s %s", e.Session.Name, e.Key, e.Type))
		pos[e.Key] = e.Pos
	}
	return keys, pos
}

func TestElsewhere(t *testing.T) {
	eachMode(t, func(t *testing.T, s *Store) {
		long := strings.Repeat("long", 400)
		doomed := putString("doomed", "v")
		doomed.ExpireAt = now + 1000
		mustSave(t, s, bot("a"), put(hash("h", "f", "1", "g", "2")), putString("s", "v"), doomed)
		mustSave(t, s, bot("b"), putString("other", "untouched"))
		_, before := mustKeys(t, s)

		mustStub(t, s, stubs(bot("a"), hash("h"), putString("s", "").Key, session.Key{Name: long, Type: session.Hash}), stubs(bot("new")))
		want := session.Snapshot{Elsewhere: true, Stubs: []session.Key{{Name: "h", Type: session.Hash}, {Name: "s", Type: session.String}, {Name: long, Type: session.Hash}}, Heat: session.Heat{LastAccess: 7, Hits: 3, Bytes: 9}}
		equal(t, "stored", mustStored(t, s, bot("a")), want)
		equal(t, "rows of fields", count(t, s, "SELECT count(*) FROM credproxy.fields"), 0)
		equal(t, "values", count(t, s, "SELECT count(*) FROM credproxy.keys k JOIN credproxy.sessions s USING (sid) WHERE s.elsewhere AND (k.form <> 3 OR k.value IS NOT NULL)"), 0)
		keys, after := mustKeys(t, s)
		equal(t, "listed", keys, []string{"a h hash", "a s string", "b other string", "a " + long + " hash"})
		equal(t, "place of a key that stayed", after["h"], before["h"])
		wantKeys(t, s, bot("b"), putString("other", "untouched").Key)
		if _, err := s.Load(testContext(t), bot("a"), now); !errors.Is(err, errNoSource) {
			t.Errorf("loaded without a source: %v, want an error that says so", err)
		}
		if keys, err := s.KeysOf(testContext(t), bot("a"), now); !errors.Is(err, errNoSource) {
			t.Errorf("keys without a source: %q, %v, want an error that says so", keys, err)
		}
		kept, err := s.Kept(testContext(t), 0, 10)
		if err != nil || len(kept) != 1 || kept[0].Session != bot("b") {
			t.Errorf("kept: %v, %v", kept, err)
		}

		mustStub(t, s, stubs(bot("a"), putString("s", "").Key)) // again, with fewer keys
		equal(t, "stubs", mustStored(t, s, bot("a")).Stubs, []session.Key{{Name: "s", Type: session.String}})
		mustSave(t, s, bot("a")) // heat only
		equal(t, "stubs after a heat", len(mustStored(t, s, bot("a")).Stubs), 1)

		// Back: what the save does not name is forgotten, a stub is written over, and a patch does not fit it.
		patch := session.KeyChange{Op: session.Patch, Key: hash("s", "x", "y"), Len: 2}
		refused, err := s.Save(testContext(t), []session.Change{{Session: bot("a"), Keys: []session.KeyChange{patch}}}, now)
		if err != nil || len(refused) != 1 || !mustStored(t, s, bot("a")).Elsewhere {
			t.Fatalf("a patch of a stub: refused %v, %v", refused, err)
		}
		mustStub(t, s, stubs(bot("a"), putString("s", "").Key, putString("gone", "").Key))
		mustSave(t, s, bot("a"), put(hash("s", "x", "y")), putString("t", "w"))
		wantKeys(t, s, bot("a"), hash("s", "x", "y"), putString("t", "w").Key)
		equal(t, "found", mustStored(t, s, bot("a")).Found, true)
		mustStub(t, s, stubs(bot("a"), putString("s", "").Key))
		mustSave(t, s, bot("a"), session.KeyChange{Op: session.Delete, Key: session.Key{Name: "never there"}})
		equal(t, "keys of a session that is known to be empty", mustLoad(t, s, bot("a")).Keys, nil)
	})
}

// What is elsewhere is asked for there, each time, and nil is the truth only if the source says so.
func TestElsewhereAsksTheSource(t *testing.T) {
	dsn := testenv.DSN(t)
	sql(t, openStore(t, Config{DSN: dsn}), "CREATE TABLE app (id text, value text); INSERT INTO app VALUES ('a', '1')")
	s := openStore(t, Config{DSN: dsn, Source: "SELECT 'k', NULL, value FROM app WHERE id = $1"})
	mustStub(t, s, stubs(bot("a"), putString("k", "").Key))
	want := session.Snapshot{Elsewhere: true, FromSource: true, Stubs: []session.Key{{Name: "k", Type: session.String}},
		Heat: session.Heat{LastAccess: 7, Hits: 3, Bytes: 9}, Keys: []session.Key{putString("k", "1").Key}}
	equal(t, "snapshot", mustLoad(t, s, bot("a")), want)
	sql(t, s, "UPDATE app SET value = '2'")
	want.Keys[0].Value = []byte("2")
	equal(t, "changed there", mustLoad(t, s, bot("a")), want)
	sql(t, s, "DELETE FROM app")
	want.Keys, want.FromSource = nil, false
	equal(t, "gone there", mustLoad(t, s, bot("a")), want)
	sql(t, s, "ALTER TABLE app RENAME TO app2")
	if _, err := s.Load(testContext(t), bot("a"), now); err == nil {
		t.Error("a source that fails was taken for one that has nothing")
	}
	sql(t, s, "ALTER TABLE app2 RENAME TO app; INSERT INTO app VALUES ('a', '3')")
	for _, dbs := range [][]int{{0}, nil} {
		mustStub(t, s, stubs(bot("a"), putString("k", "").Key))
		if err := s.DeleteDB(testContext(t), dbs); err != nil {
			t.Fatal(err)
		}
		got := mustLoad(t, s, bot("a"))
		equal(t, "found after a flush", got.Found, true)
		equal(t, "keys after a flush", len(got.Keys), 0)
	}
	mustStub(t, s, stubs(bot("a"), putString("k", "").Key))
	if err := s.DeleteSessions(testContext(t), []session.ID{bot("a")}); err != nil {
		t.Fatal(err)
	}
	equal(t, "forgotten", mustStored(t, s, bot("a")), session.Snapshot{})
	mustSave(t, s, bot("a"), putString("k", "mine"))
	wantKeys(t, s, bot("a"), putString("k", "mine").Key)
}

// A call that Postgres carries out after a newer one changes nothing.
func TestElsewhereIsFenced(t *testing.T) {
	s := openStore(t, Config{})
	mustSave(t, s, bot("a"), putString("k", "1"))
	newer := s.order.current() + 10
	sql(t, s, "UPDATE credproxy.sessions SET fence = $1", newer)
	if err := s.SaveElsewhere(testContext(t), []session.Change{stubs(bot("a"))}); !errors.Is(err, ErrSuperseded) {
		t.Errorf("a late call: %v, want %v", err, ErrSuperseded)
	}
	wantKeys(t, s, bot("a"), putString("k", "1").Key)
}
