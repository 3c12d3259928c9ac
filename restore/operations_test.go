package restore

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"credproxy/internal/session"
)

func TestDelete(t *testing.T) {
	eachMode(t, func(t *testing.T, s *Store) {
		long := strings.Repeat("k", 5000)
		dump := session.Key{Name: "dump", Type: session.Hash, Dump: []byte("d")}
		for _, id := range []session.ID{bot("a"), bot("b"), {DB: 1, Keyspace: "baileys", Name: "a"}} {
			mustSave(t, s, id, putString("s", "v"), put(hash("h", "a", "1", "b", "2", "", "3")), put(hash("gone", "a", "1")),
				put(dump), putString(long, "v"), putString("stays", "v"))
		}
		err := s.Delete(testContext(t), []session.Removal{
			{Session: bot("b"), Key: "s"},
			{Session: bot("a"), Key: "s"},
			{Session: bot("a"), Key: "h", Fields: []string{"a", "", "never there"}},
			{Session: bot("a"), Key: "gone", Fields: []string{"a"}},
			{Session: bot("a"), Key: "dump", Fields: []string{"a"}},
			{Session: bot("a"), Key: long},
			{Session: bot("a"), Key: "never there"},
			{Session: bot("never there"), Key: "s"},
			{Session: bot("a"), Key: "stays", Fields: []string{}},
		})
		if err != nil {
			t.Fatal(err)
		}
		stays := putString("stays", "v").Key
		wantKeys(t, s, bot("a"), hash("h", "b", "2"), dump, stays)
		equal(t, "keys of b", len(mustLoad(t, s, bot("b")).Keys), 5)
		equal(t, "keys of a in database 1", len(mustLoad(t, s, session.ID{DB: 1, Keyspace: "baileys", Name: "a"}).Keys), 6)

		for _, key := range []string{"h", "dump", "stays"} {
			if err := s.Delete(testContext(t), []session.Removal{{Session: bot("a"), Key: key}}); err != nil {
				t.Fatal(err)
			}
		}
		got := mustLoad(t, s, bot("a"))
		if !got.Found || len(got.Keys) != 0 {
			t.Errorf("a session without keys: %+v, want it known and empty", got)
		}
		equal(t, "orphaned fields", count(t, s, `SELECT count(*) FROM credproxy.fields f
			WHERE NOT EXISTS (SELECT FROM credproxy.keys k WHERE k.kid = f.kid)`), 0)
	})
}

func TestDeleteDBAndSwapDB(t *testing.T) {
	eachMode(t, func(t *testing.T, s *Store) {
		at := func(db int, name string) session.ID { return session.ID{DB: db, Keyspace: "k", Name: name} }
		for db := range 4 {
			mustSave(t, s, at(db, "both"), putString("k", fmt.Sprint(db)), put(hash("h", "db", fmt.Sprint(db))))
			mustSave(t, s, at(db, fmt.Sprint("only", db)), putString("k", "v"))
		}
		ctx := testContext(t)
		if err := s.SwapDB(ctx, 1, 2); err != nil {
			t.Fatal(err)
		}
		if err := s.SwapDB(ctx, 3, 3); err != nil {
			t.Fatal(err)
		}
		wantKeys(t, s, at(1, "both"), putString("k", "2").Key, hash("h", "db", "2"))
		wantKeys(t, s, at(2, "both"), putString("k", "1").Key, hash("h", "db", "1"))
		wantKeys(t, s, at(2, "only1"), putString("k", "v").Key)
		equal(t, "found where it was", mustLoad(t, s, at(1, "only1")).Found, false)

		if err := s.DeleteDB(ctx, []int{0, 2}); err != nil {
			t.Fatal(err)
		}
		for db, want := range []int{0, 2, 0, 2} {
			got := mustLoad(t, s, at(db, "both"))
			if !got.Found || len(got.Keys) != want {
				t.Errorf("database %d: found %v, %d keys, want %d", db, got.Found, len(got.Keys), want)
			}
		}
		if err := s.DeleteDB(ctx, []int{}); err != nil {
			t.Fatal(err)
		}
		equal(t, "keys after deleting no database", len(mustLoad(t, s, at(3, "both")).Keys), 2)
		if err := s.DeleteDB(ctx, nil); err != nil {
			t.Fatal(err)
		}
		equal(t, "rows left", count(t, s, "SELECT (SELECT count(*) FROM credproxy.keys) + (SELECT count(*) FROM credproxy.fields)"), 0)
		mustSave(t, s, at(0, "both"), putString("k", "new"))
		wantKeys(t, s, at(0, "both"), putString("k", "new").Key)
	})
}

