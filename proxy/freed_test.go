package proxy_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/testenv"
)

// mixedSession writes a session of one or several kinds of keys.
func mixedSession(ctx context.Context, cl redis.Cmdable, rnd *rand.Rand, i int) error {
	key := func(kind string) string { return fmt.Sprintf("s:f%d:%s", i, kind) }
	log := func(least, most int) int { // every order of magnitude is as likely
		n := least
		for ; n*10 <= most && rnd.IntN(3) > 0; n *= 10 {
		}
		return n + rnd.IntN(min(9*n, most-n)+1)
	}
	_, err := cl.Pipelined(ctx, func(p redis.Pipeliner) error {
		kinds := rnd.IntN(15) + 1
		if kinds&1 != 0 {
			p.Set(ctx, key("string"), payload(i, log(100, 200_000)), 0)
		}
		if kinds&2 != 0 {
			for f := range log(5, 2000) {
				p.HSet(ctx, key("hash"), fmt.Sprint("field", f), payload(f, 20+rnd.IntN(200)))
			}
		}
		if kinds&4 != 0 {
			for f := range log(5, 1000) {
				p.RPush(ctx, key("list"), payload(f, 10+rnd.IntN(100)))
			}
		}
		if kinds&8 != 0 {
			for f := range log(5, 1000) {
				p.ZAdd(ctx, key("zset"), redis.Z{Score: float64(f), Member: payload(f, 10+rnd.IntN(50))})
			}
		}
		return nil
	})
	return err
}

// settledMemory is used_memory when nothing is left to be freed in the background.
func (e *env) settledMemory() int64 {
	e.t.Helper()
	testenv.Eventually(e.t, 10*time.Second, "memory to be freed", func() bool {
		return strings.Contains(e.direct.Info(context.Background(), "memory").Val(), "lazyfree_pending_objects:0\r\n")
	})
	return e.usedMemory()
}

// within reports whether got is at most 15 % from want, or slack bytes.
func within(got, want, slack int64) bool {
	d := max(got-want, want-got)
	return d <= slack || d*100 <= want*15
}

// What the proxy says that evictions free is what they free, of every session and in all; and sessions that came back are known by
// the size that they have.
func TestFreedMemoryIsForeseen(t *testing.T) {
	const sessions = 100
	const noise = 24 << 10 // buffers of Redis's connections come and go meanwhile
	e := newEnv(t, nil)
	ctx := context.Background()
	rnd := rand.New(rand.NewPCG(7, 1))
	for i := range sessions {
		must(t, mixedSession(ctx, e.client, rnd, i))
	}
	e.admin("SYNC")
	foreseen, freed := make([]int64, sessions), int64(0)
	bad := 0
	for i := range sessions {
		before, said := e.settledMemory(), e.stat("evicted_bytes")
		e.evict(fmt.Sprint("any/f", i))
		got := before - e.settledMemory()
		foreseen[i] = e.stat("evicted_bytes") - said
		freed += got
		if !within(foreseen[i], got, noise) {
			bad++
			t.Logf("session %d: %d bytes foreseen, %d freed", i, foreseen[i], got)
		}
	}
	if bad > sessions/20 { // a buffer of 100 KB may go at any time
		t.Errorf("%d of %d evictions freed something else than foreseen", bad, sessions)
	}
	if sum := e.stat("evicted_bytes"); !within(sum, freed, 0) {
		t.Errorf("%d bytes foreseen, %d freed", sum, freed)
	}
	t.Logf("%d bytes foreseen, %d freed", e.stat("evicted_bytes"), freed)
	e.restoredSizes(foreseen)
}

// restoredSizes touches every session and compares the size that is known of it then with Redis's.
func (e *env) restoredSizes(foreseen []int64) {
	e.t.Helper()
	ctx := context.Background()
	bad := 0
	for i := range foreseen {
		id := fmt.Sprint("any/f", i)
		must(e.t, e.client.Exists(ctx, fmt.Sprintf("s:f%d:string", i)).Err())
		var size int64
		for _, key := range e.direct.Keys(ctx, fmt.Sprintf("s:f%d:*", i)).Val() {
			size += e.direct.MemoryUsage(ctx, key, 0).Val()
		}
		if known := e.sessionInfo(id, "bytes").(int64); !within(known, size, 1<<10) {
			bad++
			e.t.Logf("session %d came back with %d bytes, known are %d", i, size, known)
		}
	}
	if bad > len(foreseen)/20 { // Redis has said it from a sample of the elements, which differ tenfold
		e.t.Errorf("%d of %d sessions came back with another size than is known", bad, len(foreseen))
	}
}

// A session of keys with any name that is written again and again seems to grow only until it is measured anew.
func TestSizeOfARewrittenSession(t *testing.T) {
	e := newEnv(t, nil)
	ctx := context.Background()
	for i := range 60 {
		must(t, e.client.Set(ctx, "s:again:k", payload(i, 20_000), 0).Err())
		e.admin("SYNC")
	}
	e.settled()
	if n := e.sessionInfo("any/again", "bytes").(int64); n < 20_000 || n > 100_000 {
		t.Errorf("a session of 20 KB counts as %d bytes", n)
	}
}
