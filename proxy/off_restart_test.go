package proxy_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// known waits until a proxy that was just started has looked at everything.
func (e *env) known() {
	e.t.Helper()
	testenv.Eventually(e.t, 10*time.Second, "start over", func() bool { return e.stat("adoption_pending") == 0 })
}

// A new process knows who is kept: of those writes are saved, of the others nothing is.
func TestOffNewProcess(t *testing.T) {
	for _, test := range []struct {
		name string
		kill bool
	}{{"after a clean stop", false}, {"after a kill", true}} {
		t.Run(test.name, func(t *testing.T) {
			a := prepareApp(t, nil)
			ctx := context.Background()
			var end func()
			if test.kill {
				_, end = a.startChild(time.Hour)
			} else {
				a.start()
				end = a.stop
			}
			for _, id := range []string{"kept", "away", "new", "out", "keptout"} {
				a.login(id)
				a.wantGet(creds(id), "creds of "+id)
			}
			for _, id := range []string{"kept", "keptout"} {
				must(t, a.client.HSet(ctx, keysOf(id), "own", id).Err())
				a.evict("wa/" + id)
			}
			a.evict("wa/away")
			a.evict("wa/out")
			a.wantGet(creds("away"), "creds of away")
			a.wantGet(creds("kept"), "creds of kept")
			must(t, a.client.Set(ctx, creds("kept"), "acknowledged", 0).Err()) // saved at the stop, or marked
			must(t, a.client.Set(ctx, creds("away"), "away from the row", 0).Err())
			must(t, a.client.Set(ctx, creds("new"), "new too", 0).Err())
			end()

			a.start()
			a.known()
			a.waitSaved(waID("kept"), creds("kept"), "acknowledged")
			before := a.store.Queries()
			for id, want := range map[string]string{"kept": "acknowledged", "away": "away from the row", "new": "new too"} {
				a.wantGet(creds(id), want)
			}
			if n := a.store.Queries() - before; n != 0 {
				t.Errorf("%d queries for sessions that are in Redis", n)
			}
			for _, id := range []string{"kept", "away", "new", "out", "keptout"} {
				must(t, a.client.HSet(ctx, keysOf(id), "after", "restart").Err())
			}
			a.admin("SYNC")
			for id, kept := range map[string]bool{"kept": true, "keptout": true, "away": false, "new": false, "out": false} {
				if s := a.inPostgres(waID(id)); s.Found != kept || s.Found && len(s.Keys) != 2 {
					t.Errorf("%s: %s, kept should be %v", id, describe(s), kept)
				}
			}
			for id, want := range map[string]string{"kept": "acknowledged", "away": "away from the row", "new": "new too",
				"out": "creds of out", "keptout": "creds of keptout"} {
				a.evict("wa/" + id)
				a.wantGet(creds(id), want)
			}
		})
	}
}

// Killed between the commit of an eviction and its EXEC.
func TestOffKilledAfterTheCommit(t *testing.T) {
	for _, test := range []struct {
		commit      string
		kept, equal bool
	}{{"stubs", true, true}, {"stubs", false, true}, {"save", true, false}, {"save", false, false}} {
		t.Run(fmt.Sprintf("%s, kept before: %v", test.commit, test.kept), func(t *testing.T) {
			a := prepareApp(t, nil)
			ctx := context.Background()
			a.login("x")
			if test.kept {
				_, kill := a.startChild(time.Hour)
				must(t, a.client.Set(ctx, creds("x"), "differs", 0).Err())
				a.evict("wa/x")
				a.wantGet(creds("x"), "differs")
				kill()
			}
			a.dieAfter, a.armed = test.commit, filepath.Join(t.TempDir(), "armed")
			_, kill := a.startChild(time.Hour)
			a.known() // the scan saves what is kept
			must(t, os.WriteFile(a.armed, nil, 0o600))
			want := map[string]string{"pre-key-1": "one", "session-x": "y"}
			must(t, a.client.Set(ctx, creds("x"), "creds of x", 0).Err())
			if !test.equal {
				want["extra"] = "field"
				must(t, a.client.HSet(ctx, keysOf("x"), "extra", "field").Err())
			}
			if err := a.client.Do(ctx, "CREDPROXY", "EVICT", "wa/x").Err(); err == nil {
				t.Fatal("the proxy was not killed")
			}
			kill()
			if n := a.direct.Exists(ctx, creds("x"), keysOf("x")).Val(); n != 2 {
				t.Fatalf("%d keys are in Redis", n)
			}

			a.start()
			a.known()
			testenv.Eventually(t, 5*time.Second, "marks gone", func() bool { return a.marked() == 0 })
			must(t, a.client.Set(ctx, creds("x"), "after", 0).Err())
			a.admin("SYNC")
			if s := a.inPostgres(waID("x")); s.Found == test.equal || s.Found && len(s.Keys) != 2 {
				t.Errorf("a part of the session is kept, or the wrong side has it: %s", describe(s))
			}
			a.evict("wa/x")
			a.wantGet(creds("x"), "after")
			a.wantHash(keysOf("x"), want)
		})
	}
}

