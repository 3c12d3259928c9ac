package proxy_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"credproxy/internal/procs"
	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// newRestartableEnv is newEnv with a Redis whose folder is known, so that it can be started again.
func newRestartableEnv(t *testing.T, change func(*proxy.Config)) (e *env, dir string) {
	t.Helper()
	e, dir = prepareEnv(t, change), t.TempDir()
	must(t, e.redis.Kill())
	e.startRedis(dir, e.redis.Port())
	e.start()
	return e, dir
}

// startRedis starts a Redis on a port; it loads the dump that it finds in its folder.
func (e *env) startRedis(dir string, port int) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r, err := procs.StartRedis(ctx, procs.RedisConfig{Dir: dir, Port: port})
	must(e.t, err)
	e.t.Cleanup(func() {
		if err := r.Kill(); err != nil {
			e.t.Errorf("end redis: %v", err)
		}
	})
	e.redis = r
}

// restartRedis kills Redis and starts it again. A client of before must get along with that.
func (e *env) restartRedis(dir string) {
	e.t.Helper()
	must(e.t, e.redis.Kill())
	c := e.wire()
	if got := c.ask("GET", "s:nobody:k"); !strings.HasPrefix(got, "-ERR credproxy: upstream unavailable: ") {
		e.t.Errorf("GET without Redis: %q", got)
	}
	e.startRedis(dir, e.redis.Port())
	e.reconnected()
}

// reconnected waits until the proxy has found Redis again. Then everybody has: no other connection goes on with its back-off.
func (e *env) reconnected() {
	e.t.Helper()
	c := e.wire()
	testenv.Eventually(e.t, 10*time.Second, "upstream back", func() bool { return c.ask("GET", "nothing") == "$-1\r\n" })
}

func TestRedisRestartedEmpty(t *testing.T) {
	e, dir := newRestartableEnv(t, nil)
	ctx := context.Background()
	c := e.wire()
	for i := range 50 {
		c.want("+OK\r\n", "SET", fmt.Sprintf("s:r%d:str", i), fmt.Sprint("v\x00\r\n", i))
		c.want(":2\r\n", "HSET", fmt.Sprintf("s:r%d:hash", i), "f", fmt.Sprint(i), "\xff\x00", "")
		c.want(":2\r\n", "RPUSH", fmt.Sprintf("s:r%d:list", i), "a", "b")
		c.want(":1\r\n", "ZADD", fmt.Sprintf("s:r%d:z", i), "1.5", "m")
		c.want("+OK\r\n", "SET", fmt.Sprintf("s:r%d:ttl", i), "x", "PXAT", "33333333333333")
		c.want("+OK\r\n", "SET", fmt.Sprintf("s:r%d:dead", i), "x")
		c.want(":1\r\n", "DEL", fmt.Sprintf("s:r%d:dead", i))
	}
	e.settled()
	for i := range 10 {
		e.evict(fmt.Sprintf("any/r%d", i))
	}
	watcher := e.wire()
	watcher.want("+OK\r\n", "WATCH", "s:r20:str")
	e.restartRedis(dir)
	if n := e.direct.DBSize(ctx).Val(); n > 2 { // the proxy's own keys
		t.Fatalf("Redis is not empty: %d keys", n)
	}
	if v := parseReply(t, c.ask("KEYS", "s:*")); len(v.Elems) != 250 {
		t.Errorf("KEYS lists %d keys of 250", len(v.Elems))
	}
	for i := range 50 {
		c.want(bulkReply(fmt.Sprint("v\x00\r\n", i)), "GET", fmt.Sprintf("s:r%d:str", i))
		c.want(bulkReply(fmt.Sprint(i)), "HGET", fmt.Sprintf("s:r%d:hash", i), "f")
		c.want("$0\r\n\r\n", "HGET", fmt.Sprintf("s:r%d:hash", i), "\xff\x00")
		c.want(bulksReply("a", "b"), "LRANGE", fmt.Sprintf("s:r%d:list", i), "0", "-1")
		c.want(bulkReply("1.5"), "ZSCORE", fmt.Sprintf("s:r%d:z", i), "m")
		c.want(":33333333333333\r\n", "PEXPIRETIME", fmt.Sprintf("s:r%d:ttl", i))
		c.want("$-1\r\n", "GET", fmt.Sprintf("s:r%d:dead", i))
	}
	if n := e.stat("restores"); n != 50 {
		t.Errorf("%d restores, want 50", n)
	}
	// What a client had WATCHed is gone with the old Redis: its transaction must not run as if nothing had happened.
	watcher.wantPrefix("-ERR credproxy: upstream unavailable: ", "GET", "s:r20:str")
	watcher.wantClosed()
	e.settled()
}

