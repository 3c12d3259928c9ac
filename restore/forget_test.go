package restore

import (
	"fmt"
	"testing"
	"time"

	"credproxy/internal/session"
)

func TestDeleteSessions(t *testing.T) {
	eachMode(t, func(t *testing.T, s *Store) {
		other := session.ID{DB: 1, Keyspace: "baileys", Name: "a"}
		for _, id := range []session.ID{bot("a"), bot("b"), bot("c"), other} {
			heat := session.Heat{LastAccess: now, Hits: 7, Bytes: 70}
			if _, err := s.Save(testContext(t), []session.Change{{Session: id, Heat: heat,
				Keys: []session.KeyChange{putString("s", "v"), put(hash("h", "a", "1"))}}}, now); err != nil {
				t.Fatal(err)
			}
		}
		ids := []session.ID{bot("b"), bot("a"), bot("never there"), bot("b")}
		before := s.Queries()
		if err := s.DeleteSessions(testContext(t), ids); err != nil {
			t.Fatal(err)
		}
		equal(t, "round trips", s.Queries()-before, 1)
		equal(t, "the caller's list", ids[0], bot("b"))
		for _, id := range ids {
			equal(t, id.Name, mustLoad(t, s, id), session.Snapshot{})
		}
		equal(t, "keys of others", len(mustLoad(t, s, bot("c")).Keys)+len(mustLoad(t, s, other).Keys), 4)
		equal(t, "rows", count(t, s, "SELECT (SELECT count(*) FROM credproxy.keys) * 100 + (SELECT count(*) FROM credproxy.fields)"), 402)
		listed, err := s.Sessions(testContext(t), 0, 10)
		if err != nil || len(listed) != 2 {
			t.Errorf("%d sessions are listed, %v; want 2", len(listed), err)
		}
		// A session that comes back begins anew.
		heat := session.Heat{LastAccess: 5, Hits: 1, Bytes: 2}
		if _, err := s.Save(testContext(t), []session.Change{{Session: bot("a"), Heat: heat}}, now); err != nil {
			t.Fatal(err)
		}
		equal(t, "saved again", mustLoad(t, s, bot("a")), session.Snapshot{Found: true, Heat: heat})
		if err := s.DeleteSessions(testContext(t), nil); err != nil {
			t.Error(err)
		}
	})
}

func TestPurge(t *testing.T) {
	eachMode(t, func(t *testing.T, s *Store) {
		hour := time.Hour.Milliseconds()
		var keys []session.KeyChange
		for i := range 30 {
			k := hash(fmt.Sprint("expired", i), "a", "1", "b", "2")
			k.ExpireAt = now - hour - int64(i)
			keep := putString(fmt.Sprint("not long", i), "v")
			keep.ExpireAt = now - hour + 1 + int64(i)
			keys = append(keys, put(k), keep, putString(fmt.Sprint("for ever", i), "v"))
		}
		mustSave(t, s, bot("a"), keys[:45]...)
		mustSave(t, s, bot("b"), keys[45:]...)
		for _, want := range []int{20, 10, 0} {
			n, err := s.Purge(testContext(t), now, 20)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "purged", n, want)
		}
		equal(t, "keys left", count(t, s, "SELECT count(*) FROM credproxy.keys"), 60)
		equal(t, "fields left", count(t, s, "SELECT count(*) FROM credproxy.fields"), 0)
		equal(t, "sessions", mustLoad(t, s, bot("a")).Found && mustLoad(t, s, bot("b")).Found, true)
		n, err := s.Purge(testContext(t), now+1, 20) // it begins again
		if n != 1 || err != nil {
			t.Errorf("the one that is due a millisecond later: %d, %v", n, err)
		}
	})
}

// TestPurgeWalksInSteps: more keys than one step looks at, the expired ones at the end.
func TestPurgeWalksInSteps(t *testing.T) {
	s := openStore(t, Config{})
	mustSave(t, s, bot("a"))
	sql(t, s, `INSERT INTO credproxy.keys (sid, key, type, form, value, expire_at)
		SELECT sid, convert_to(n::text, 'UTF8'), 1, 1, 'v', CASE WHEN n > 11990 THEN 1 END
		FROM credproxy.sessions, generate_series(1, 12000) n`)
	before := s.Queries()
	n, err := s.Purge(testContext(t), now, 1000)
	if n != 10 || err != nil {
		t.Errorf("purged %d, %v; want 10", n, err)
	}
	equal(t, "round trips", s.Queries()-before, 1+3+1) // fences, three steps, one removal
}

// TestPurgeSparesWhatWasSavedAnew: the key is saved between the look and the removal.
func TestPurgeSparesWhatWasSavedAnew(t *testing.T) {
	s := openStore(t, Config{})
	old := putString("k", "old")
	old.ExpireAt = 1
	mustSave(t, s, bot("a"), old)
	ctx := testContext(t)
	other, err := s.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Rollback(ctx) }()
	for _, statement := range []string{
		"SELECT FROM credproxy.sessions FOR NO KEY UPDATE", "UPDATE credproxy.keys SET expire_at = NULL",
	} {
		if _, err := other.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	purged := make(chan int)
	go func() {
		n, err := s.Purge(ctx, now, 10)
		if err != nil {
			t.Errorf("purge: %v", err)
		}
		purged <- n
	}()
	waitForLock(t, s)
	if err := other.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	equal(t, "purged", <-purged, 0)
	wantKeys(t, s, bot("a"), putString("k", "old").Key)
}

func TestPurgeRemovesOldFences(t *testing.T) {
	s := openStore(t, Config{})
	remove := func(name string) {
		t.Helper()
		if err := s.Delete(testContext(t), []session.Removal{{Session: bot(name), Key: "k"}}); err != nil {
			t.Fatal(err)
		}
	}
	mustSave(t, s, bot("known"))
	for _, name := range []string{"old", "refreshed", "young"} {
		remove(name)
	}
	sql(t, s, "UPDATE credproxy.sessions SET last_access = last_access - 3700000 WHERE id <> 'young'")
	remove("refreshed")
	if _, err := s.Purge(testContext(t), now, 10); err != nil {
		t.Fatal(err)
	}
	equal(t, "rows", count(t, s, "SELECT count(*) FROM credproxy.sessions WHERE id IN ('known', 'refreshed', 'young')"), 3)
	equal(t, "old rows", count(t, s, "SELECT count(*) FROM credproxy.sessions WHERE id = 'old'"), 0)
}
