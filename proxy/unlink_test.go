package proxy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// fillSession writes n strings into a session and evicts it.
func (e *env) fillSession(name string, n int) (keys []any) {
	e.t.Helper()
	ctx := context.Background()
	pipe := e.client.Pipeline()
	for i := range n {
		key := fmt.Sprintf("s:%s:%d", name, i)
		keys = append(keys, key)
		pipe.Set(ctx, key, fmt.Sprint("value ", i), 0)
	}
	_, err := pipe.Exec(ctx)
	must(e.t, err)
	e.evict("any/" + name)
	return keys
}

func (e *env) integer(args ...any) int64 {
	e.t.Helper()
	n, err := e.client.Do(context.Background(), args...).Int64()
	if err != nil {
		e.t.Fatalf("%v: %v", args[0], err)
	}
	return n
}

func (e *env) wantRestores(want int64) {
	e.t.Helper()
	if got := e.stat("restores"); got != want {
		e.t.Errorf("%d sessions were restored, want %d", got, want)
	}
}

// A logout of an evicted session reads none of its values, and its reply counts as if it did.
func TestLogoutOfAnEvictedSession(t *testing.T) {
	e := newEnv(t, nil)
	ctx := context.Background()
	for _, name := range []string{"UNLINK", "DEL"} {
		keys := e.fillSession(name, 3000)
		must(t, e.direct.Set(ctx, "plain", "x", 0).Err())
		args := append([]any{name, "plain", "s:" + name + ":no such key", "s:nobody:k", keys[0]}, keys...)
		if n := e.integer(args...); n != 3001 {
			t.Errorf("%s answers %d, want 3001", name, n)
		}
		if n := e.integer(args...); n != 0 {
			t.Errorf("the second %s answers %d", name, n)
		}
		stored, err := e.store.KeysOf(ctx, anyID(name), 0)
		must(t, err)
		if len(stored) > 0 {
			t.Errorf("Postgres still has %d keys", len(stored))
		}
		e.wantRestores(0)
		if err := e.client.Get(ctx, keys[1].(string)).Err(); err != redis.Nil {
			t.Errorf("a deleted key reads %v", err)
		}
	}
	if e.states()["any/nobody"] != "" {
		t.Error("a session that never was is remembered")
	}
}

// What is not named stays, outside Redis, whole.
func TestPartOfAnEvictedSessionIsDeleted(t *testing.T) {
	e := newEnv(t, nil)
	ctx := context.Background()
	keys := e.fillSession("a", 10)
	e.fillSession("b", 10)
	if n := e.integer("DEL", keys[0], keys[3], "s:b:7"); n != 3 {
		t.Errorf("DEL answers %d, want 3", n)
	}
	e.wantRestores(0)
	if got := e.states(); got["any/a"] != "evicted" || got["any/b"] != "evicted" {
		t.Errorf("the sessions are %v", got)
	}
	for i := range 10 {
		want := fmt.Sprint("value ", i)
		if i == 0 || i == 3 {
			want = ""
		}
		if got := e.client.Get(ctx, keys[i].(string)).Val(); got != want {
			t.Errorf("key %d reads %q, want %q", i, got, want)
		}
	}
}

func TestUnlinkCountsWhatExists(t *testing.T) {
	e := newEnv(t, nil)
	ctx := context.Background()
	must(t, e.client.Set(ctx, "s:a:short", "x", 30*time.Millisecond).Err())
	e.fillSession("a", 2)
	must(t, e.direct.Set(ctx, "s:a:0", "by the side door", 0).Err())
	must(t, e.direct.Set(ctx, "s:a:side", "by the side door", 0).Err())
	time.Sleep(40 * time.Millisecond) // the TTL of s:a:short
	if n := e.integer("UNLINK", "s:a:0", "s:a:1", "s:a:side", "s:a:short"); n != 3 {
		t.Errorf("UNLINK answers %d, want 3", n)
	}
	if left := e.direct.Keys(ctx, "s:*").Val(); len(left) > 0 {
		t.Errorf("Redis still has %v", left)
	}
	// A mix of evicted and resident sessions goes the ordinary way.
	e.fillSession("b", 2)
	must(t, e.client.Set(ctx, "s:c:0", "x", 0).Err())
	if n := e.integer("UNLINK", "s:b:0", "s:c:0", "s:b:none"); n != 2 {
		t.Errorf("UNLINK of two sessions answers %d, want 2", n)
	}
}

// Who may not delete deletes nothing, in neither store.
func TestUnlinkOfAUserWithoutTheRight(t *testing.T) {
	e := newEnv(t, nil)
	ctx := context.Background()
	must(t, e.direct.ACLSetUser(ctx, "reader", "on", ">pw", "~*", "+@all", "-unlink", "-del").Err())
	keys := e.fillSession("a", 3)
	reader := redis.NewClient(&redis.Options{Addr: e.server.Addr().String(), Username: "reader", Password: "pw", Protocol: 2, DisableIdentity: true})
	defer reader.Close()
	for _, name := range []string{"DEL", "UNLINK"} {
		if err := reader.Do(ctx, append([]any{name}, keys...)...).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := e.client.Get(ctx, "s:a:1").Val(); got != "value 1" {
		t.Errorf("the key reads %q", got)
	}
}

// Postgres away: the client hears so, and everything is still there.
func TestUnlinkWithoutPostgres(t *testing.T) {
	e, pg := newFailingEnv(t, func(c *proxy.Config) { c.Sync.Wait = 500 * time.Millisecond })
	ctx := context.Background()
	keys := e.fillSession("a", 3)
	must(t, pg.Stop(ctx))
	err := e.client.Do(ctx, append([]any{"UNLINK"}, keys...)...).Err()
	if err == nil || !strings.HasPrefix(err.Error(), "TRYAGAIN credproxy: ") {
		t.Errorf("UNLINK without Postgres: %v", err)
	}
	testenv.RestartPostgres(t, pg)
	if got := e.client.Get(ctx, "s:a:1").Val(); got != "value 1" {
		t.Errorf("the key reads %q", got)
	}
	e.evict("any/a")
	if n := e.integer(append([]any{"UNLINK"}, keys...)...); n != 3 {
		t.Errorf("UNLINK answers %d, want 3", n)
	}
}