// A Redis that has lost everything: what the application has comes from there, what was kept from here.
func TestOffRedisLosesEverything(t *testing.T) {
	e, dir := prepareEnv(t, offMode), t.TempDir()
	must(t, e.redis.Kill())
	e.startRedis(dir, e.redis.Port())
	a := withApp(e)
	a.start()
	ctx := context.Background()
	for _, id := range []string{"away", "kept"} {
		a.login(id)
		must(t, a.client.Set(ctx, creds(id), "in Redis", 0).Err())
	}
	a.evict("wa/kept")
	must(t, a.client.Set(ctx, creds("kept"), "kept", 0).Err())
	a.admin("SYNC")
	a.writes("away", creds("away"), "the application's")
	a.restartRedis(dir)
	a.wantGet(creds("away"), "the application's")
	a.wantGet(creds("kept"), "kept")
	a.wantHash(keysOf("kept"), loginKeys)
	must(t, a.client.Set(ctx, creds("kept"), "kept 2", 0).Err())
	a.waitSaved(waID("kept"), creds("kept"), "kept 2")
}

// The mode is changed back and forth; sessions are in Redis and out of it, equal to the application's rows and not.
func TestOffModesChange(t *testing.T) {
	e, dir := prepareEnv(t, nil), t.TempDir()
	must(t, e.redis.Kill())
	e.startRedis(dir, e.redis.Port())
	a := withApp(e)
	ctx := context.Background()
	ids := []string{"in", "out", "in2", "deleted", "gone"}
	for _, id := range ids {
		a.login(id)
	}
	a.start() // behind: everything is saved as it comes
	for _, id := range ids {
		a.wantGet(creds(id), "creds of "+id)
	}
	a.admin("SYNC")
	a.evict("wa/out")
	a.stop()

	a.cfg.Sync.Mode = proxy.SyncOff
	a.start()
	a.known()
	for _, id := range []string{"in", "out"} {
		a.wantKept(waID(id), map[string]any{creds(id): "creds of " + id, keysOf(id): loginKeys})
	}
	must(t, a.client.Set(ctx, creds("in"), "kept until it is evicted", 0).Err())
	a.waitSaved(waID("in"), creds("in"), "kept until it is evicted")
	for _, id := range ids[1:] {
		a.evict2(id)
		a.wantAway(waID(id), 2)
	}
	must(t, a.client.Set(ctx, creds("in2"), "in Redis only", 0).Err())
	must(t, a.client.Del(ctx, creds("deleted")).Err())
	must(t, a.client.Set(ctx, "s:any:a", "1", 0).Err())
	must(t, a.client.RPush(ctx, "s:any:b", "2").Err())
	must(t, a.client.Del(ctx, creds("gone"), keysOf("gone")).Err())
	a.stop()
	_, kill := a.startChild(time.Hour) // off once more, and killed
	kill()

	// Behind again: what only Redis has is saved before any part of it may be.
	a.cfg.Sync.Mode = proxy.SyncBehind
	a.start()
	a.known()
	a.admin("SYNC")
	a.wantKept(waID("in2"), map[string]any{creds("in2"): "in Redis only", keysOf("in2"): loginKeys})
	a.wantKept(waID("deleted"), map[string]any{keysOf("deleted"): loginKeys})
	a.wantKept(waID("gone"), map[string]any{})
	if s := a.inPostgres(anyID("any")); !s.Found || len(s.Keys) != 2 {
		t.Errorf("keys of any name: %s, want two kept", describe(s))
	}
	a.wantAway(waID("out"), 2)
	a.sql(`UPDATE app SET value = 'newer' WHERE field IS NULL AND id = 'out'`)
	a.wantGet(creds("out"), "newer")
	a.admin("SYNC")
	a.wantKept(waID("out"), map[string]any{creds("out"): "newer", keysOf("out"): loginKeys})
	a.sql(`DELETE FROM app`)
	a.restartRedis(dir)
	for id, want := range map[string]string{"in": "kept until it is evicted", "out": "newer", "in2": "in Redis only", "deleted": "", "gone": ""} {
		a.wantGet(creds(id), want)
	}
	a.wantGet("s:any:a", "1")
}

