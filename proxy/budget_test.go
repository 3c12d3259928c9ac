package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// spaces gives keyspaces a memory policy of their own.
func spaces(by map[string]proxy.KeyspaceMemory) func(*proxy.Config) {
	return func(cfg *proxy.Config) { cfg.Memory.Keyspaces = by }
}

// spaceBytes is what the sessions of a keyspace with a budget take, by CREDPROXY STATS.
func (e *env) spaceBytes(name string) int64 { return e.stat("keyspace_" + name + "_bytes") }

// A keyspace over its own budget loses its own least recently used sessions, down to the target; the others' stay, whoever was used
// longer ago.
func TestKeyspaceBudget(t *testing.T) {
	const budget, size, sessions, others = 4 << 20, 100 << 10, 60, 10
	e := newEnv(t, spaces(map[string]proxy.KeyspaceMemory{"wa": {Max: budget}}))
	ctx := context.Background()
	for i := range others {
		must(t, e.client.Set(ctx, fmt.Sprintf("s:old%d:k", i), payload(i, size), 0).Err())
	}
	e.admin("PAUSE")
	for i := range sessions {
		must(t, e.client.Set(ctx, fmt.Sprintf("wa:auth:b%d:creds", i), payload(i, size), 0).Err())
		if i%10 == 9 { // times are kept to a tenth of a second: ten sessions may tie
			nextTick(t)
		}
	}
	must(t, e.client.Get(ctx, "wa:auth:b0:creds").Err())
	e.admin("PIN", "wa/b1")
	e.admin("SYNC")
	e.admin("RESUME")
	testenv.Eventually(t, 20*time.Second, "keyspace under its target", func() bool { return e.spaceBytes("wa") <= budget*70/100 })
	states, first, last := e.states(), sessions, -1
	for i := 2; i < sessions; i++ {
		switch states[fmt.Sprintf("wa/b%d", i)] {
		case "resident":
			first = min(first, i)
		case "evicted":
			last = i
		}
	}
	if last < 0 || first == sessions || last > first+10 {
		t.Errorf("session %d was evicted and %d is resident", last, first)
	}
	if states["wa/b0"] != "resident" || states["wa/b1"] != "resident" {
		t.Errorf("the one used last is %s, the pinned one %s", states["wa/b0"], states["wa/b1"])
	}
	for i := range others {
		if got := states[fmt.Sprintf("any/old%d", i)]; got != "resident" {
			t.Errorf("session %d of the keyspace without a budget is %s", i, got)
		}
	}
	if n := e.stat("keyspace_evictions"); n == 0 || e.stat("memory_evictions") != 0 || e.stat("passed_over_pinned") == 0 {
		t.Errorf("%d evictions counted for the keyspace, %d for the whole, %d passed over as pinned", n, e.stat("memory_evictions"), e.stat("passed_over_pinned"))
	}
	if got := e.stat("keyspace_wa_max_bytes"); got != budget {
		t.Errorf("STATS says that the budget is %d", got)
	}
	if why := fmt.Sprint(e.sessionInfo(fmt.Sprintf("wa/b%d", last), "eviction")); !strings.Contains(why, "because its keyspace was over its max") {
		t.Errorf("SESSION says %q", why)
	}
	for i := range sessions {
		if got, err := e.client.Get(ctx, fmt.Sprintf("wa:auth:b%d:creds", i)).Bytes(); err != nil || !bytes.Equal(got, payload(i, size)) {
			t.Fatalf("session %d: %d bytes, %v", i, len(got), err)
		}
	}
}

// The budget of the whole holds over keyspaces that are within theirs.
func TestWholeBudgetHoldsOverKeyspaces(t *testing.T) {
	const budget, size, sessions = 12 << 20, 100 << 10, 150
	e := newEnv(t, func(cfg *proxy.Config) {
		cfg.Memory.Budget.Max = budget
		cfg.Memory.Keyspaces = map[string]proxy.KeyspaceMemory{"wa": {Max: 64 << 20}, "any": {Max: 64 << 20}}
	})
	ctx := context.Background()
	for i := range sessions {
		key := fmt.Sprintf("wa:auth:b%d:creds", i)
		if i%2 == 0 {
			key = fmt.Sprintf("s:b%d:k", i)
		}
		must(t, e.client.Set(ctx, key, payload(i, size), 0).Err())
	}
	e.admin("SYNC")
	e.admin("CHECK")
	if used := e.usedMemory(); used > budget {
		t.Errorf("%d bytes are used", used)
	}
	if e.stat("memory_evictions") == 0 || e.stat("keyspace_evictions") != 0 {
		t.Errorf("%d evictions for the whole, %d for keyspaces", e.stat("memory_evictions"), e.stat("keyspace_evictions"))
	}
}

