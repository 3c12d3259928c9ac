package proxy_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"credproxy/internal/testenv"
	"credproxy/proxy"
)

var loginKeys = map[string]string{"pre-key-1": "one", "session-x": "y"}

// What the application's tables hold byte for byte is left to them: evicted keys are known by name, and come back as the
// application has them by then.
func TestOffLeavesToTheApplicationWhatItHas(t *testing.T) {
	a := newApp(t, nil)
	ctx := context.Background()
	a.login("a")
	a.wantGet(creds("a"), "creds of a")
	must(t, a.client.Set(ctx, creds("a"), "written by both", 0).Err())
	must(t, a.client.HDel(ctx, keysOf("a"), "session-x").Err())
	a.writes("a", creds("a"), "written by both")
	a.writes("a", keysOf("a"), "pre-key-1", "one")
	if n := a.stat("dirty_keys"); n != 0 || a.marked() != 0 {
		t.Errorf("%d dirty keys, %d marks for a session that is the application's", n, a.marked())
	}
	if n := a.admin("SYNC"); n != int64(0) {
		t.Errorf("SYNC saved %v keys", n)
	}
	a.evict("wa/a")
	a.wantAway(waID("a"), 2)
	if n := a.direct.Exists(ctx, creds("a"), keysOf("a")).Val(); n != 0 {
		t.Errorf("%d keys are still in Redis", n)
	}

	keys := a.client.Keys(ctx, "wa:*").Val()
	slices.Sort(keys)
	if want := []string{creds("a"), keysOf("a")}; !slices.Equal(keys, want) {
		t.Errorf("KEYS: %q, want %q", keys, want)
	}
	var hashes []string
	for it := a.client.ScanType(ctx, 0, "*", 100, "hash").Iterator(); it.Next(ctx); {
		hashes = append(hashes, it.Val())
	}
	if !slices.Equal(hashes, []string{keysOf("a")}) {
		t.Errorf("SCAN TYPE hash: %q", hashes)
	}
	if n := a.client.DBSize(ctx).Val(); n != 2 {
		t.Errorf("DBSIZE: %d, want 2", n)
	}
	if key := a.client.RandomKey(ctx).Val(); !slices.Contains(keys, key) {
		t.Errorf("RANDOMKEY: %q", key)
	}
	if n := a.sessionInfo("wa/a", "keys"); n != int64(2) {
		t.Errorf("SESSION says %v keys", n)
	}

	a.writes("a", creds("a"), "changed by the application")
	a.wantGet(creds("a"), "changed by the application")
	a.wantHash(keysOf("a"), map[string]string{"pre-key-1": "one"})
	a.evict("wa/a")
	a.wantAway(waID("a"), 2)
	a.sql(`DELETE FROM app`)
	a.wantGet(creds("a"), "") // the application has removed it
	a.evict("wa/a")
	a.wantAway(waID("a"), 0)
	if keys := a.client.Keys(ctx, "wa:*").Val(); len(keys) > 0 {
		t.Errorf("KEYS of what is gone: %q", keys)
	}
}

// One field differs: the whole session is kept, saved like in behind mode, until an eviction finds it equal again.
func TestOffKeepsWhatDiffers(t *testing.T) {
	a := newApp(t, nil)
	ctx := context.Background()
	a.login("d")
	must(t, a.client.HSet(ctx, keysOf("d"), "session-x", "newer").Err())
	a.evict("wa/d")
	whole := map[string]any{creds("d"): "creds of d", keysOf("d"): map[string]string{"pre-key-1": "one", "session-x": "newer"}}
	a.wantKept(waID("d"), whole)
	a.writes("d", creds("d"), "nobody asks for this")
	a.wantGet(creds("d"), "creds of d")

	must(t, a.client.Set(ctx, creds("d"), "saved behind", 0).Err())
	a.waitSaved(waID("d"), creds("d"), "saved behind")
	whole[creds("d")] = "saved behind"
	a.wantKept(waID("d"), whole)
	must(t, a.client.Del(ctx, keysOf("d")).Err()) // deleted in Postgres first
	delete(whole, keysOf("d"))
	a.wantKept(waID("d"), whole)
	a.admin("SYNC")
	a.evict("wa/d")
	a.wantKept(waID("d"), whole)

	a.wantGet(creds("d"), "saved behind")
	a.wantHash(keysOf("d"), map[string]string{})
	must(t, a.client.HSet(ctx, keysOf("d"), "a", "b").Err())
	a.writes("d", creds("d"), "saved behind")
	a.writes("d", keysOf("d"), "a", "b")
	a.evict("wa/d") // dirty or not: equal is equal
	a.wantAway(waID("d"), 2)
	a.wantHash(keysOf("d"), map[string]string{"a": "b"})

	must(t, a.client.Expire(ctx, creds("d"), time.Hour).Err()) // a source knows no expiry
	a.evict("wa/d")
	if a.inPostgres(waID("d")).Elsewhere {
		t.Error("a key with an expiry was left to the application")
	}
	if ttl := a.client.TTL(ctx, creds("d")).Val(); ttl < 50*time.Minute {
		t.Errorf("TTL %v after eviction", ttl)
	}
}

