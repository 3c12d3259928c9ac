package proxy_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"credproxy/internal/resp"
	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// scanKeys walks a whole SCAN and returns every key, as often as it came.
func scanKeys(c *wire, options ...string) (keys []string) {
	c.t.Helper()
	for cursor := "0"; ; {
		v := parseReply(c.t, c.ask(append([]string{"SCAN", cursor}, options...)...))
		if len(v.Elems) != 2 {
			c.t.Fatalf("SCAN %s %q: %+v", cursor, options, v)
		}
		for _, e := range v.Elems[1].Elems {
			keys = append(keys, string(e.Str))
		}
		if cursor = string(v.Elems[0].Str); cursor == "0" {
			return keys
		}
	}
}

func sortedKeys(v resp.Value) (keys []string) {
	for _, e := range v.Elems {
		keys = append(keys, string(e.Str))
	}
	slices.Sort(keys)
	return keys
}

// newListingEnv has 40 sessions of three keys, half of them evicted, and 10 keys of no session.
func newListingEnv(t *testing.T) (e *env, c *wire, all []string) {
	e = newEnv(t, nil)
	c = e.wire()
	for i := range 40 {
		for kind, args := range map[string][]string{"str": {"SET", "v"}, "hash": {"HSET", "f", "v"}, "list": {"RPUSH", "v"}} {
			key := fmt.Sprintf("s:l%d:%s", i, kind)
			c.ask(append([]string{args[0], key}, args[1:]...)...)
			all = append(all, key)
		}
	}
	for i := range 10 {
		key := fmt.Sprint("outside", i)
		c.want("+OK\r\n", "SET", key, "v")
		all = append(all, key)
	}
	e.admin("SYNC")
	for i := range 20 {
		e.evict(fmt.Sprintf("any/l%d", 2*i))
	}
	slices.Sort(all)
	return e, c, all
}

func matching(all []string, f func(string) bool) []string {
	return slices.DeleteFunc(slices.Clone(all), func(k string) bool { return !f(k) })
}

func TestListingsIncludeEvictedSessions(t *testing.T) {
	e, c, all := newListingEnv(t)
	c.want(fmt.Sprintf(":%d\r\n", len(all)), "DBSIZE")
	hashes := matching(all, func(k string) bool { return strings.HasSuffix(k, ":hash") })
	for _, test := range []struct {
		pattern string
		want    []string
	}{
		{"*", all},
		{"s:*:hash", hashes},
		{"s:l2:*", []string{"s:l2:hash", "s:l2:list", "s:l2:str"}},
		{"s:l[12]:str", []string{"s:l1:str", "s:l2:str"}},
		{"outside?", matching(all, func(k string) bool { return k[0] == 'o' })},
		{"nothing*", nil},
		{"credproxy:*", nil},
	} {
		if got := sortedKeys(parseReply(t, c.ask("KEYS", test.pattern))); !slices.Equal(got, test.want) {
			t.Errorf("KEYS %s: %v, want %v", test.pattern, got, test.want)
		}
		got := scanKeys(c, "MATCH", test.pattern, "COUNT", "7")
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, test.want) {
			t.Errorf("SCAN MATCH %s: %v, want %v", test.pattern, got, test.want)
		}
	}
	got := scanKeys(c, "TYPE", "hash")
	slices.Sort(got)
	if !slices.Equal(slices.Compact(got), hashes) {
		t.Errorf("SCAN TYPE hash: %v", got)
	}
	if n := e.stat("sessions_evicted"); n != 20 {
		t.Errorf("listing has restored sessions: %d of 20 are still evicted", n)
	}
	for range 50 {
		if key := string(parseReply(t, c.ask("RANDOMKEY")).Str); !slices.Contains(all, key) {
			t.Fatalf("RANDOMKEY: %q", key)
		}
	}
	// What is deleted is listed no more, saved or not.
	c.want(":2\r\n", "DEL", "s:l2:str", "s:l3:str")
	c.want(fmt.Sprintf(":%d\r\n", len(all)-2), "DBSIZE")
	if got := parseReply(t, c.ask("KEYS", "s:l[23]:str")); len(got.Elems) != 0 {
		t.Errorf("KEYS lists what was deleted: %v", sortedKeys(got))
	}
}

// A full SCAN shows every key while sessions leave and come back all the time.
func TestScanWhileSessionsMove(t *testing.T) {
	e, c, all := newListingEnv(t)
	mover := e.wire()
	var stop atomic.Bool
	var moves atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; !stop.Load(); i++ {
			if reply, err := mover.do("CREDPROXY", "EVICT", fmt.Sprintf("any/l%d", i*7%40)); err == nil && reply == ":1\r\n" {
				moves.Add(1)
			}
			if _, err := mover.do("GET", fmt.Sprintf("s:l%d:str", i*11%40)); err != nil {
				break
			}
		}
	}()
	for round := 0; round < 15 || (moves.Load() < 50 && round < 500); round++ {
		got := scanKeys(c, "COUNT", fmt.Sprint(3+round%15*5))
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, all) {
			missing := matching(all, func(k string) bool { return !slices.Contains(got, k) })
			t.Errorf("round %d: missing %v, too many %v", round, missing, matching(got, func(k string) bool { return !slices.Contains(all, k) }))
		}
		if keys := sortedKeys(parseReply(t, c.ask("KEYS", "*"))); !slices.Equal(keys, all) {
			t.Errorf("round %d: KEYS lists %d keys of %d", round, len(keys), len(all))
		}
	}
	stop.Store(true)
	<-done
	if n := moves.Load(); n < 50 {
		t.Errorf("%d evictions: nothing was tried", n)
	}
}

