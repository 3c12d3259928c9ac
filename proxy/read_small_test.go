package proxy

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
	"credproxy/internal/testenv"
)

// readBackRedis has keys of all kinds, and what the saver may want of them.
func readBackRedis(t *testing.T) (*redis.Client, []wanted) {
	t.Helper()
	ctx := context.Background()
	cl := redis.NewClient(&redis.Options{Addr: testenv.Redis(t).Addr(), Protocol: 2, MaxRetries: -1})
	t.Cleanup(func() { cl.Close() })
	var many []any
	for i := range 2000 {
		many = append(many, fmt.Sprint("field", i), strings.Repeat("v", 50))
	}
	for _, args := range [][]any{
		{"SET", "plain", "value"}, {"SET", "empty", ""}, {"SET", "number", 12345}, {"SET", "mortal", "value", "PX", 1 << 50},
		{"SET", "large", strings.Repeat("l", smallKey)}, {"SET", "binary", "\x00\r\n\xff"},
		{"HSET", "hash", "a", "1", "b", "", "c", "3"}, {"EXPIREAT", "hash", 1 << 40}, {"RPUSH", "list", "x"}, {"SADD", "set", "x"},
		append([]any{"HSET", "many"}, many...),
	} {
		if err := cl.Do(ctx, args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	keys := []wanted{{key: "hash", patch: true, fields: []string{"a", "b", "gone"}}, {key: "many", patch: true, fields: []string{"field7", "field1999", "x"}},
		{key: "hash", patch: true}, {key: "plain", patch: true}, {key: "plain", patch: true, fields: []string{"a"}}, {key: "absent", patch: true, fields: []string{"a"}},
		{key: "hash", patch: true, fields: []string{strings.Repeat("n", maxFieldName+1)}}, {key: "list", patch: true}}
	for _, key := range []string{"plain", "empty", "number", "mortal", "large", "binary", "hash", "list", "set", "many", "absent"} {
		keys = append(keys, wanted{key: key})
	}
	for i := range 3 * smallKeys / (smallKey / 2) { // more than is read at once
		key := fmt.Sprint("middle", i)
		if err := cl.Set(ctx, key, strings.Repeat("m", smallKey/2), 0).Err(); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, wanted{key: key})
	}
	return cl, keys
}

// What is read in the short way is what is read in the long one, also of a Redis that is full and refuses transactions.
func TestReadBackEqualsRead(t *testing.T) {
	ctx := context.Background()
	cl, keys := readBackRedis(t)
	want, err := readKeys(ctx, cl, keys, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, maxmemory := range []string{"0", "1"} {
		if err := cl.ConfigSet(ctx, "maxmemory", maxmemory).Err(); err != nil {
			t.Fatal(err)
		}
		got, sizes, err := readBack(ctx, cl, keys, []string{"set", "nothing"}, false)
		if err != nil {
			t.Fatal(err)
		}
		for i := range keys {
			if !sameReading(got[i], want[i]) {
				t.Errorf("maxmemory %s, key %q, fields %q: %+v, want %+v", maxmemory, keys[i].key, keys[i].fields, clipped(got[i]), clipped(want[i]))
			}
		}
		for _, key := range []string{"plain", "many", "set", "absent", "nothing"} {
			if size, seen := sizes[key]; !seen || size != cl.MemoryUsage(ctx, key, measureSamples).Val() {
				t.Errorf("size of %q: %d, %t", key, size, seen)
			}
		}
	}
}

// sameReading ignores the order of what has none, and, of a key that has to be read again, all the rest.
func sameReading(a, b reading) bool {
	if a.again || b.again {
		return a.again == b.again
	}
	if a.change.Op == session.Delete {
		return b.change.Op == session.Delete && a.change.Name == b.change.Name
	}
	return reflect.DeepEqual(a.change, b.change)
}

func clipped(r reading) string {
	text := fmt.Sprintf("%+v", r)
	return text[:min(len(text), 200)]
}

// A small key costs two commands, and a share of two: it is what saving asks of Redis.
func TestReadBackAsksLittle(t *testing.T) {
	ctx := context.Background()
	cl, _ := readBackRedis(t)
	var keys []wanted
	for i := range 100 {
		key := fmt.Sprint("small", i)
		if err := cl.Set(ctx, key, "value", 0).Err(); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, wanted{key: key})
	}
	if err := cl.ConfigResetStat(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readBack(ctx, cl, keys, nil, false); err != nil {
		t.Fatal(err)
	}
	calls := 0
	for line := range strings.SplitSeq(cl.Info(ctx, "commandstats").Val(), "\r\n") {
		if _, rest, ok := strings.Cut(line, ":calls="); ok {
			var n int
			fmt.Sscan(strings.SplitN(rest, ",", 2)[0], &n)
			calls += n
		}
	}
	if calls > 2*len(keys)+5 { // MULTI, MGET, EXEC, CONFIG, INFO
		t.Errorf("%d commands for %d keys", calls, len(keys))
	}
}