// The source still has what a client has deleted.
func TestOffDeletedDoesNotComeBack(t *testing.T) {
	a := newApp(t, nil)
	ctx := context.Background()
	for _, id := range []string{"one", "all"} {
		a.login(id)
		a.wantGet(creds(id), "creds of "+id)
	}
	must(t, a.client.Del(ctx, creds("one")).Err())
	must(t, a.client.Unlink(ctx, creds("all"), keysOf("all")).Err())
	for _, id := range []string{"one", "all"} {
		a.evict("wa/" + id)
	}
	a.wantKept(waID("one"), map[string]any{keysOf("one"): loginKeys})
	a.wantKept(waID("all"), map[string]any{})
	for _, id := range []string{"one", "all"} {
		a.wantGet(creds(id), "")
	}
	a.wantHash(keysOf("one"), loginKeys)
	a.wantHash(keysOf("all"), map[string]string{})

	a.login("again")
	a.evict2("again")
	a.wantAway(waID("again"), 2)
	a.wantGet(creds("again"), "creds of again")
	must(t, a.client.Unlink(ctx, creds("again"), keysOf("again")).Err()) // known by name, then all of it deleted
	a.evict("wa/again")
	a.wantKept(waID("again"), map[string]any{})
	a.wantGet(creds("again"), "")
}

// evict2 restores and evicts a session.
func (e *env) evict2(id string) {
	e.t.Helper()
	e.admin("RESTORE", "wa/"+id)
	e.evict("wa/" + id)
}

// A session that no table has yet, first touched by a write.
func TestOffNewSessions(t *testing.T) {
	a := newApp(t, nil)
	ctx := context.Background()
	must(t, a.client.Set(ctx, creds("n"), "new", 0).Err())
	must(t, a.client.HSet(ctx, keysOf("n"), "f", "v").Err())
	must(t, a.client.Set(ctx, creds("m"), "mirrored", 0).Err())
	a.writes("m", creds("m"), "mirrored")
	if s := a.inPostgres(waID("n")); s.Found || s.Elsewhere {
		t.Errorf("before any eviction Postgres has it: %s", describe(s))
	}
	a.evict("wa/n")
	a.evict("wa/m")
	a.wantKept(waID("n"), map[string]any{creds("n"): "new", keysOf("n"): map[string]string{"f": "v"}})
	a.wantAway(waID("m"), 1)
	a.wantGet(creds("n"), "new")
	a.wantGet(creds("m"), "mirrored")
	a.evict2("nobody")
	if s := a.inPostgres(waID("nobody")); s.Found || s.Elsewhere {
		t.Errorf("a session that nobody has was stored: %s", describe(s))
	}
}

