package proxy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"credproxy/internal/session"
	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// TestDifferentialApart is TestDifferential with every value treated as a large one: all types, expiries, fields that expire, and what
// clients write while a value is being read.
func TestDifferentialApart(t *testing.T) {
	proxy.AllApart(t)
	seed := testSeed(t)
	for _, calm := range []bool{true, false} {
		t.Run(fmt.Sprintf("calm=%v", calm), func(t *testing.T) {
			d := newDifferential(t, 2, seed)
			func() {
				if !calm {
					defer d.storm(seed)()
				}
				d.compare(*commandsFlag/40, calm)
			}()
			d.finish()
		})
	}
}

// There and back, a large value is the same, whatever it is, and so is its expiry. What cannot be kept field by field goes as a whole.
func TestApartThereAndBack(t *testing.T) {
	e := newEnv(t, nil)
	ctx := context.Background()
	text := hugeText(5 << 20)
	must(t, e.client.Set(ctx, "s:a:text", text, time.Hour).Err())
	must(t, e.client.HSet(ctx, "s:a:hash", "f", text[:3<<20], "g", text[:2<<20], "", "").Err())
	must(t, e.client.HSet(ctx, "s:a:one", "small", "x", "large", text).Err())
	must(t, e.client.HSet(ctx, "s:a:name", strings.Repeat("n", 3000), text[:3<<20], "g", text[:3<<20]).Err())
	must(t, e.client.SAdd(ctx, "s:a:set", text, "x").Err())
	must(t, e.client.RPush(ctx, "s:a:list", text[:3<<20], "", text[:3<<20]).Err())
	must(t, e.client.ExpireAt(ctx, "s:a:list", time.UnixMilli(9_999_999_999_999)).Err())
	must(t, e.client.Set(ctx, "s:a:small", "x", 0).Err())
	keys := []string{"s:a:text", "s:a:hash", "s:a:one", "s:a:name", "s:a:set", "s:a:list", "s:a:small"}
	digest := func(key string) string {
		// Of a set or hash the order is Redis's own.
		return e.direct.Eval(ctx, `local t = redis.call('TYPE', KEYS[1]).ok
local all = {}
if t == 'hash' then all = redis.call('HGETALL', KEYS[1]) for i = 2, #all, 2 do all[i] = all[i-1] .. '=' .. all[i] end
elseif t == 'set' then all = redis.call('SMEMBERS', KEYS[1])
elseif t == 'list' then all = redis.call('LRANGE', KEYS[1], 0, -1)
else all = {redis.call('GET', KEYS[1])} end
for i = 1, #all do all[i] = redis.sha1hex(all[i]) end
if t ~= 'list' then table.sort(all) end
return t .. redis.call('PEXPIRETIME', KEYS[1]) .. table.concat(all, ',')`, []string{key}).Val().(string)
	}
	want := map[string]string{}
	for _, key := range keys {
		want[key] = digest(key)
	}
	for range 2 {
		e.evictLarge("any/a")
		if n := e.direct.Exists(ctx, keys...).Val(); n != 0 {
			t.Fatalf("%d keys are still in Redis", n)
		}
		if n := e.client.Exists(ctx, keys...).Val(); n != int64(len(keys)) {
			t.Fatalf("%d keys came back", n)
		}
		for _, key := range keys {
			if got := digest(key); got != want[key] {
				t.Errorf("%s: %.80s, want %.80s", key, got, want[key])
			}
		}
	}
	must(t, e.client.HDel(ctx, "s:a:hash", "f").Err()) // small again
	must(t, e.client.Set(ctx, "s:a:text", "short", 0).Err())
	e.evictLarge("any/a")
	if got := e.client.HGet(ctx, "s:a:hash", "g").Val(); got != text[:2<<20] {
		t.Errorf("the hash has %d bytes", len(got))
	}
	if got := e.client.Get(ctx, "s:a:text").Val(); got != "short" {
		t.Errorf("the text is %.20q", got)
	}
}

// evictLarge is evict for a session of which a save may be under way for long: EVICT does not wait for that.
func (e *env) evictLarge(id string) {
	e.t.Helper()
	testenv.Eventually(e.t, time.Minute, "evicted", func() bool {
		n, err := e.client.Do(context.Background(), "CREDPROXY", "EVICT", id).Int64()
		return err == nil && n == 1
	})
}

// A value that changes all the time is saved whole, as it was at one moment.
func TestApartIsOfOneMoment(t *testing.T) {
	e := newEnv(t, nil)
	ctx := context.Background()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 40 {
			if err := e.client.Set(ctx, "s:a:k", strings.Repeat(string(rune('a'+i%26)), 5<<20), 0).Err(); err != nil {
				t.Errorf("SET: %v", err)
			}
		}
	}()
	check := func() {
		text, got := "", 0
		err := e.store.LoadApart(ctx, anyID("a"), "s:a:k", time.Now().UnixMilli(), func(session.Key) error { return nil }, func(b []byte) error {
			if got += len(b); text == "" {
				text = string(b[:1])
			}
			if strings.Trim(string(b), text) != "" {
				t.Errorf("it has %q and others", text)
			}
			return nil
		})
		if err == nil && got != 5<<20 {
			t.Errorf("%d bytes", got)
		}
	}
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			check()
		}
	}
	testenv.Eventually(t, time.Minute, "saved", func() bool { return e.client.Do(ctx, "CREDPROXY", "SYNC").Err() == nil })
	check()
}

// A payload that was changed in Postgres is an error that names the key; the rest of the session is served.
func TestApartPoisoned(t *testing.T) {
	e := newEnv(t, nil)
	ctx := context.Background()
	must(t, e.client.RPush(ctx, "s:a:list", hugeText(5<<20)).Err())
	must(t, e.client.Set(ctx, "s:a:small", "x", 0).Err())
	e.evictLarge("any/a")
	e.sql("DELETE FROM credproxy.fields WHERE field = '\\x00000003'")
	if err := e.client.LRange(ctx, "s:a:list", 0, -1).Err(); err == nil || !strings.Contains(err.Error(), "s:a:list") {
		t.Errorf("LRANGE: %v", err)
	}
	if got := e.client.Get(ctx, "s:a:small").Val(); got != "x" {
		t.Errorf("GET: %q", got)
	}
}