// Each keyspace has an inactivity_ttl of its own, be it "never".
func TestInactivityByKeyspace(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) {
		cfg.Memory.CheckInterval, cfg.Memory.InactivityTTL = 50*time.Millisecond, time.Hour
		cfg.Memory.Keyspaces = map[string]proxy.KeyspaceMemory{"wa": {InactivityTTL: 300 * time.Millisecond}}
	})
	c := e.wire()
	fillSessions(c, "long", 5)
	for i := range 40 { // more than one batch
		c.want("+OK\r\n", "SET", fmt.Sprintf("wa:auth:i%d:creds", i), "v")
	}
	e.admin("SYNC")
	testenv.Eventually(t, 20*time.Second, "idle sessions gone", func() bool { return e.stat("inactivity_evictions") >= 40 })
	for id, state := range e.states() {
		if want := map[bool]string{true: "evicted", false: "resident"}[strings.HasPrefix(id, "wa/")]; state != want {
			t.Errorf("%s is %s, want %s", id, state, want)
		}
	}
	if why := fmt.Sprint(e.sessionInfo("wa/i0", "eviction")); !strings.Contains(why, "because it was idle for inactivity_ttl") {
		t.Errorf("SESSION says %q", why)
	}
	// A reload turns it round.
	cfg := e.cfg
	cfg.Memory.InactivityTTL = 200 * time.Millisecond
	cfg.Memory.Keyspaces = map[string]proxy.KeyspaceMemory{"wa": {}}
	if _, err := e.server.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	c.want("$1\r\nv\r\n", "GET", "wa:auth:i0:creds")
	testenv.Eventually(t, 20*time.Second, "the others gone", func() bool { return e.stat("inactivity_evictions") >= 45 })
	if got := e.states()["wa/i0"]; got != "resident" {
		t.Errorf("the session of the keyspace without a ttl is %s", got)
	}
}

// What min_idle keeps is not evicted, whatever memory says; /readyz and the log name it. Without it the same sessions go.
func TestMinIdle(t *testing.T) {
	const sessions, size = 60, 300 << 10
	hour := proxy.KeyspaceMemory{MinIdle: time.Hour}
	e := newEnv(t, func(cfg *proxy.Config) {
		cfg.Memory.Budget.Max = 12 << 20
		cfg.Memory.Keyspaces = map[string]proxy.KeyspaceMemory{"any": hour}
	})
	ctx := context.Background()
	e.admin("PAUSE") // or writes wait for room
	for i := range sessions {
		must(t, e.client.Set(ctx, fmt.Sprintf("s:v%d:k", i), payload(i, size), 0).Err())
	}
	e.admin("SYNC")
	e.admin("RESUME")
	e.admin("CHECK")
	if n := e.stat("evictions"); n != 0 {
		t.Fatalf("%d sessions went", n)
	}
	if e.stat("passed_over_min_idle") == 0 {
		t.Error("none was counted as passed over")
	}
	const want = " were used less than min_idle ago; lower min_idle, or raise memory.max" // a few may still count as being saved
	testenv.Eventually(t, 30*time.Second, want, func() bool {
		e.admin("CHECK")
		st := e.server.Stats()
		return st.MemoryFull && strings.Contains(st.FullWhy, want)
	})
	e.untilSessionSays("any/v1", "min_idle is 1h")
	if n := e.admin("EVICT", "any/v0"); n != int64(1) { // by hand it may go
		t.Errorf("EVICT: %v", n)
	}
	cfg := e.cfg
	cfg.Memory.Keyspaces = nil
	if _, err := e.server.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 20*time.Second, "memory under the threshold", func() bool { return e.usedMemory() < 12<<20*80/100 })
	testenv.Eventually(t, 20*time.Second, "the alarm over", func() bool { st := e.server.Stats(); return !st.MemoryFull && st.FullWhy == "" })
}