// Keys that do not follow from the session's id leave Redis with the others, also when another process has written them.
func TestOffKeysOfAnyName(t *testing.T) {
	a := prepareApp(t, nil)
	ctx := context.Background()
	_, kill := a.startChild(time.Hour)
	a.writes("w", "s:w:source", "1")
	must(t, a.client.Set(ctx, "s:w:by a client", "2", 0).Err())
	must(t, a.client.RPush(ctx, "s:w:list", "3").Err())
	kill()
	a.start()
	must(t, a.client.Set(ctx, "s:w:later", "4", 0).Err())
	testenv.Eventually(t, 10*time.Second, "evicted", func() bool { return a.client.Do(ctx, "CREDPROXY", "EVICT", "any/w").Err() == nil })
	if keys := a.direct.Keys(ctx, "s:*").Val(); len(keys) > 0 {
		t.Errorf("left in Redis: %q", keys)
	}
	if n := len(a.inPostgres(anyID("w")).Keys); n != 4 {
		t.Errorf("%d keys are kept, want 4", n)
	}
	a.wantGet("s:w:source", "1")
	a.wantGet("s:w:by a client", "2")
	must(t, a.client.Del(ctx, "s:w:list").Err())
	for key, value := range map[string]string{"s:w:by a client": "2", "s:w:later": "4"} {
		a.writes("w", key, value)
	}
	a.admin("SYNC")
	a.evict("any/w")
	a.wantAway(anyID("w"), 3)
	a.wantGet("s:w:later", "4")
	a.sql(`DELETE FROM app WHERE key = 's:w:source'`)
	must(t, a.client.Set(ctx, "s:w:five", "5", 0).Err())
	a.evict("any/w")
	if keys := a.direct.Keys(ctx, "s:*").Val(); len(keys) > 0 {
		t.Errorf("left in Redis: %q", keys)
	}
	a.wantGet("s:w:source", "1")
	a.wantGet("s:w:five", "5")
}

// Sessions that were in Redis before the proxy are not saved, and go like the others.
func TestOffSessionsOfBefore(t *testing.T) {
	a := prepareApp(t, nil)
	ctx := context.Background()
	for _, id := range []string{"same", "other"} {
		a.login(id)
		must(t, a.direct.Set(ctx, creds(id), "creds of "+id, 0).Err())
		must(t, a.direct.HSet(ctx, keysOf(id), loginKeys).Err())
	}
	must(t, a.direct.Set(ctx, creds("other"), "newer", 0).Err())
	a.start()
	testenv.Eventually(t, 10*time.Second, "adoption", func() bool { return a.stat("adoption_pending") == 0 })
	a.waitState("wa/same", "resident")
	a.waitState("wa/other", "resident")
	if n := a.stat("saved_keys"); n != 0 {
		t.Errorf("%d keys were saved", n)
	}
	a.evict("wa/same")
	a.evict("wa/other")
	a.wantAway(waID("same"), 2)
	a.wantKept(waID("other"), map[string]any{creds("other"): "newer", keysOf("other"): loginKeys})
}

// Without an answer of the source nothing is evicted, and nothing is nil.
func TestOffWithoutTheSource(t *testing.T) {
	a := newApp(t, func(cfg *proxy.Config) { cfg.Sync.Wait = 300 * time.Millisecond })
	ctx := context.Background()
	for _, id := range []string{"in", "out", "kept"} {
		a.login(id)
		a.wantGet(creds(id), "creds of "+id)
	}
	must(t, a.client.Set(ctx, creds("kept"), "kept", 0).Err())
	a.evict("wa/out")
	a.evict("wa/kept")
	a.sql(`ALTER TABLE app RENAME TO away`)
	for _, id := range []string{"out", "unknown"} {
		if err := a.client.Get(ctx, creds(id)).Err(); err == nil || !strings.HasPrefix(err.Error(), "TRYAGAIN credproxy: ") {
			t.Errorf("GET of %s: %v, want TRYAGAIN", id, err)
		}
	}
	a.wantGet(creds("kept"), "kept")
	a.wantGet(creds("in"), "creds of in")
	for _, id := range []string{"in", "kept"} {
		if err := a.client.Do(ctx, "CREDPROXY", "EVICT", "wa/"+id).Err(); err == nil || !strings.Contains(err.Error(), "source") {
			t.Errorf("EVICT %s: %v, want an error that names the source", id, err)
		}
		a.waitState("wa/"+id, "resident")
	}
	a.sql(`ALTER TABLE away RENAME TO app`)
	a.evict("wa/in")
	a.evict("wa/kept")
	a.wantGet(creds("out"), "creds of out")
}

