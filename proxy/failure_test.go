package proxy_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/procs"
	"credproxy/internal/session"
	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// newFailingEnv is newEnv with a Postgres of the test's own, which it may stop.
func newFailingEnv(t *testing.T, change func(*proxy.Config)) (*env, *procs.Postgres) {
	t.Helper()
	pg := testenv.Postgres(t)
	e := prepareEnv(t, change)
	e.dsn = pg.DSN()
	e.start()
	return e, pg
}

// lockTables makes every query wait until the returned function is called.
func (e *env) lockTables() (release func()) {
	e.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, e.dsn)
	must(e.t, err)
	_, err = conn.Exec(ctx, "BEGIN; LOCK TABLE credproxy.sessions, credproxy.keys, credproxy.fields")
	must(e.t, err)
	closed := false
	release = func() {
		if !closed {
			closed = true
			_ = conn.Close(ctx)
		}
	}
	e.t.Cleanup(release)
	return release
}

// sessionInfo reads one figure of CREDPROXY SESSION, nil if the session is not known.
func (e *env) sessionInfo(id, name string) any {
	e.t.Helper()
	list, err := e.client.Do(context.Background(), "CREDPROXY", "SESSION", id).Slice()
	if err != nil {
		return nil
	}
	for i := 0; i+1 < len(list); i += 2 {
		if list[i] == name {
			return list[i+1]
		}
	}
	e.t.Fatalf("SESSION %s has no %s", id, name)
	return nil
}

// waitState waits until a session is in a state. SESSIONS is asked: it does not need Postgres.
func (e *env) waitState(id, state string) {
	e.t.Helper()
	testenv.Eventually(e.t, 10*time.Second, id+" "+state, func() bool { return e.states()[id] == state })
}

// states lists the state of every session.
func (e *env) states() map[string]string {
	e.t.Helper()
	states := map[string]string{}
	for _, s := range e.listed("lru") {
		states[s["keyspace"].(string)+"/"+s["id"].(string)] = s["state"].(string)
	}
	return states
}

// listed is CREDPROXY SESSIONS in an order.
func (e *env) listed(order string) []map[string]any {
	e.t.Helper()
	var list []map[string]any
	for _, entry := range e.admin("SESSIONS", "ORDER", order, "COUNT", "100000").([]any) {
		flat := entry.([]any)
		m := map[string]any{}
		for i := 0; i+1 < len(flat); i += 2 {
			m[flat[i].(string)] = flat[i+1]
		}
		list = append(list, m)
	}
	return list
}

// saved returns the string that Postgres holds for a key, "" for none.
func (e *env) saved(id session.ID, key string) string {
	e.t.Helper()
	snap, err := e.store.Load(context.Background(), id, time.Now().UnixMilli())
	must(e.t, err)
	for i := range snap.Keys {
		if snap.Keys[i].Name == key {
			return string(snap.Keys[i].Value)
		}
	}
	return ""
}

func anyID(name string) session.ID { return session.ID{Keyspace: "any", Name: name} }

// freeze stops a Postgres with all its children: connections stay open and nothing answers.
func freeze(t *testing.T, pg *procs.Postgres) (thaw func()) {
	t.Helper()
	must(t, pg.Pause())
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pg.PID()))
	must(t, err)
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		var pid int
		_, err := fmt.Sscan(field, &pid)
		must(t, err)
		must(t, syscall.Kill(pid, syscall.SIGSTOP))
		pids = append(pids, pid)
	}
	frozen := true
	thaw = func() {
		if !frozen {
			return
		}
		frozen = false
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
		must(t, pg.Resume())
	}
	t.Cleanup(thaw)
	return thaw
}

// refusedWithoutPostgres are commands that need Postgres; each has a session of its own, evicted or resident.
var refusedWithoutPostgres = []struct {
	what string
	args []string
}{
	{"read of an evicted session", []string{"GET", "s:evicted:k"}},
	{"missing key of an evicted session", []string{"GET", "s:evicted:none"}},
	{"write to an evicted session", []string{"SET", "s:evicted:k", "overwritten"}},
	{"field of an evicted session", []string{"HSET", "s:evicted:h", "f", "x"}},
	{"EXISTS of an evicted session", []string{"EXISTS", "s:evicted:k"}},
	{"script on an evicted session", []string{"EVAL", "return redis.call('GET', KEYS[1])", "1", "s:evicted:k"}},
	{"session that nobody knows", []string{"GET", "s:never:k"}},
	{"first write of a new session", []string{"SET", "s:fresh:k", "v"}},
	{"MGET over both", []string{"MGET", "s:here:k", "s:evicted:k"}},
	{"DEL", []string{"DEL", "s:here:k"}},
	{"UNLINK", []string{"UNLINK", "s:here:k"}},
	{"GETDEL", []string{"GETDEL", "s:here:k"}},
	{"HDEL", []string{"HDEL", "s:here:h", "f"}},
	{"RENAME", []string{"RENAME", "s:here:k", "s:here:k2"}},
	{"EXPIRE in the past", []string{"EXPIRE", "s:here:k", "-1"}},
	{"KEYS", []string{"KEYS", "*"}},
	{"DBSIZE", []string{"DBSIZE"}},
	{"SYNC", []string{"CREDPROXY", "SYNC"}},
	{"blocking pop of an evicted session", []string{"BLPOP", "s:evicted:l", "0"}},
}