func TestListingErrorsAreRedis(t *testing.T) {
	e := newEnv(t, nil)
	direct, c := dialWire(t, e.redis.Addr()), e.wire()
	for _, call := range []string{"SCAN", "SCAN x", "SCAN 0 COUNT 0", "SCAN 0 COUNT x", "SCAN 0 MATCH", "SCAN 0 NOSUCH 1", "KEYS", "KEYS a b", "DBSIZE x",
		"SCAN -1", "SCAN 99999999999999999999", "RANDOMKEY x", "RANDOMKEY", "KEYS *", "DBSIZE"} {
		args := strings.Fields(call)
		if got, want := c.ask(args...), direct.ask(args...); got != want {
			t.Errorf("%s: %q, want %q", call, got, want)
		}
	}
}

// The proxy's own keys are nobody else's.
func TestOwnKeysAreOutOfReach(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	c.want("+OK\r\n", "SET", "s:a:k", "v")
	if len(e.direct.Keys(context.Background(), "credproxy:*").Val()) == 0 {
		t.Fatal("the proxy has no keys of its own: nothing to protect")
	}
	const refusal = "-NOPERM credproxy: keys that start with \"credproxy:\" belong to the proxy\r\n"
	for _, call := range []string{"GET credproxy:2:run", "SET credproxy:x v", "DEL credproxy:2:dirty", "HGETALL credproxy:2:dirty", "MGET s:a:k credproxy:2:run",
		"RENAME s:a:k credproxy:k", "EVAL return(1) 1 credproxy:2:run", "TYPE credproxy:2:run", "WATCH credproxy:2:run", "BLPOP credproxy:l 1",
		"SORT s:a:k STORE credproxy:k", "OBJECT ENCODING credproxy:2:run"} {
		c.want(refusal, strings.Fields(call)...)
	}
	c.want("+OK\r\n", "MULTI")
	c.want(refusal, "GET", "credproxy:2:run")
	c.want("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")
	c.want(bulksReply("s:a:k"), "KEYS", "*")
	c.want(":1\r\n", "DBSIZE")
	if keys := slices.Compact(scanKeys(c)); !slices.Equal(keys, []string{"s:a:k"}) {
		t.Errorf("SCAN: %v", keys)
	}
	c.want("$1\r\nv\r\n", "GET", "s:a:k")
}

// A script has deleted a key, which is not saved yet; while a listing has the old row in its hands, its session is evicted, or is on its way.
func TestListingOfADeletedKeyThatIsEvicted(t *testing.T) {
	for name, evict := range map[string]func(e *env){
		"evicted":  func(e *env) { e.evict("any/a") },
		"evicting": (*env).evictHalf,
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, func(cfg *proxy.Config) { cfg.Sync.Interval = time.Minute })
			c := e.wire()
			for _, list := range []func() []string{
				func() []string { return scanKeys(c) },
				func() []string { return sortedKeys(parseReply(t, c.ask("KEYS", "*"))) },
				func() []string { return []string{string(parseReply(t, c.ask("RANDOMKEY")).Str)} },
			} {
				c.want("+OK\r\n", "SET", "s:a:k", "v")
				c.want("+OK\r\n", "SET", "s:other:k", "v")
				e.admin("SYNC")
				c.want(":1\r\n", "EVAL", "return redis.call('DEL', KEYS[1])", "1", "s:a:k")
				evicted := false
				then := func() { evicted = true; evict(e) }
				e.bend.afterKeys.Store(&then)
				if got := list(); !slices.Equal(got, []string{"s:other:k"}) {
					t.Errorf("%q", got)
				}
				if e.bend.afterKeys.Store(nil); !evicted {
					e.evict("any/a") // RANDOMKEY need not look at what is stored
				}
				testenv.Eventually(t, wirePatience, "a session at rest", func() bool { return e.states()["any/a"] != "evicting" })
			}
		})
	}
}

// evictHalf returns when an eviction of session a has got as far as its commit, with a quarter of a second to go.
func (e *env) evictHalf() {
	committed := make(chan struct{})
	e.bend.set(func() error {
		close(committed)
		time.Sleep(250 * time.Millisecond) // Postgres takes its time to say so
		return nil
	}, nil)
	go func() {
		e.client.Do(context.Background(), "CREDPROXY", "EVICT", "any/a")
		e.bend.set(nil, nil)
	}()
	<-committed
}