// Removals in a session that is the application's do not need Postgres; a kept one's do.
func TestOffWithoutPostgres(t *testing.T) {
	pg := testenv.Postgres(t)
	e := prepareEnv(t, offMode)
	e.cfg.Sync.Wait = 300 * time.Millisecond
	e.dsn = pg.DSN()
	a := withApp(e)
	a.start()
	ctx := context.Background()
	for _, id := range []string{"p", "q"} {
		a.login(id)
		must(t, a.client.Set(ctx, creds(id), "differs", 0).Err())
	}
	a.evict("wa/q")
	a.wantGet(creds("q"), "differs")
	must(t, pg.Stop(ctx))
	must(t, a.client.Set(ctx, creds("p"), "x", 0).Err())
	if n, err := a.client.Del(ctx, creds("p")).Result(); n != 1 || err != nil {
		t.Errorf("DEL in a session that is the application's: %d, %v", n, err)
	}
	pipe := a.client.TxPipeline()
	pipe.HDel(ctx, keysOf("p"), "session-x")
	pipe.Set(ctx, creds("p"), "again", 0)
	if _, err := pipe.Exec(ctx); err != nil {
		t.Errorf("a transaction with a removal: %v", err)
	}
	if err := a.client.Del(ctx, creds("q")).Err(); err == nil || !strings.HasPrefix(err.Error(), "TRYAGAIN ") {
		t.Errorf("DEL in a kept session: %v, want TRYAGAIN", err)
	}
	if err := a.client.Do(ctx, "CREDPROXY", "EVICT", "wa/p").Err(); err == nil {
		t.Error("evicted without Postgres")
	}
	a.wantGet(creds("p"), "again")
	testenv.RestartPostgres(t, pg)
	testenv.Eventually(t, 10*time.Second, "evicted", func() bool { return a.client.Do(ctx, "CREDPROXY", "EVICT", "wa/p").Err() == nil })
	a.wantKept(waID("p"), map[string]any{creds("p"): "again", keysOf("p"): map[string]string{"pre-key-1": "one"}})
}

// Commands over two sessions, one kept and one the application's.
func TestOffAcrossSessions(t *testing.T) {
	a := newApp(t, nil)
	ctx := context.Background()
	must(t, a.client.Set(ctx, creds("k"), "kept", 0).Err())
	a.evict("wa/k")
	a.wantGet(creds("k"), "kept")
	a.login("e")
	must(t, a.client.Rename(ctx, keysOf("e"), keysOf("k")).Err())
	must(t, a.client.Copy(ctx, creds("k"), creds("e"), 0, true).Err())
	a.admin("SYNC")
	a.wantKept(waID("k"), map[string]any{creds("k"): "kept", keysOf("k"): loginKeys})
	must(t, a.client.Rename(ctx, creds("k"), creds("f")).Err())
	a.admin("SYNC")
	a.wantKept(waID("k"), map[string]any{keysOf("k"): loginKeys})
	for _, id := range []string{"k", "e", "f"} {
		a.evict("wa/" + id)
	}
	a.wantKept(waID("e"), map[string]any{creds("e"): "kept"})
	a.wantKept(waID("f"), map[string]any{creds("f"): "kept"})
	a.wantHash(keysOf("e"), map[string]string{})
}

func TestOffFlush(t *testing.T) {
	a := newApp(t, func(cfg *proxy.Config) { cfg.Flush = proxy.FlushAll })
	ctx := context.Background()
	for _, id := range []string{"in", "out", "kept", "untouched"} {
		a.login(id)
	}
	a.wantGet(creds("in"), "creds of in")
	a.evict2("out")
	must(t, a.client.Set(ctx, creds("kept"), "kept", 0).Err())
	a.evict("wa/kept")
	if err := a.client.Do(ctx, "SWAPDB", "0", "1").Err(); err == nil || !strings.Contains(err.Error(), "SWAPDB") {
		t.Errorf("SWAPDB: %v, want a refusal", err)
	}
	must(t, a.client.FlushAll(ctx).Err())
	for round := range 2 {
		for _, id := range []string{"in", "out", "kept"} {
			a.wantGet(creds(id), "")
			a.wantHash(keysOf(id), map[string]string{})
			if round == 0 {
				a.evict("wa/" + id)
				a.wantKept(waID(id), map[string]any{})
			}
		}
	}
	a.wantGet(creds("untouched"), "creds of untouched") // the application's own, never seen here
	must(t, a.client.Set(ctx, creds("in"), "a new life", 0).Err())
	a.waitSaved(waID("in"), creds("in"), "a new life")
}