// A pin outlives the proxy, also of a session that is evicted or that nobody has seen yet; a pause does not.
func TestPinsOutliveTheProxy(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	fillSessions(c, "p", 4)
	e.admin("SYNC")
	c.want(":1\r\n", "CREDPROXY", "EVICT", "any/p0")
	for _, id := range []string{"any/p0", "any/p1", "any/p2", "any/unseen"} {
		e.admin("PIN", id)
	}
	e.admin("UNPIN", "any/p2")
	e.admin("PAUSE")
	e.stop()
	e.start()
	c = e.wire()
	for id, want := range map[string]int64{"any/p0": 1, "any/p1": 1, "any/p2": 0, "any/p3": 0, "any/unseen": 1} {
		if got := e.sessionInfo(id, "pinned"); got != want {
			t.Errorf("%s: pinned is %v, want %d", id, got, want)
		}
	}
	wantSessions(c, "p", 4)
	c.wantPrefix("-ERR 0 of 1 done; session \"any/p0\": it is pinned", "CREDPROXY", "EVICT", "any/p0")
	if idle, ok := e.sessionInfo("any/p1", "idle_ms").(int64); !ok || idle > 3_600_000 {
		t.Errorf("idle for %v ms", idle)
	}
	if e.stat("paused") != 0 {
		t.Error("the pause has outlived the proxy")
	}
	e.admin("UNPIN", "any/p0")
	c.want(":1\r\n", "CREDPROXY", "EVICT", "any/p0")
}

// untilSessionSays waits until SESSION says so: a session counts as being saved until the marks of its keys are gone, which is after a SYNC.
func (e *env) untilSessionSays(id, part string) {
	e.t.Helper()
	testenv.Eventually(e.t, 30*time.Second, id+": "+part, func() bool {
		return strings.Contains(fmt.Sprint(e.sessionInfo(id, "eviction")), part)
	})
}

// Where a session stands is said in its keyspace, and moves with its use.
func TestSessionSaysItsPlace(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	for i := range 5 {
		c.want("+OK\r\n", "SET", fmt.Sprintf("s:b%d:k", i), "v")
		c.want("+OK\r\n", "SET", fmt.Sprintf("wa:auth:b%d:creds", i), "v")
		nextTick(t)
	}
	e.admin("SYNC")
	says := e.untilSessionSays
	says("any/b1", "resident: 2nd of 5 by recency in any; goes when about ")
	c.want("$1\r\nv\r\n", "GET", "s:b1:k")
	says("any/b1", "5th of 5 by recency in any")
	says("wa/b1", "2nd of 5 by recency in wa")
	e.admin("PAUSE")
	says("any/b1", "eviction is paused (CREDPROXY RESUME ends that)")
	c.want(":1\r\n", "CREDPROXY", "EVICT", "any/b2")
	says("any/b2", "ago by hand: its keys are in Postgres, the next command on it or CREDPROXY RESTORE brings it back")
	names := func(s []proxy.Keyspace) (out []string) {
		for _, k := range s {
			out = append(out, fmt.Sprint(k.Name, k.Resident))
		}
		return out
	}
	if got := names(e.server.Keyspaces()); !slices.Equal(got, []string{"wa5", "any4"}) {
		t.Errorf("keyspaces: %v", got)
	}
}

// When nothing may go, Redis's own OOM reaches the client, and the log says once, with counts and remedy, what keeps the sessions.
func TestNothingMayGo(t *testing.T) {
	const limit, size = 12 << 20, 300 << 10
	var log logBuffer
	e := newEnv(t, func(cfg *proxy.Config) {
		cfg.Memory.Budget.Max = limit
		cfg.Memory.MinIdle = time.Hour
		cfg.Logger = hclog.New(&hclog.LoggerOptions{Output: &log})
	}, "--maxmemory", fmt.Sprint(limit))
	ctx := context.Background()
	var refused error
	var written []int // one may get in between two that are refused: Redis's own use of memory goes up and down
	refusals := 0
	for i := 0; i < 200 && refusals < 3; i++ {
		if err := e.client.Set(ctx, fmt.Sprintf("s:n%d:k", i), payload(i, size), 0).Err(); err != nil {
			refused = err
			refusals++
		} else {
			written = append(written, i)
		}
	}
	if refused == nil || !strings.HasPrefix(refused.Error(), "OOM ") || len(written) == 0 {
		t.Fatalf("after %d writes: %v", len(written), refused)
	}
	e.admin("SYNC")
	e.admin("CHECK")
	const line = "memory is over the threshold and no session may be evicted"
	text := log.String()
	if n := strings.Count(text, line); n != 1 || !strings.Contains(text, "were used less than min_idle ago") || !strings.Contains(text, "lower min_idle, or raise memory.max") {
		t.Errorf("said %d times in the log:\n%s", n, text)
	}
	for _, i := range written {
		if got, err := e.client.Get(ctx, fmt.Sprintf("s:n%d:k", i)).Bytes(); err != nil || !bytes.Equal(got, payload(i, size)) {
			t.Fatalf("session %d: %d bytes, %v", i, len(got), err)
		}
	}
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