func TestRedisRestartedWithOlderData(t *testing.T) {
	e, dir := newRestartableEnv(t, nil)
	ctx := context.Background()
	c := e.wire()
	c.want("+OK\r\n", "SET", "s:both:old", "from the dump")
	c.want("+OK\r\n", "SET", "s:still:k", "same")
	c.want("+OK\r\n", "SET", "s:out:k", "evicted before the dump")
	e.settled()
	e.evict("any/out")
	must(t, e.direct.Save(ctx).Err())
	c.want("+OK\r\n", "SET", "s:both:old", "newer than the dump")
	c.want("+OK\r\n", "SET", "s:both:new", "lost by Redis")
	c.want("+OK\r\n", "SET", "s:late:k", "lost as a whole")
	c.want(bulkReply("evicted before the dump"), "GET", "s:out:k")
	c.want(":26\r\n", "APPEND", "s:out:k", "...")
	e.settled()
	must(t, os.Link(filepath.Join(dir, "dump.rdb"), filepath.Join(dir, "kept.rdb"))) // the dump is really there
	e.restartRedis(dir)
	for key, want := range map[string]string{
		"s:both:old": "from the dump", // what Redis has stays
		"s:both:new": "lost by Redis",
		"s:still:k":  "same",
		"s:late:k":   "lost as a whole",
		"s:out:k":    "evicted before the dump...",
	} {
		c.want(bulkReply(want), "GET", key)
	}
	// The next eviction agrees with what clients were shown.
	e.settled()
	for _, id := range []string{"any/both", "any/out"} {
		e.evict(id)
	}
	c.want(bulkReply("from the dump"), "GET", "s:both:old")
	c.want(bulkReply("lost by Redis"), "GET", "s:both:new")
	c.want(bulkReply("evicted before the dump..."), "GET", "s:out:k")
}

// Marks that an old dump brings back must not make what Redis has lost look deleted.
func TestOldMarksDeleteNothing(t *testing.T) {
	e, dir := newRestartableEnv(t, rarely)
	ctx := context.Background()
	c := e.wire()
	c.want("+OK\r\n", "SET", "s:m:a", "1") // marked, and not saved while the dump is made
	must(t, e.direct.Save(ctx).Err())
	c.want("+OK\r\n", "SET", "s:m:b", "2")
	e.settled()
	e.restartRedis(dir)
	e.stop()
	e.start()
	c = e.wire()
	c.want("$1\r\n2\r\n", "GET", "s:m:b")
	c.want("$1\r\n1\r\n", "GET", "s:m:a")
	e.settled()
	e.evict("any/m")
	c.want(":2\r\n", "EXISTS", "s:m:a", "s:m:b")
}

// A command whose connection breaks may have run or not; the proxy must not run it a second time. Every command here has a key
// of its own, so a repetition shows as a 2.
func TestLostCommandsAreNotRepeated(t *testing.T) {
	e := newEnv(t, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 700*time.Millisecond)
	defer cancel()
	const clients = 8
	var wg sync.WaitGroup
	var acked [clients]map[string]bool
	for i := range clients {
		acked[i] = map[string]bool{}
		c := e.wire()
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key := fmt.Sprintf("s:inc%d:%d", i, n)
				reply, err := c.do("INCR", key)
				if err != nil {
					t.Errorf("client %d was disconnected: %v", i, err)
					return
				}
				if acked[i][key] = reply == ":1\r\n"; !acked[i][key] && !strings.HasPrefix(reply, "-ERR credproxy: upstream unavailable") &&
					!strings.HasPrefix(reply, "-TRYAGAIN") {
					t.Errorf("INCR %s: %q", key, reply)
				}
			}
		})
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		e.direct.Do(context.Background(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	}
	wg.Wait()
	e.reconnected()
	done, failed := 0, 0
	for i := range clients {
		for key, ok := range acked[i] {
			v, err := e.direct.Get(context.Background(), key).Int()
			switch {
			case ok && (err != nil || v != 1):
				t.Fatalf("%s was acknowledged once and is %d, %v", key, v, err)
			case !ok && v > 1:
				t.Fatalf("%s was lost and ran %d times", key, v)
			case ok:
				done++
			default:
				failed++
			}
		}
	}
	if done < 100 || failed == 0 {
		t.Errorf("%d commands done and %d lost: nothing was tried", done, failed)
	}
}

// While Redis is away commands fail at once, those that were in flight too; blocked clients and subscribers are disconnected.
func TestRedisDiesWithCommandsInFlight(t *testing.T) {
	e, dir := newRestartableEnv(t, nil)
	c, blocked, subscriber := e.wire(), e.wire(), e.wire()
	c.want("+OK\r\n", "SET", "s:a:k", "v")
	e.settled()
	blocked.send("BLPOP", "s:a:list", "0")
	subscriber.want("*3\r\n"+bulkReply("subscribe")+bulkReply("ch")+":1\r\n", "SUBSCRIBE", "ch")
	testenv.Eventually(t, 10*time.Second, "a blocked client", func() bool {
		return strings.Contains(e.direct.Info(context.Background(), "clients").Val(), "blocked_clients:1")
	})
	must(t, e.redis.Pause())
	c.send("GET", "s:a:k")
	must(t, e.redis.Kill())
	if got := c.reply(); !strings.HasPrefix(got, "-ERR credproxy: upstream unavailable: ") {
		t.Errorf("in flight: %q", got)
	}
	start := time.Now()
	c.wantPrefix("-ERR credproxy: upstream unavailable: ", "SET", "s:a:k", "x")
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("an error took %s", d)
	}
	if _, err := subscriber.frame(); err == nil {
		t.Error("a subscriber stays connected to nothing")
	}
	if got, err := blocked.frame(); err == nil && got[0] != '-' {
		t.Errorf("blocked client: %q", got)
	}
	e.startRedis(dir, e.redis.Port())
	e.reconnected()
	c.want("$1\r\nv\r\n", "GET", "s:a:k")
	e.settled()
}