func TestWithoutPostgres(t *testing.T) {
	const wait = 250 * time.Millisecond
	for _, kind := range []string{"stopped", "frozen"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			e, pg := newFailingEnv(t, func(cfg *proxy.Config) { cfg.Sync.Wait = wait })
			c := e.wire()
			for _, id := range []string{"evicted", "here"} {
				c.want("+OK\r\n", "SET", "s:"+id+":k", "v")
				c.want(":1\r\n", "HSET", "s:"+id+":h", "f", "v")
			}
			e.settled()
			e.evict("any/evicted")

			var restore func()
			if kind == "stopped" {
				must(t, pg.Stop(context.Background()))
				restore = func() { testenv.RestartPostgres(t, pg) }
			} else {
				restore = freeze(t, pg)
			}
			c.want("+OK\r\n", "SET", "s:here:k", "newer") // a change to save, for SYNC
			e.checkRefusals(wait)
			e.checkResident()
			restore()
			e.checkRecovered()
		})
	}
}

// checkRefusals: neither nil nor OK, and not before the client has waited as long as the configuration says.
func (e *env) checkRefusals(wait time.Duration) {
	e.t.Helper()
	c := e.wire()
	for _, test := range refusedWithoutPostgres {
		start := time.Now()
		got := c.ask(test.args...)
		if !strings.HasPrefix(got, "-TRYAGAIN credproxy: ") {
			e.t.Errorf("%s: %q, want TRYAGAIN", test.what, got)
		}
		if d := time.Since(start); d < wait*9/10 || d > wait+3*time.Second {
			e.t.Errorf("%s: refused after %s, want %s", test.what, d, wait)
		}
	}
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "SET", "s:here:tx", "x")
	c.want("+QUEUED\r\n", "DEL", "s:here:k")
	c.wantPrefix("-TRYAGAIN credproxy: ", "EXEC")
	c.want("$-1\r\n", "GET", "s:here:tx")
	c.want("+OK\r\n", "MULTI")
	c.wantPrefix("-TRYAGAIN credproxy: ", "GET", "s:evicted:k")
	c.want("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")
}

// checkResident: resident sessions are read and written, and nothing leaves Redis.
func (e *env) checkResident() {
	e.t.Helper()
	c := e.wire()
	c.want("$5\r\nnewer\r\n", "GET", "s:here:k")
	c.want("$1\r\nv\r\n", "HGET", "s:here:h", "f")
	c.want("+OK\r\n", "SET", "s:here:k", "newest")
	c.want(":1\r\n", "HSET", "s:here:h", "g", "w")
	c.want("*2\r\n+OK\r\n$6\r\nnewest\r\n", "EVAL", "return {redis.call('SET', KEYS[1], 'x'), redis.call('GET', KEYS[2])}", "2",
		"s:here:script", "s:here:k")
	c.wantPrefix("-ERR 0 of 1 done; session \"any/here\": ", "CREDPROXY", "EVICT", "any/here")
	if n := e.direct.Exists(context.Background(), "s:here:k", "s:here:h", "s:here:script").Val(); n != 3 {
		e.t.Errorf("%d of 3 keys are in Redis", n)
	}
	if n := e.stat("dirty_keys"); n < 3 {
		e.t.Errorf("%d dirty keys, want at least 3", n)
	}
}

// checkRecovered: with Postgres back, everything is saved and nothing was lost or torn.
func (e *env) checkRecovered() {
	e.t.Helper()
	testenv.Eventually(e.t, 20*time.Second, "everything saved", func() bool { return e.stat("dirty_keys") == 0 })
	if v := e.saved(anyID("here"), "s:here:k"); v != "newest" {
		e.t.Errorf("Postgres has %q, want the newest value", v)
	}
	c := e.wire()
	c.want("$1\r\nv\r\n", "GET", "s:evicted:k")
	c.want(":2\r\n", "EXISTS", "s:evicted:k", "s:evicted:h")
	c.want("$-1\r\n", "GET", "s:never:k")
	c.want("$-1\r\n", "GET", "s:fresh:k")
	e.evict("any/here")
	c.want("$6\r\nnewest\r\n", "GET", "s:here:k")
	c.want(bulksReply("f", "v", "g", "w"), "HGETALL", "s:here:h")
	c.want(":1\r\n", "DEL", "s:here:k")
	e.admin("SYNC") // the test's Postgres ends before the proxy does
}