func TestListings(t *testing.T) {
	eachMode(t, func(t *testing.T, s *Store) {
		long := strings.Repeat("n", 3000)
		want := map[string]bool{}
		for i := range 25 {
			id := bot(fmt.Sprint(long, i))
			id.DB = i % 2
			gone := putString(fmt.Sprint("expired", i), "v")
			gone.ExpireAt = now
			mustSave(t, s, id, putString(fmt.Sprint("s", i), "v"), put(hash(fmt.Sprint(long, i), "a", "1")), gone)
			if id.DB == 1 {
				want[fmt.Sprint(id.Name, "|s", i, " string")] = true
				want[fmt.Sprint(id.Name, "|", long, i, " hash")] = true
			}
		}
		ctx := testContext(t)
		got := map[string]bool{}
		pages := 0
		for after := int64(0); ; pages++ {
			page, err := s.Keys(ctx, 1, after, 7, now)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page {
				if e.Pos <= after || e.Session.DB != 1 || e.Session.Keyspace != "baileys" {
					t.Fatalf("entry %+v after position %d", e, after)
				}
				after = e.Pos
				got[fmt.Sprint(e.Session.Name, "|", e.Key, " ", e.Type)] = true
			}
			if len(page) < 7 {
				break
			}
		}
		equal(t, "keys", got, want)
		equal(t, "full pages", pages, 24/7)

		keys, err := s.KeysOf(ctx, bot(long+"0"), now)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "keys of a session", keys, []string{long + "0", "s0"})
		none, err := s.KeysOf(ctx, bot("nobody"), now)
		if err != nil || none != nil {
			t.Errorf("keys of nobody: %v, %v", none, err)
		}
		testSessions(t, s, 25)
	})
}

func testSessions(t *testing.T, s *Store, want int) {
	if _, err := s.Save(testContext(t), []session.Change{{Session: bot("empty"), Heat: session.Heat{LastAccess: 3, Hits: 4, Bytes: 5}}}, now); err != nil {
		t.Fatal(err)
	}
	sql(t, s, "UPDATE credproxy.keys SET expire_at = 99999999999999 WHERE type = 2") // after the clock of this machine
	var all []session.Summary
	for after := int64(0); ; after = all[len(all)-1].Pos {
		page, err := s.Sessions(testContext(t), after, 10)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page...)
		if len(page) < 10 {
			break
		}
	}
	if len(all) != want+1 {
		t.Fatalf("%d sessions, want %d", len(all), want+1)
	}
	for i, summary := range all[:want] {
		if summary.Keys != 2 || summary.Session.DB != i%2 || (i > 0 && summary.Pos <= all[i-1].Pos) {
			t.Errorf("summary %d: %d keys, db %d, pos %d", i, summary.Keys, summary.Session.DB, summary.Pos)
		}
	}
	last := all[want]
	equal(t, "an empty session", last, session.Summary{Pos: last.Pos, Session: bot("empty"),
		Heat: session.Heat{LastAccess: 3, Hits: 4, Bytes: 5}})
}

// TestConcurrentWriters lets writers meet on the same sessions in opposite orders.
func TestConcurrentWriters(t *testing.T) {
	s := openStore(t, Config{})
	const writers, rounds, sessions = 6, 25, 5
	ctx := testContext(t)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for round := range rounds {
				if err := writeAll(ctx, s, w, round, sessions); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for range rounds {
			if err := s.SwapDB(ctx, 8, 9); err != nil {
				t.Errorf("swap: %v", err)
			}
			if _, err := s.Load(ctx, bot("0"), now); err != nil {
				t.Errorf("load: %v", err)
			}
		}
	})
	wg.Wait()
	// Every writer deleted what it had put, so only the field that all write is left, in every hash that any has put.
	for i := range sessions {
		for _, k := range mustLoad(t, s, bot(fmt.Sprint(i))).Keys {
			if k.Type != session.Hash || len(k.Fields) != 1 || k.Fields[0].Name != "all" {
				t.Errorf("session %d: key %q has %d fields", i, k.Name, len(k.Fields))
			}
		}
	}
}

func writeAll(ctx context.Context, s *Store, writer, round, sessions int) error {
	field, own := fmt.Sprint("w", writer), fmt.Sprint("own", writer)
	var changes []session.Change
	var removals []session.Removal
	for n := range sessions {
		i := n
		if writer%2 == 1 {
			i = sessions - 1 - n
		}
		id := bot(fmt.Sprint(i))
		changes = append(changes, session.Change{Session: id, Keys: []session.KeyChange{
			patch(hash("h", "all", "x", field, fmt.Sprint(round)), 2), putString(own, "v")}})
		removals = append(removals, session.Removal{Session: id, Key: "h", Fields: []string{field}},
			session.Removal{Session: id, Key: own})
	}
	if _, err := s.Save(ctx, changes, now); err != nil {
		return err
	}
	return s.Delete(ctx, removals)
}

// TestPatchSeesWhatItWaitedFor: whether a patch fits is decided by what the writer before it has committed.
func TestPatchSeesWhatItWaitedFor(t *testing.T) {
	s := openStore(t, Config{})
	mustSave(t, s, bot("a"), put(hash("h", "a", "1", "b", "2")))
	ctx := testContext(t)
	other, err := s.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Rollback(ctx) }()
	for _, statement := range []string{
		"SELECT FROM credproxy.sessions FOR NO KEY UPDATE", "DELETE FROM credproxy.keys",
	} {
		if _, err := other.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	result := make(chan []session.Ref)
	go func() {
		refused, err := s.Save(ctx, []session.Change{{Session: bot("a"), Keys: []session.KeyChange{patch(hash("h", "a", "9"), 2)}}}, now)
		if err != nil {
			t.Errorf("save: %v", err)
		}
		result <- refused
	}()
	waitForLock(t, s)
	if err := other.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	equal(t, "refused", <-result, []session.Ref{{Session: bot("a"), Key: "h"}})
	equal(t, "half a hash", count(t, s, "SELECT count(*) FROM credproxy.fields"), 0)
}
