package proxy_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"credproxy/internal/testenv"
)

func TestCleanRestart(t *testing.T) {
	e := newEnv(t, rarely)
	c := e.wire()
	e.stayAndGo(c, 20)
	c.want("+OK\r\n", "SET", "s:stay0:late", "written just before the stop")
	for range 7 {
		c.want(bulkReply("value stay3"), "GET", "s:stay3:k")
	}
	hits := e.sessionInfo("any/stay3", "hits")
	before := e.lastAccess()
	e.stop()
	if marks := e.direct.HLen(context.Background(), "credproxy:2:dirty").Val(); marks != 0 {
		t.Errorf("%d marks are left after a clean stop", marks)
	}
	e.start()
	if v := e.saved(anyID("stay0"), "s:stay0:late"); v != "written just before the stop" {
		t.Errorf("Postgres has %q", v)
	}
	testenv.Eventually(t, 10*time.Second, "all sessions known", func() bool { return len(e.states()) == 40 })
	if got := e.sessionInfo("any/stay3", "hits"); got != hits {
		t.Errorf("%v hits, want %v", got, hits)
	}
	after := e.lastAccess()
	for id, at := range before {
		if d := at - after[id]; d < 0 || d > 100 { // Redis keeps tenths of a second
			t.Errorf("%s was used %d ms earlier than before the restart", id, d)
		}
	}
	c = e.wire()
	if n := e.queries(func() { wantSessions(c, "stay", 20) }); n != 0 {
		t.Errorf("%d queries for sessions that are in Redis", n)
	}
	if n := e.queries(func() { wantSessions(c, "gone", 20) }); n != 20 {
		t.Errorf("%d queries for 20 evicted sessions", n)
	}
}

// lastAccess lists when each session was used, in unix milliseconds.
func (e *env) lastAccess() map[string]int64 {
	e.t.Helper()
	at := map[string]int64{}
	for _, s := range e.listed("lru") {
		at[s["id"].(string)] = s["last_access"].(int64)
	}
	return at
}

// order lists the sessions from the least recently used one on.
func (e *env) order() (ids []string) {
	e.t.Helper()
	for _, s := range e.listed("lru") {
		ids = append(ids, s["id"].(string))
	}
	return ids
}

func TestKilledProxyKnowsItsSessions(t *testing.T) {
	e := prepareEnv(t, rarely)
	addr, kill := e.startChild(time.Hour)
	c := dialWire(t, addr)
	e.stayAndGo(c, 20)
	c.want("+OK\r\n", "SET", "s:stay0:late", "acknowledged, not saved")
	c.want(":1\r\n", "HSET", "s:stay1:hash", "f", "acknowledged, not saved")
	c.want("+OK\r\n", "SET", "s:new:k", "of a session that Postgres has not seen")
	kill()

	e.cfg.Sync.Interval = 20 * time.Millisecond
	e.start()
	e.waitSaved(anyID("stay0"), "s:stay0:late", "acknowledged, not saved") // nothing has touched it
	e.waitSaved(anyID("new"), "s:new:k", "of a session that Postgres has not seen")
	testenv.Eventually(t, 10*time.Second, "start over", func() bool {
		return len(e.states()) == 41 && e.stat("adoption_pending") == 0 && e.stat("dirty_keys") == 0
	})
	e.settled()
	if n := e.direct.HLen(context.Background(), "credproxy:2:dirty").Val(); n != 0 {
		t.Errorf("%d marks are left", n)
	}
	c = e.wire()
	if n := e.queries(func() { wantSessions(c, "stay", 20) }); n != 0 {
		t.Errorf("%d queries for sessions that are in Redis", n)
	}
	if n := e.queries(func() { wantSessions(c, "gone", 20) }); n != 20 {
		t.Errorf("%d queries for 20 evicted sessions", n)
	}
	e.evict("any/stay1")
	c.want(bulksReply("f", "acknowledged, not saved"), "HGETALL", "s:stay1:hash")
}

// nextTick lets so much time pass that accesses before and after it differ in the coarse clock of the heat.
func nextTick(t *testing.T) {
	t.Helper()
	from := time.Now()
	testenv.Eventually(t, time.Second, "time to pass", func() bool { return time.Since(from) > 120*time.Millisecond })
}

// The heat of a killed proxy: hits to the letter, and the order in which sessions were used.
func TestKilledProxyKeepsTheOrder(t *testing.T) {
	e := prepareEnv(t, rarely)
	addr, kill := e.startChild(time.Hour)
	c := dialWire(t, addr)
	const n = 12
	var want []string
	for i := range n {
		fillSessions(c, fmt.Sprint("o", i, "-"), 1)
		want = append(want, fmt.Sprintf("o%d-0", i))
		nextTick(t)
	}
	e.admin("SYNC")
	for range 5 {
		wantSessions(c, "o4-", 1)
	}
	hits := e.sessionInfo("any/o4-0", "hits").(int64)
	testenv.Eventually(t, 10*time.Second, "access times in Redis", func() bool { return e.flushedHits()["any/o4-0"] == uint64(hits) })
	kill()
	e.start()
	want = append(slices.Delete(want, 4, 5), "o4-0")
	if got := e.order(); !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
	if got := e.sessionInfo("any/o4-0", "hits"); got != hits {
		t.Errorf("%v hits, want %d", got, hits)
	}
	if e.order()[0] != "o0-0" {
		t.Errorf("asking has changed the order")
	}
}

