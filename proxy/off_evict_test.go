package proxy_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/testenv"
)

// evictFails wants an eviction to fail and the session to stay.
func (a *app) evictFails(id string) {
	a.t.Helper()
	err := a.client.Do(context.Background(), "CREDPROXY", "EVICT", id).Err()
	if err == nil {
		a.t.Fatalf("EVICT %s succeeded", id)
	}
	a.waitState(id, "resident")
}

// The eviction ends after its commit: somebody writes past the proxy, or the answer of Postgres is lost. The session stays, and
// whatever is saved of it next is all of it.
func TestOffEvictionThatFailsAfterItsCommit(t *testing.T) {
	lost := errors.New("the answer was lost")
	for _, test := range []struct {
		name    string
		kept    bool // before
		equal   bool // to the source, when it is evicted
		outcome error
	}{
		{"kept, handed over, EXEC fails", true, true, nil},
		{"kept, handed over, answer lost", true, true, lost},
		{"kept, saved, EXEC fails", true, false, nil},
		{"kept, saved, answer lost", true, false, lost},
		{"away, handed over, EXEC fails", false, true, nil},
		{"away, handed over, answer lost", false, true, lost},
		{"away, saved, EXEC fails", false, false, nil},
		{"away, saved, answer lost", false, false, lost},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newApp(t, nil)
			ctx := context.Background()
			a.login("x")
			a.wantGet(creds("x"), "creds of x")
			if test.kept {
				must(t, a.client.Set(ctx, creds("x"), "differs", 0).Err())
				a.evict("wa/x")
				must(t, a.client.Set(ctx, creds("x"), "creds of x", 0).Err()) // dirty when it is evicted
			}
			if !test.equal {
				must(t, a.client.HSet(ctx, keysOf("x"), "extra", "field").Err())
			}
			side := func() error {
				if test.outcome == nil {
					return a.direct.HSet(ctx, keysOf("x"), "side", "door").Err()
				}
				return test.outcome
			}
			a.bend.set(side, side)
			a.evictFails("wa/x")
			a.bend.set(nil, nil)

			keys := a.direct.HGetAll(ctx, keysOf("x")).Val()
			must(t, a.client.Set(ctx, creds("x"), "after", 0).Err())
			a.admin("SYNC")
			snap := a.inPostgres(waID("x"))
			switch {
			case snap.Found && len(snap.Keys) != 2:
				t.Fatalf("a part of the session is kept: %s", describe(snap))
			case snap.Found:
				a.waitSaved(waID("x"), creds("x"), "after")
			case !test.equal || (test.outcome != nil && test.kept):
				t.Errorf("not kept: %s", describe(snap))
			}
			a.evict("wa/x")
			a.wantKept(waID("x"), map[string]any{creds("x"): "after", keysOf("x"): keys})
			a.wantHash(keysOf("x"), keys)
			if n := a.stat("dirty_keys"); n != 0 {
				t.Errorf("%d dirty keys are left", n)
			}
			testenv.Eventually(t, 5*time.Second, "marks gone", func() bool { return a.marked() == 0 })
		})
	}
}

// TestOffFullRedis evicts the other way, by digests.
func TestOffFullRedis(t *testing.T) {
	a := prepareApp(t, nil)
	ctx := context.Background()
	a.start()
	for _, id := range []string{"eq", "df"} {
		a.login(id)
		a.wantGet(creds(id), "creds of "+id)
	}
	must(t, a.client.HSet(ctx, keysOf("df"), "more", "m").Err())
	must(t, a.direct.ConfigSet(ctx, "maxmemory", "1").Err())
	a.evict("wa/eq")
	a.evict("wa/df")
	must(t, a.direct.ConfigSet(ctx, "maxmemory", "0").Err())
	a.wantAway(waID("eq"), 2)
	a.wantKept(waID("df"), map[string]any{creds("df"): "creds of df", keysOf("df"): map[string]string{"pre-key-1": "one", "session-x": "y", "more": "m"}})
	a.wantGet(creds("eq"), "creds of eq")
	if err := a.client.Get(ctx, creds("nobody")).Err(); err != redis.Nil {
		t.Errorf("GET of nobody's: %v", err)
	}
}

// The schemas of docs/source.md, with an application that writes what clients write.
func TestOffSchemas(t *testing.T) {
	const written = `{"me":{"id":"55@s"},"n":1.50}`
	for _, test := range []struct {
		name, table, query string
		equal              bool
	}{
		{"a document per session", `CREATE TABLE bot_auth (session_id text PRIMARY KEY, creds jsonb, keys jsonb);
			INSERT INTO bot_auth VALUES ('x', '` + written + `', '{}')`,
			`SELECT 'wa:auth:' || session_id || ':creds', NULL, creds::text FROM bot_auth WHERE session_id = $1`, false},
		{"a row per key", `CREATE TABLE auth_rows (session_id text, type text, key text, value json);
			INSERT INTO auth_rows VALUES ('x', 'creds', '', '` + written + `')`,
			`SELECT 'wa:auth:' || session_id || ':creds', NULL, value FROM auth_rows WHERE session_id = $1 AND type = 'creds'`, true},
		{"a value per session", `CREATE TABLE public.sessions (session_key text PRIMARY KEY, data bytea);
			INSERT INTO public.sessions VALUES ('wa:auth:x:creds', '` + written + `')`,
			`SELECT session_key, NULL, data FROM public.sessions WHERE session_key = 'wa:auth:' || $1 || ':creds'`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := prepareApp(t, nil)
			a.sql(test.table)
			a.source = test.query
			a.start()
			must(t, a.client.Del(context.Background(), creds("x")).Err()) // it came from the source
			must(t, a.client.Set(context.Background(), creds("x"), written, 0).Err())
			a.evict("wa/x")
			if s := a.inPostgres(waID("x")); s.Elsewhere != test.equal {
				t.Errorf("%s: want it to be away: %v", describe(s), test.equal)
			}
			a.wantGet(creds("x"), written)
		})
	}
}
