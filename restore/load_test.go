package restore

import (
	"errors"
	"fmt"
	"testing"

	"credproxy/internal/session"
)

func TestLoadOfNothing(t *testing.T) {
	eachMode(t, func(t *testing.T, s *Store) {
		equal(t, "absent session", mustLoad(t, s, bot("nobody")), session.Snapshot{})
		many, err := s.LoadMany(testContext(t), nil, now)
		if many != nil || err != nil {
			t.Errorf("LoadMany of nothing: %v, %v", many, err)
		}
	})
}

func TestLoadLeavesOutWhatExpired(t *testing.T) {
	s := openStore(t, Config{})
	for i, at := range []int64{now - 1, now, now + 1} {
		h := hash(fmt.Sprintf("h%d", i), "a", "1")
		str := putString(fmt.Sprintf("s%d", i), "v")
		h.ExpireAt, str.ExpireAt = at, at
		mustSave(t, s, bot("a"), put(h), str)
	}
	h, str := hash("h2", "a", "1"), putString("s2", "v").Key
	h.ExpireAt, str.ExpireAt = now+1, now+1
	wantKeys(t, s, bot("a"), h, str)

	later, err := s.Load(testContext(t), bot("a"), now+1)
	if err != nil || !later.Found || len(later.Keys) != 0 {
		t.Errorf("a session whose keys have all expired: %+v, %v; want it found without keys", later, err)
	}
}

func TestLoadManyKeepsTheOrder(t *testing.T) {
	eachMode(t, func(t *testing.T, s *Store) {
		var ids []session.ID
		for i := range 40 {
			ids = append(ids, session.ID{DB: i % 3, Keyspace: "k", Name: fmt.Sprint(99 - i)})
			if i%4 == 0 {
				continue // is not there
			}
			mustSave(t, s, ids[i], put(hash("h", "which", fmt.Sprint(i))), putString("s", fmt.Sprint(i)))
		}
		ids = append(ids, ids[1]) // asked for twice
		got, err := s.LoadMany(testContext(t), ids, now)
		if err != nil || len(got) != len(ids) {
			t.Fatalf("%d snapshots of %d, %v", len(got), len(ids), err)
		}
		for i, snapshot := range got {
			if i == 40 {
				i = 1
			}
			if snapshot.Found != (i%4 != 0) {
				t.Fatalf("snapshot %d: found %v", i, snapshot.Found)
			}
			if !snapshot.Found {
				continue
			}
			want := fmt.Sprint(i)
			sortKeys(snapshot.Keys)
			if len(snapshot.Keys) != 2 || string(snapshot.Keys[0].Fields[0].Value) != want || string(snapshot.Keys[1].Value) != want {
				t.Errorf("snapshot %d holds another session: %+v", i, snapshot.Keys)
			}
		}
	})
}

func TestPoisonIsNamedAndTheRestServed(t *testing.T) {
	eachMode(t, func(t *testing.T, s *Store) {
		mustSave(t, s, bot("a"), putString("good", "v"), put(hash("h", "a", "1")), putString("future type", "v"),
			putString("future form", "v"), putString("no value", "v"), put(hash("field of poison", "a", "1")), put(hash("hash and value", "a", "1")))
		mustSave(t, s, bot("b"), putString("fine", "v"))
		sql(t, s, "UPDATE credproxy.keys SET type = 300 WHERE key = 'future type'")
		sql(t, s, "UPDATE credproxy.keys SET form = 9 WHERE key IN ('future form', 'field of poison')")
		sql(t, s, "UPDATE credproxy.keys SET value = NULL WHERE key = 'no value'")
		sql(t, s, "UPDATE credproxy.keys SET value = 'v' WHERE key = 'hash and value'")

		got, err := s.LoadMany(testContext(t), []session.ID{bot("b"), bot("a")}, now)
		var poison *PoisonError
		if !errors.As(err, &poison) || Temporary(err) || len(poison.Keys) != 5 {
			t.Fatalf("error %v, want one that names 5 keys and is not temporary", err)
		}
		for _, ref := range poison.Keys {
			equal(t, "session of the poison", ref.Session, bot("a"))
		}
		if len(got) != 2 || len(got[0].Keys) != 1 || len(got[1].Keys) != 2 {
			t.Errorf("the rest was not served: %+v", got)
		}
		one, err := s.Load(testContext(t), bot("a"), now)
		if !errors.As(err, &poison) || !one.Found || len(one.Keys) != 2 {
			t.Errorf("Load: %+v, %v", one, err)
		}
		// The caller's way out: what Redis holds replaces the poison.
		mustSave(t, s, bot("a"), putString("future type", "1"), putString("future form", "2"), putString("no value", "3"),
			put(hash("hash and value", "a", "1")),
			session.KeyChange{Op: session.Delete, Key: session.Key{Name: "field of poison"}})
		equal(t, "keys after repair", len(mustLoad(t, s, bot("a")).Keys), 6)
	})
}