// A client that waits is served the moment Postgres is back.
func TestWaitingClientsGoOnWhenPostgresIsBack(t *testing.T) {
	e, pg := newFailingEnv(t, func(cfg *proxy.Config) { cfg.Sync.Wait = 20 * time.Second })
	c := e.wire()
	c.want("+OK\r\n", "SET", "s:a:k", "v")
	c.want("+OK\r\n", "SET", "s:b:k", "v")
	e.settled()
	e.evict("any/a")
	must(t, pg.Stop(context.Background()))
	reader, remover := e.wire(), e.wire()
	reader.send("GET", "s:a:k")
	remover.send("DEL", "s:b:k")
	testenv.Eventually(t, 10*time.Second, "failed attempts to restore", func() bool { return e.stat("restore_errors") > 1 })
	if e.direct.Exists(context.Background(), "s:b:k").Val() != 1 {
		t.Error("the key was deleted in Redis before Postgres knew")
	}
	testenv.RestartPostgres(t, pg)
	reader.wantReply("$1\r\nv\r\n")
	remover.wantReply(":1\r\n")
	e.evict("any/b")
	c.want("$-1\r\n", "GET", "s:b:k")
	e.admin("SYNC")
}

// Memory over the threshold and Postgres away: nothing leaves Redis.
func TestNoEvictionWithoutPostgres(t *testing.T) {
	e, pg := newFailingEnv(t, func(cfg *proxy.Config) {
		cfg.Memory.Budget.Max, cfg.Memory.CheckInterval = 8<<20, 20*time.Millisecond
	})
	ctx := context.Background()
	for i := range 10 {
		must(t, e.client.Set(ctx, fmt.Sprintf("s:m%d:k", i), strings.Repeat("x", 300<<10), 0).Err())
	}
	e.settled()
	must(t, pg.Stop(ctx))
	for i := range 10 { // now 6 MB more, in sessions that are resident
		must(t, e.client.Append(ctx, fmt.Sprintf("s:m%d:k", i), strings.Repeat("y", 600<<10)).Err())
	}
	for range 3 {
		if v, err := e.client.Do(ctx, "CREDPROXY", "CHECK").Result(); err == nil {
			t.Errorf("CHECK without Postgres: %v, want an error", v)
		}
	}
	if n := len(e.direct.Keys(ctx, "s:m*").Val()); n != 10 || e.stat("evictions") != 0 {
		t.Fatalf("%d of 10 keys are in Redis, %d evictions", n, e.stat("evictions"))
	}
	testenv.RestartPostgres(t, pg)
	testenv.Eventually(t, 20*time.Second, "evictions again", func() bool { return e.stat("evictions") > 0 })
	for i := range 10 {
		if n := e.client.StrLen(ctx, fmt.Sprintf("s:m%d:k", i)).Val(); n != 900<<10 {
			t.Errorf("session m%d has %d bytes", i, n)
		}
	}
	e.admin("SYNC")
}

// A removal that was refused because Postgres was slow may still be committed there. What is written after the refusal must
// outlive that.
func TestLateRemovalDestroysNothing(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Sync.Wait = 300 * time.Millisecond })
	c := e.wire()
	for _, args := range [][]string{{"DEL", "s:a:del"}, {"GETDEL", "s:a:getdel"}, {"UNLINK", "s:a:unlink"}} {
		c.want("+OK\r\n", "SET", args[1], "old")
	}
	c.want(":1\r\n", "HSET", "s:a:hash", "f", "old")
	e.settled()
	release := e.lockTables()
	removals := [][]string{{"DEL", "s:a:del"}, {"GETDEL", "s:a:getdel"}, {"UNLINK", "s:a:unlink"}, {"HDEL", "s:a:hash", "f"}}
	for _, args := range removals {
		c.wantPrefix("-TRYAGAIN ", args...)
	}
	c.want("+OK\r\n", "SET", "s:a:del", "new")
	release()
	testenv.Eventually(t, 10*time.Second, "everything saved", func() bool { return e.stat("dirty_keys") == 0 })
	for key, want := range map[string]string{"s:a:del": "new", "s:a:getdel": "old", "s:a:unlink": "old"} {
		if got := e.saved(anyID("a"), key); got != want {
			t.Errorf("Postgres has %q of %s, want %q", got, key, want)
		}
	}
	e.evict("any/a")
	c.want("$3\r\nnew\r\n", "GET", "s:a:del")
	c.want(":2\r\n", "EXISTS", "s:a:getdel", "s:a:unlink")
	c.want(bulksReply("f", "old"), "HGETALL", "s:a:hash")
}
