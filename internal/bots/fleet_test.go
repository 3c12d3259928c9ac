package bots

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/procs"
	"credproxy/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Run(m)) }

// start makes a small busy fleet on a server and runs it until every kind of work has been done.
func start(t *testing.T, server *procs.Redis, change func(*Config)) *Fleet {
	t.Helper()
	cfg := Config{Addr: server.Addr(), Bots: 10, Seed: 7, PreKeys: 40, Active: 50 * time.Millisecond, Quiet: time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// runUntil runs a fleet until cond holds or half a minute is over.
func runUntil(t *testing.T, f *Fleet, cond func(Stats) bool) Stats {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		f.Run(ctx)
	}()
	for ctx.Err() == nil && !cond(f.Stats()) {
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	failed := ctx.Err() != nil
	cancel()
	<-over
	if s := f.Stats(); failed {
		t.Fatalf("the fleet did not get there: %+v", s)
	}
	return f.Stats()
}

func wantClean(t *testing.T, s Stats) {
	t.Helper()
	if s.Wrong != 0 || s.Errors != 0 {
		t.Errorf("against a plain Redis: %d wrong (%s), %d errors (%s)", s.Wrong, s.LastWrong, s.Errors, s.LastError)
	}
}

func verify(t *testing.T, f *Fleet) Stats {
	t.Helper()
	if err := f.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	return f.Stats()
}

func TestPlainRedis(t *testing.T) {
	server := testenv.Redis(t)
	f := start(t, server, nil)
	s := runUntil(t, f, func(s Stats) bool { return s.Ops > 8000 && s.WakeP99 > 0 })
	wantClean(t, s)
	if s.Misses == 0 || s.Writes == 0 || s.Values == s.Misses {
		t.Errorf("the mix lacks something: %+v", s)
	}
	wantClean(t, verify(t, f))
	if after := f.Stats(); after.Values < s.Values+500 {
		t.Errorf("verify read %d values only", after.Values-s.Values)
	}
}

// A judge that never objects is worth nothing: whatever is done to a key behind a bot's back must show.
func TestTampering(t *testing.T) {
	for _, shape := range AllShapes() {
		t.Run(shape.String(), func(t *testing.T) { testTampering(t, shape) })
	}
}

func testTampering(t *testing.T, shape Shape) {
	server := testenv.Redis(t)
	f := start(t, server, func(c *Config) { c.Bots, c.Shapes = 1, []Shape{shape} })
	wantClean(t, runUntil(t, f, func(s Stats) bool { return s.Ops > 400 }))
	wantClean(t, verify(t, f))
	b := f.bots[0]
	deleted := item{preKey, 0}
	b.remove(t.Context(), deleted)
	stale := b.model.value(nil, deleted, b.model.at(deleted).Last)
	written := item{deviceList, 1}
	b.write(t.Context(), written)
	b.write(t.Context(), written)

	direct := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer direct.Close()
	cases := []struct {
		name, want string
		it         item
		value      []byte // nil: delete
	}{
		{"nil", "nil, but version", item{kind: creds}, nil},
		{"other bytes", "that were never written", item{kind: creds}, []byte("junk")},
		{"stale", "but version", written, b.model.value(nil, written, b.model.at(written).Version-1)},
		{"resurrected", "came back after it was deleted", deleted, stale},
	}
	for _, c := range cases {
		before := f.Stats().Wrong
		tamper(t, direct, b, c.it, c.value)
		if s := verify(t, f); s.Wrong != before+1 || !strings.Contains(s.LastWrong, c.want) {
			t.Errorf("%s: %d wrong answers, the last: %s", c.name, s.Wrong-before, s.LastWrong)
		}
		tamper(t, direct, b, c.it, mended(b, c.it))
	}
}

// mended is what an item should hold.
func mended(b *bot, it item) []byte {
	if v := b.model.at(it).Version; v > 0 {
		return b.model.value(nil, it, v)
	}
	return nil
}

func tamper(t *testing.T, direct *redis.Client, b *bot, it item, value []byte) {
	t.Helper()
	ctx := t.Context()
	key, isString := b.store.shape.stringKey(b.store.id, it)
	var err error
	switch hash := b.store.shape.hash(b.store.id); {
	case isString && value == nil:
		err = direct.Del(ctx, key).Err()
	case isString && b.store.shape == CredsAndKeys:
		err = direct.Set(ctx, key, value, expiry-time.Since(b.model.credsAt)).Err()
	case isString:
		err = direct.Set(ctx, key, value, 0).Err()
	case value == nil:
		err = direct.HDel(ctx, hash, it.name()).Err()
	default:
		err = direct.HSet(ctx, hash, it.name(), value).Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestExtraFieldAndLostExpiry(t *testing.T) {
	server := testenv.Redis(t)
	f := start(t, server, func(c *Config) { c.Bots, c.Shapes = 1, []Shape{CredsAndKeys} })
	wantClean(t, runUntil(t, f, func(s Stats) bool { return s.Ops > 100 }))
	direct := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer direct.Close()
	id := CredsAndKeys.SessionID(0, 0)
	direct.HSet(t.Context(), "wa:auth:"+id+":keys", "foreign", "x")
	if s := verify(t, f); s.Wrong != 1 {
		t.Errorf("a foreign field: %d wrong", s.Wrong)
	}
	direct.Persist(t.Context(), "wa:auth:"+id+":creds")
	if s := verify(t, f); s.Wrong != 3 || !strings.Contains(s.LastWrong, "expires in") {
		t.Errorf("a lost expiry: %d wrong, the last: %s", s.Wrong, s.LastWrong)
	}
}

// A fleet whose server goes away counts errors, not wrong answers, and knows after the server is back (with its data)
// which of its writes may have happened.
func TestServerGoesAway(t *testing.T) {
	server := testenv.Redis(t)
	f := start(t, server, nil)
	wantClean(t, runUntil(t, f, func(s Stats) bool { return s.Ops > 1000 }))
	direct := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	defer direct.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		f.Run(ctx)
	}()
	testenv.Eventually(t, 15*time.Second, "commands cut off", func() bool {
		direct.ClientKillByFilter(ctx, "TYPE", "normal", "SKIPME", "yes")
		return f.Stats().Errors > 20
	})
	cancel()
	<-over
	if s := verify(t, f); s.Wrong != 0 {
		t.Errorf("%d wrong answers, the last: %s", s.Wrong, s.LastWrong)
	}
}

// A later fleet takes over an earlier one's sessions.
func TestState(t *testing.T) {
	server := testenv.Redis(t)
	f := start(t, server, nil)
	wantClean(t, runUntil(t, f, func(s Stats) bool { return s.Ops > 1000 }))
	text, err := json.Marshal(f.State())
	if err != nil {
		t.Fatal(err)
	}
	var prior State
	if err := json.Unmarshal(text, &prior); err != nil {
		t.Fatal(err)
	}
	next := start(t, server, func(c *Config) { c.Prior = &prior })
	if s := verify(t, next); s.Values == 0 {
		t.Error("the second fleet knows of nothing")
	}
	wantClean(t, next.Stats())
	wantClean(t, runUntil(t, next, func(s Stats) bool { return s.Ops > 1000 }))

	prior.Seed++
	if _, err := New(Config{Addr: server.Addr(), Bots: 10, Seed: 7, PreKeys: 40, Prior: &prior}); err == nil {
		t.Error("a state of another seed was taken")
	}
}

func TestConfigErrors(t *testing.T) {
	for _, cfg := range []Config{{Addr: "h:1"}, {Bots: 1}, {Addr: "h:1", Bots: 1, Generation: 100}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}