// A database that was used with "off" and has no source any more: an error, never nil.
func TestOffSourceIsGone(t *testing.T) {
	a := newApp(t, nil)
	a.login("x")
	a.evict2("x")
	a.stop()
	a.cfg.Sync.Mode, a.source, a.cfg.Sync.Wait = proxy.SyncBehind, "", 300*time.Millisecond
	a.start()
	a.known()
	c := a.wire()
	c.wantPrefix("-TRYAGAIN credproxy: ", "GET", creds("x"))
	c.wantPrefix("-TRYAGAIN credproxy: ", "DEL", creds("x"))
	a.stop()
	a.source = appQuery
	a.start()
	a.wantGet(creds("x"), "creds of x")
}

// Random commands; the application follows now and then; evictions, kills and restarts in between. Redis never loses anything,
// so every read must find what was written last.
func TestOffAtRandom(t *testing.T) {
	const sessions, rounds, steps = 4, 4, 150
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	a := prepareApp(t, nil)
	ctx := context.Background()
	truth := map[string]map[string]string{} // key -> field -> value; field "" of a string
	for round := range rounds {
		a.cfg.Sync.Mode = []proxy.SyncMode{proxy.SyncOff, proxy.SyncOff, proxy.SyncBehind, proxy.SyncOff}[round]
		_, kill := a.startChild(5 * time.Millisecond)
		for n := range steps {
			id := fmt.Sprint("r", rnd.IntN(sessions))
			value := fmt.Sprint(round, ".", n)
			switch rnd.IntN(9) {
			case 0, 1:
				must(t, a.client.Set(ctx, creds(id), value, 0).Err())
				truth[creds(id)] = map[string]string{"": value}
			case 2, 3:
				field := fmt.Sprint("f", rnd.IntN(3))
				must(t, a.client.HSet(ctx, keysOf(id), field, value).Err())
				if truth[keysOf(id)] == nil {
					truth[keysOf(id)] = map[string]string{}
				}
				truth[keysOf(id)][field] = value
			case 4:
				key := []string{creds(id), keysOf(id)}[rnd.IntN(2)]
				must(t, a.client.Del(ctx, key).Err())
				delete(truth, key)
			case 5, 6:
				a.follow(id, truth)
			case 7:
				_ = a.client.Do(ctx, "CREDPROXY", "EVICT", "wa/"+id).Err() // a busy or unknown one stays
			case 8:
				a.wantTruth(id, truth)
			}
			if t.Failed() {
				t.Fatalf("seed %d, round %d, step %d", seed, round, n)
			}
		}
		kill()
	}
	a.start()
	for s := range sessions {
		a.wantTruth(fmt.Sprint("r", s), truth)
		_ = a.client.Do(ctx, "CREDPROXY", "EVICT", fmt.Sprint("wa/r", s)).Err()
		a.wantTruth(fmt.Sprint("r", s), truth)
	}
}

// follow writes a session's truth to the application's table.
func (a *app) follow(id string, truth map[string]map[string]string) {
	a.t.Helper()
	a.sql(`DELETE FROM app WHERE id = $1`, id)
	for _, key := range []string{creds(id), keysOf(id)} {
		for field, value := range truth[key] {
			if field == "" {
				a.writes(id, key, value)
			} else {
				a.sql(`INSERT INTO app VALUES ($1, $2, $3, $4)`, id, key, field, value)
			}
		}
	}
}

func (a *app) wantTruth(id string, truth map[string]map[string]string) {
	a.t.Helper()
	a.wantGet(creds(id), truth[creds(id)][""])
	want := truth[keysOf(id)]
	if want == nil {
		want = map[string]string{}
	}
	a.wantHash(keysOf(id), want)
}
