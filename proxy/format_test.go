package proxy_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"credproxy/internal/testenv"
	"credproxy/proxy"
	"credproxy/restore"
)

// holdLog keeps what a proxy logs.
func holdLog(l *logBuffer) func(*proxy.Config) {
	return func(cfg *proxy.Config) { cfg.Logger = hclog.New(&hclog.LoggerOptions{Output: l}) }
}

// What the proxy keeps in Redis of a session at rest takes 64 bytes at most, by Redis's own measure.
func TestMetadataIsSmall(t *testing.T) {
	const sessions, most = 12_000, 64
	e := newEnv(t, nil)
	ctx := context.Background()
	for from := 0; from < sessions; from += 1000 {
		pipe := e.client.Pipeline()
		for i := from; i < from+1000; i++ {
			pipe.Set(ctx, fmt.Sprintf("s:55119%08d:k", i*7919), "v", 0)
		}
		_, err := pipe.Exec(ctx)
		must(t, err)
	}
	e.admin("SYNC")
	for id := range e.states() {
		e.hits(id, 3) // a few accesses, as sessions have
		break
	}
	e.settled()
	var sum int64
	entries := 0
	for _, key := range e.direct.Keys(ctx, "credproxy:*").Val() {
		n, err := e.direct.MemoryUsage(ctx, key).Result()
		must(t, err)
		sum += n
		if strings.HasPrefix(key, "credproxy:2:heat:") {
			entries += int(e.direct.HLen(ctx, key).Val())
		}
	}
	if entries != sessions {
		t.Errorf("%d entries of %d sessions", entries, sessions)
	}
	t.Logf("%.1f bytes a session", float64(sum)/sessions)
	if sum > sessions*most {
		t.Errorf("%d sessions take %d bytes, %.1f each", sessions, sum, float64(sum)/sessions)
	}
}

// hits reads a session's key so many times.
func (e *env) hits(id string, n int) {
	e.t.Helper()
	for range n {
		must(e.t, e.client.Get(context.Background(), "s:"+strings.TrimPrefix(id, "any/")+":k").Err())
	}
}

// toFormat1 makes the metadata what a program of the first format has left.
func (e *env) toFormat1() {
	e.t.Helper()
	ctx := context.Background()
	for _, bucket := range e.direct.Keys(ctx, "credproxy:2:heat:*").Val() {
		for field, value := range e.direct.HGetAll(ctx, bucket).Val() {
			h := fnv.New32a()
			h.Write([]byte(field))
			must(e.t, e.direct.HSet(ctx, fmt.Sprintf("credproxy:1:heat:%x", h.Sum32()%256), field, value).Err())
		}
		must(e.t, e.direct.Del(ctx, bucket).Err())
	}
	for _, name := range []string{"run", "adopted", "dirty"} {
		if e.direct.Exists(ctx, "credproxy:2:"+name).Val() == 1 {
			must(e.t, e.direct.Rename(ctx, "credproxy:2:"+name, "credproxy:1:"+name).Err())
		}
	}
	must(e.t, e.direct.Del(ctx, "credproxy:format").Err())
}

// A program of the first format was killed. What it knew is known: who is resident, how often used and when, what is unsaved.
func TestOlderMetadataIsTakenOver(t *testing.T) {
	e := prepareEnv(t, rarely)
	addr, kill := e.startChild(time.Hour)
	c := dialWire(t, addr)
	e.stayAndGo(c, 20)
	e.hits("any/stay3", 7)
	c.want("+OK\r\n", "SET", "s:stay0:late", "acknowledged, not saved")
	hits := e.sessionInfo("any/stay3", "hits").(int64)
	testenv.Eventually(t, 10*time.Second, "heat in Redis", func() bool { return e.flushedHits()["any/stay3"] == uint64(hits) })
	before := e.lastAccess()
	kill()
	e.toFormat1()
	ctx := context.Background()
	// An upgrade that was cut short, or a program of today that ran before: a session that has been evicted since.
	must(t, e.direct.HSet(ctx, "credproxy:2:heat:0", "any/gone0", "\x01\x01\x01").Err())

	e.cfg.Sync.Interval = 20 * time.Millisecond
	e.start()
	e.waitSaved(anyID("stay0"), "s:stay0:late", "acknowledged, not saved")
	if got := e.sessionInfo("any/stay3", "hits"); got != hits {
		t.Errorf("%v hits, want %d", got, hits)
	}
	after := e.lastAccess()
	for i := range 20 {
		id := fmt.Sprint("stay", i)
		if d := before[id] - after[id]; d < 0 || d > 100 {
			t.Errorf("%s was used %d ms earlier than before", id, d)
		}
	}
	c = e.wire()
	if n := e.queries(func() { wantSessions(c, "stay", 20) }); n != 0 {
		t.Errorf("%d queries for sessions that are in Redis", n)
	}
	wantSessions(c, "gone", 20)
	if old := e.direct.Keys(ctx, "credproxy:1:*").Val(); len(old) > 0 {
		t.Errorf("of the first format are left: %v", old)
	}
}

// toFormat makes the metadata that of a program from the future.
func (e *env) toFormat(n string) {
	e.t.Helper()
	ctx := context.Background()
	for _, key := range e.direct.Keys(ctx, "credproxy:2:*").Val() {
		must(e.t, e.direct.Rename(ctx, key, strings.Replace(key, ":2:", ":"+n+":", 1)).Err())
	}
	must(e.t, e.direct.Set(ctx, "credproxy:format", n, 0).Err())
}

// A newer program has left metadata that nobody here understands. It is ignored, and said so: every session is looked for anew.
func TestNewerMetadataIsIgnored(t *testing.T) {
	var log logBuffer
	e := newEnv(t, holdLog(&log))
	c := e.wire()
	e.stayAndGo(c, 20)
	e.stop()
	e.toFormat("9")
	e.start()
	if text := log.String(); !strings.Contains(text, "metadata of a newer credproxy is ignored") || !strings.Contains(text, "its_format=9") {
		t.Errorf("the log does not say it: %s", text)
	}
	testenv.Eventually(t, 15*time.Second, "adoption", func() bool { return e.stat("adoption_pending") == 0 })
	if left := e.direct.Keys(context.Background(), "credproxy:9:*").Val(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	c = e.wire()
	wantSessions(c, "stay", 20)
	wantSessions(c, "gone", 20)
	e.evict("any/stay3")
	wantSessions(c, "stay", 20)
}

// Where a newer program has left unsaved keys, this one does not start: which of them were removed, it could not know.
func TestNewerMetadataWithUnsavedKeysIsRefused(t *testing.T) {
	e := prepareEnv(t, rarely)
	addr, kill := e.startChild(time.Hour)
	fillSessions(dialWire(t, addr), "late", 3)
	kill()
	e.toFormat("3")
	ctx := context.Background()
	store, err := restore.Open(ctx, restore.Config{DSN: e.dsn})
	must(t, err)
	defer store.Close()
	server, err := proxy.New(e.cfg, store)
	must(t, err)
	defer server.Shutdown(ctx)
	if err := server.Listen(ctx); err == nil || !strings.Contains(err.Error(), "format 3") || !strings.Contains(err.Error(), "3 keys") {
		t.Fatalf("listen: %v", err)
	}
	if n := e.direct.HLen(ctx, "credproxy:3:dirty").Val(); n != 3 {
		t.Errorf("%d marks are left of 3", n)
	}
}
