package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// sizes of sessions: in one script, in pipelines, in parts while Postgres is still sending.
var fillSizes = []struct {
	name          string
	strings, size int
	hashes        map[string]int // fields of each
}{
	{"one", 1, 500, nil},
	{"tiny", 3, 100, map[string]int{"h": 20, "i": 1}},
	{"few", 100, 300, map[string]int{"small": 50, "tiny": 1}},
	{"many", 1500, 100, map[string]int{"small": 50, "medium": 600}},
	{"large", 1200, 600, map[string]int{"small": 50, "large": 6000, "second": 3000}},
	{"hash", 0, 0, map[string]int{"large": 4000}},
}

// fillValue holds every byte.
func fillValue(n, size int) []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i + n)
	}
	return bytes.Repeat(all, size/256+1)[:size]
}

// makeSession writes past the proxy; every third key expires.
func makeSession(t *testing.T, cl *redis.Client, name string, strings, size int, hashes map[string]int) (keys []string) {
	ctx := context.Background()
	at := time.Now().Add(time.Hour)
	_, err := cl.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range strings {
			key := fmt.Sprintf("s:%s:%d", name, i)
			p.Set(ctx, key, fillValue(i, size), 0)
			keys = append(keys, key)
		}
		for hash, fields := range hashes {
			key := fmt.Sprintf("s:%s:%s", name, hash)
			for f := range fields {
				p.HSet(ctx, key, fmt.Sprintf("field\x00%d", f), fillValue(f, 300))
			}
			keys = append(keys, key)
		}
		for i := 0; i < len(keys); i += 3 {
			p.PExpireAt(ctx, keys[i], at)
		}
		return nil
	})
	must(t, err)
	return keys
}

// digest is what Redis says of the keys: contents, order aside, and expiry.
func digest(t *testing.T, cl *redis.Client, keys []string) []any {
	var out []any
	ctx := context.Background()
	for _, key := range keys {
		sum, err := cl.Do(ctx, "DEBUG", "DIGEST-VALUE", key).Result()
		must(t, err)
		at, err := cl.Do(ctx, "PEXPIRETIME", key).Result()
		must(t, err)
		out = append(out, sum, at)
	}
	return out
}

// Whatever way a session of its size takes, it comes back as it was, with an entry, and leaves nothing behind.
func TestRestoreOfEverySize(t *testing.T) {
	e := newEnv(t, nil, "--enable-debug-command", "yes")
	ctx := context.Background()
	for _, size := range fillSizes {
		t.Run(size.name, func(t *testing.T) {
			keys := makeSession(t, e.client, size.name, size.strings, size.size, size.hashes)
			e.settled()
			want := digest(t, e.direct, keys)
			for range 2 { // restored sessions can be restored again
				e.evict("any/" + size.name)
				must(t, e.client.Exists(ctx, "s:"+size.name+":nothing").Err())
				got := digest(t, e.direct, keys)
				for i := range want {
					if fmt.Sprint(got[i]) != fmt.Sprint(want[i]) {
						t.Fatalf("key %q: %v, want %v", keys[i/2], got[i], want[i])
					}
				}
			}
			if left, err := e.direct.Keys(ctx, "credproxy:2:tmp:*").Result(); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			heat, err := e.direct.Do(ctx, "EVAL", `local n = 0
				for _, b in ipairs(redis.call('KEYS', 'credproxy:2:heat:*')) do n = n + redis.call('HEXISTS', b, ARGV[1]) end return n`,
				0, "any/"+size.name).Int()
			if err != nil || heat != 1 {
				t.Errorf("%d entries, %v", heat, err)
			}
		})
	}
}

// A value that came in by the side door while the session was away stays, in sessions of every size.
func TestRestoreLeavesWhatIsThere(t *testing.T) {
	e := newEnv(t, nil)
	ctx := context.Background()
	for _, size := range fillSizes {
		t.Run(size.name, func(t *testing.T) {
			keys := makeSession(t, e.client, size.name, size.strings, size.size, size.hashes)
			e.settled()
			e.evict("any/" + size.name)
			there := keys[len(keys)-1]
			must(t, e.direct.Set(ctx, there, "newer", 0).Err())
			must(t, e.client.Exists(ctx, "s:"+size.name+":nothing").Err())
			if got, err := e.direct.Get(ctx, there).Result(); err != nil || got != "newer" {
				t.Errorf("got %q, %v", got, err)
			}
			if n, err := e.direct.Exists(ctx, keys...).Result(); err != nil || n != int64(len(keys)) {
				t.Errorf("%d keys of %d, %v", n, len(keys), err)
			}
		})
	}
}