func TestSessionsOfBeforeAreAdopted(t *testing.T) {
	e := prepareEnv(t, nil)
	ctx := context.Background()
	for i := range 2000 {
		must(t, e.direct.Set(ctx, fmt.Sprintf("s:old%d:k", i), fmt.Sprint("v", i), 0).Err())
	}
	must(t, e.direct.HSet(ctx, "wa:auth:old:keys", "f", "v").Err())
	must(t, e.direct.RPush(ctx, "s:old1:list", "a", "b").Err())
	must(t, e.direct.Set(ctx, "elsewhere", "not a session's", 0).Err())
	e.start()
	testenv.Eventually(t, 15*time.Second, "adoption", func() bool { return e.stat("adoption_pending") == 0 })
	if looked, all := e.stat("adoption_keys"), e.stat("adoption_keys_total"); looked < 2003 || all < 2003 {
		t.Errorf("the status says that %d of %d keys were looked at", looked, all)
	}
	for i := range 2000 {
		if i%97 == 0 {
			if v := e.saved(anyID(fmt.Sprint("old", i)), fmt.Sprintf("s:old%d:k", i)); v != fmt.Sprint("v", i) {
				t.Fatalf("Postgres has %q of old%d", v, i)
			}
		}
	}
	e.evict("any/old1")
	e.evict("wa/old")
	if n := e.direct.Exists(ctx, "s:old1:k", "s:old1:list", "wa:auth:old:keys").Val(); n != 0 {
		t.Errorf("%d keys are still in Redis", n)
	}
	c := e.wire()
	c.want(bulksReply("a", "b"), "LRANGE", "s:old1:list", "0", "-1")
	c.want(bulkReply("v1"), "GET", "s:old1:k")
	c.want(bulksReply("f", "v"), "HGETALL", "wa:auth:old:keys")
	c.want(bulkReply("not a session's"), "GET", "elsewhere")
}

// killModel is what one client knows of its keys: the last acknowledged state, and what was in flight when the proxy died.
type killModel struct {
	acked   map[string]string // key -> value, "" for deleted
	pending map[string]string // the one command without an answer
}

// work sets and deletes the client's own keys until the proxy dies.
func (m *killModel) work(c *wire, owner int, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, uint64(owner)))
	for n := 0; ; n++ {
		key := fmt.Sprintf("s:k%d-%d:k%d", owner, rnd.IntN(4), rnd.IntN(4))
		value, args := "", []string{"DEL", key}
		if rnd.IntN(3) > 0 {
			value = fmt.Sprintf("%d.%d.%d", seed, owner, n)
			args = []string{"SET", key, value}
		}
		m.pending = map[string]string{key: value}
		reply, err := c.do(args...)
		if err != nil {
			return
		}
		if reply[0] == '-' {
			panic("the proxy refused " + args[0] + ": " + reply)
		}
		m.acked[key], m.pending = value, nil
	}
}

// A proxy is killed at any moment, again and again. What was acknowledged is there, and what was deleted stays deleted, also
// when every session has been through Postgres since.
func TestKilledAtAnyMoment(t *testing.T) {
	const clients, rounds = 6, 5
	e := prepareEnv(t, nil)
	var models [clients]killModel
	for i := range models {
		models[i].acked = map[string]string{}
	}
	for round := range uint64(rounds) {
		addr, kill := e.startChild(5 * time.Millisecond)
		var wg sync.WaitGroup
		for i := range models {
			c := dialWire(t, addr)
			wg.Go(func() { models[i].work(c, i, round) })
		}
		evictor := dialWire(t, addr)
		until := time.Now().Add(time.Duration(100+rand.IntN(200)) * time.Millisecond)
		for n := 0; time.Now().Before(until); n++ {
			_, err := evictor.do("CREDPROXY", "EVICT", fmt.Sprintf("any/k%d-%d", n%clients, n/clients%4))
			must(t, err)
		}
		kill()
		wg.Wait()

		_, kill = e.startChild(5 * time.Millisecond)
		e.admin("SYNC")
		for i := range models {
			e.checkModel(&models[i], fmt.Sprintf("round %d, after the kill", round))
		}
		for id := range e.states() {
			e.evict(id)
		}
		if keys := e.direct.Keys(context.Background(), "s:*").Val(); len(keys) > 0 {
			t.Errorf("round %d: evicted, but in Redis: %v", round, keys)
		}
		for i := range models {
			e.checkModel(&models[i], fmt.Sprintf("round %d, after eviction", round))
		}
		kill()
	}
}

// checkModel compares every key of a client; a command without an answer may have run or not, from now on it is known.
func (e *env) checkModel(m *killModel, when string) {
	e.t.Helper()
	ctx := context.Background()
	for key, want := range m.pending {
		if got := e.client.Get(ctx, key).Val(); got == want {
			m.acked[key] = got
		}
	}
	m.pending = nil
	for key, want := range m.acked {
		if got := e.client.Get(ctx, key).Val(); got != want {
			e.t.Errorf("%s: %s is %q, want %q", when, key, got, want)
		}
	}
}
