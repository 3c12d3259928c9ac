package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"credproxy/internal/procs"
)

// testTarget is a private Redis.
func testTarget(t *testing.T) *target {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	redis, err := procs.StartRedis(ctx, procs.RedisConfig{Dir: t.TempDir()})
	if errors.Is(err, procs.ErrMissing) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := redis.Kill(); err != nil {
			t.Error(err)
		}
	})
	return &target{name: "direct", addr: redis.Addr(), redis: redis.PID()}
}

// TestLoadsGetTheRepliesTheyExpect sends thousands of commands of every load to a real Redis.
func TestLoadsGetTheRepliesTheyExpect(t *testing.T) {
	target := testTarget(t)
	opts := options{size: 64, sessions: 30}
	for _, name := range loadNames {
		l := newLoad(name, opts)
		if err := fill(t.Context(), target.addr, l, opts.sessions); err != nil {
			t.Fatal(err)
		}
		c, err := dial(t.Context(), target.addr, time.Now().Add(30*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		rng := rand.New(rand.NewPCG(1, 2))
		kinds := map[byte]int{}
		for range 5000 {
			request, want := l.next(nil, rng)
			if _, err := c.Write(request); err != nil {
				t.Fatal(err)
			}
			got, err := c.read()
			if err != nil || !got.ok(want) {
				t.Fatalf("%s: %.60q got %v, %v", name, request, got, err)
			}
			kinds[want]++
		}
		if name != "get" && (kinds['+'] == 0 || kinds['$'] == 0) {
			t.Errorf("%s: kinds of commands are %v", name, kinds)
		}
	}
}

func TestMeasure(t *testing.T) {
	target := testTarget(t)
	opts := options{size: 64, sessions: 10, duration: 300 * time.Millisecond, warmup: 20 * time.Millisecond}
	l := newLoad("mix", opts)
	if err := fill(t.Context(), target.addr, l, opts.sessions); err != nil {
		t.Fatal(err)
	}
	got, err := measure(t.Context(), target, l, shape{Clients: 8, Pipeline: 4}, opts)
	if err != nil {
		t.Fatal(err)
	}
	if got.OpsPerSecond < 100 || got.P50 <= 0 || got.P50 > got.P99 || got.P99 > got.P999 || got.P999 > got.Max*1.01 ||
		got.RedisCPU <= 0 || got.RedisRSS <= 0 || got.ProxyCPU != 0 || got.Wrong != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestMeasureCountsWrongReplies(t *testing.T) {
	target := testTarget(t)
	opts := options{size: 64, sessions: 10, duration: 50 * time.Millisecond}
	// Not filled: every GET is a lost value.
	got, err := measure(t.Context(), target, newLoad("get", opts), shape{1, 1}, opts)
	if err != nil || got.Wrong == 0 || got.Example != "null" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestMeasureEndsWhenItIsTold(t *testing.T) {
	target := testTarget(t)
	opts := options{size: 64, sessions: 10, duration: time.Hour}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := measure(ctx, target, newLoad("get", opts), shape{4, 1}, opts)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
}

func TestMeasureSaysWhatBroke(t *testing.T) {
	target := testTarget(t)
	opts := options{size: 64, sessions: 10, duration: time.Hour}
	l := newLoad("get", opts)
	next := l.next
	l.next = func(b []byte, rng *rand.Rand) ([]byte, byte) {
		if rng.IntN(100) == 0 {
			return command(b, "QUIT"), '+' // Redis hangs up
		}
		return next(b, rng)
	}
	_, err := measure(t.Context(), target, l, shape{4, 1}, opts)
	if err == nil || !(strings.Contains(err.Error(), "read reply") || strings.Contains(err.Error(), "send")) {
		t.Errorf("error is %v", err)
	}
}

// TestRun is the whole program against Redis alone; peers that are not installed are left out.
func TestRun(t *testing.T) {
	testTarget(t) // skips where there is no Redis
	dir := t.TempDir()
	jsonPath, htmlPath := filepath.Join(dir, "out.json"), filepath.Join(dir, "out.html")
	var out, progress strings.Builder
	err := run(t.Context(), []string{"--targets", "direct,nutcracker", "--clients", "2", "--pipeline", "1,4", "--sessions", "20",
		"--rounds", "2", "--duration", "50ms", "--warmup", "10ms", "--json", jsonPath, "--html", htmlPath}, &out, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	text, err := os.ReadFile(jsonPath)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if want := 2 * 2 * (2 - len(r.About.Skipped)); len(r.Results) != want || len(r.Results[0].Rounds) != 2 {
		t.Errorf("%d results, want %d", len(r.Results), want)
	}
	if page, err := os.ReadFile(htmlPath); err != nil || !strings.Contains(string(page), "</html>") {
		t.Errorf("page: %v", err)
	}
	if !strings.Contains(out.String(), "bots, 2 clients, 4 deep") {
		t.Errorf("table:\n%s", out.String())
	}
}

// TestChild: a proxy that ends instead of serving is reported with what it said.
func TestChild(t *testing.T) {
	c, err := startChild(t.TempDir(), "proxy", "sh", "-c", "echo the port is taken; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.ready(ctx, addr); err == nil || !strings.Contains(err.Error(), "the port is taken") {
		t.Errorf("ready: %v", err)
	}
	if err := c.stop(); err != nil {
		t.Errorf("stop after the end: %v", err)
	}
	if _, err := startChild(t.TempDir(), "proxy", "/no/such/program"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("start of nothing: %v", err)
	}
}

func TestNoTargetLeft(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := run(t.Context(), []string{"--targets", "haproxy"}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "no target is left") {
		t.Errorf("error is %v", err)
	}
}
