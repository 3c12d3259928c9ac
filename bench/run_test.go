package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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
	return &target{spec: spec{name: "direct"}, addr: redis.Addr(), redisAddr: redis.Addr(), redis: redis.PID()}
}

// testOptions measure briefly.
func testOptions() options {
	return options{sizes: []int{64}, sessions: 30, duration: 300 * time.Millisecond, warmup: 20 * time.Millisecond, driver: driverOwn, loops: 1}
}

// testLoad is filled into the target.
func testLoad(t *testing.T, target *target, name string) load {
	t.Helper()
	l := loadsOf(name, testOptions())[0]
	if err := target.fill(t.Context(), l, testOptions().sessions); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestLoadsGetTheRepliesTheyExpect sends thousands of commands of every load to a real Redis.
func TestLoadsGetTheRepliesTheyExpect(t *testing.T) {
	target := testTarget(t)
	for _, name := range loadNames {
		l := testLoad(t, target, name)
		c, err := dial(t.Context(), target.addr, time.Now().Add(30*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		rng := rand.New(rand.NewPCG(1, 2))
		kinds := map[byte]int{}
		w := &worker{conn: c.Conn, in: make([]byte, 100), r: &runner{}} // replies come in pieces
		for range 5000 {
			var want expect
			if _, err := c.Write(l.next(nil, rng, &want)); err != nil {
				t.Fatal(err)
			}
			if err := w.reply(&want); err != nil || w.r.wrong > 0 {
				t.Fatalf("%s: %v, %s", name, err, w.r.example)
			}
			kinds[want.kind]++
		}
		if onlyReads := name == "get" || l.besides != nil; !onlyReads && kinds['+'] == 0 || name != "set" && kinds['$'] == 0 {
			t.Errorf("%s: kinds of commands are %v", name, kinds)
		}
	}
}

// TestMeasure has each kind of client send in both loops.
func TestMeasure(t *testing.T) {
	target := testTarget(t)
	l := testLoad(t, target, "mix")
	for _, goroutines := range []bool{false, true} {
		for _, rate := range []float64{0, 4000} {
			opts := testOptions()
			opts.goroutines, opts.loops = goroutines, 2
			got, err := measure(t.Context(), target, l, shape{Clients: 8, Pipeline: 4, Rate: rate}, opts)
			if err != nil {
				t.Fatal(err)
			}
			if got.OpsPerSecond < 100 || got.P50 <= 0 || got.P50 > got.P99 || got.P99 > got.P999 || got.P999 > got.Max*1.01 ||
				rate == 0 && got.RedisCPU <= 0 || got.RedisRSS <= 0 || got.ProxyCPU != 0 || got.ClientCPU <= 0 || got.Wrong != 0 {
				t.Errorf("goroutines %v, rate %v: got %+v", goroutines, rate, got)
			}
			if rate > 0 && got.OpsPerSecond > 1.2*rate {
				t.Errorf("goroutines %v: %v commands per second, %v were ordered", goroutines, got.OpsPerSecond, rate)
			}
		}
	}
}

// TestStallIsChargedToAll: a target that stands still for the measured time has answered nothing then. In the open loop everything
// that should have been sent meanwhile has waited, and is counted.
func TestStallIsChargedToAll(t *testing.T) {
	target := testTarget(t)
	l := testLoad(t, target, "get")
	for _, goroutines := range []bool{false, true} {
		opts := testOptions()
		opts.goroutines = goroutines
		r := &runner{target: target, load: l, pipeline: 1, began: time.Now(), latency: newHistogram()}
		s := shape{Clients: 4, Pipeline: 1, Rate: 1000}
		clients, err := r.connect(t.Context(), s, opts)
		if err != nil {
			t.Fatal(err)
		}
		c, err := dial(t.Context(), target.addr, time.Now().Add(30*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.do(command(nil, "CLIENT", "PAUSE", "400", "ALL"), 1); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for _, c := range clients {
			defer c.close()
			all.Go(func() {
				if err := c.run(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		r.phase.Store(measuring)
		if err := wait(t.Context(), 200*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		r.ended.Store(int64(r.clock()))
		r.phase.Store(stopping)
		all.Wait()
		// Without the schedule there would be one late reply of each client, or none.
		if n := r.latency.TotalCount(); n < 100 || r.latency.Max() < int64(100*time.Millisecond) {
			t.Errorf("goroutines %v: %d latencies, the longest %s", goroutines, n, time.Duration(r.latency.Max()))
		}
	}
}

func TestMeasureCountsWrongReplies(t *testing.T) {
	target := testTarget(t)
	// Not filled: every GET is a lost value.
	for _, goroutines := range []bool{false, true} {
		opts := testOptions()
		opts.goroutines = goroutines
		got, err := measure(t.Context(), target, loadsOf("get", opts)[0], shape{Clients: 1, Pipeline: 1}, opts)
		if err != nil || got.Wrong == 0 || got.Example != "null" {
			t.Errorf("got %+v, %v", got, err)
		}
	}
}

// TestLargePipelines do not fit into a connection's buffers: requests and replies are under way at once.
func TestLargePipelines(t *testing.T) {
	target := testTarget(t)
	opts := testOptions()
	opts.sizes = []int{100_000}
	l := loadsOf("mix", opts)[0]
	if err := target.fill(t.Context(), l, opts.sessions); err != nil {
		t.Fatal(err)
	}
	got, err := measure(t.Context(), target, l, shape{Clients: 3, Pipeline: 100}, opts)
	if err != nil || got.Wrong != 0 || got.OpsPerSecond == 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestRedisBenchmark drives a real one.
func TestRedisBenchmark(t *testing.T) {
	target := testTarget(t)
	if _, err := exec.LookPath(driverRedis); err != nil {
		t.Skip(err)
	}
	l := testLoad(t, target, "get")
	opts := testOptions()
	opts.driver = driverRedis
	got, err := measure(t.Context(), target, l, shape{Clients: 2, Pipeline: 4}, opts)
	if err != nil || got.OpsPerSecond < 100 || got.P50 <= 0 || got.P50 > got.P99 || got.ClientCPU <= 0 {
		t.Errorf("got %+v, %v", got, err)
	}
	c, err := dial(t.Context(), target.addr, time.Now().Add(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if hits := c.info("stats", "keyspace_misses"); hits != "0" {
		t.Errorf("%s keys were not there", hits)
	}
}

func TestMeasureEndsWhenItIsTold(t *testing.T) {
	target := testTarget(t)
	for _, goroutines := range []bool{false, true} {
		opts := testOptions()
		opts.duration, opts.goroutines = time.Hour, goroutines
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := measure(ctx, target, loadsOf("get", opts)[0], shape{Clients: 4, Pipeline: 1}, opts)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
	}
}

func TestMeasureSaysWhatBroke(t *testing.T) {
	target := testTarget(t)
	for _, goroutines := range []bool{false, true} {
		opts := testOptions()
		opts.duration, opts.goroutines = time.Hour, goroutines
		l := loadsOf("get", opts)[0]
		next := l.next
		l.next = func(b []byte, rng *rand.Rand, want *expect) []byte {
			if rng.IntN(100) == 0 {
				*want = okReply
				return command(b, "QUIT") // Redis hangs up
			}
			return next(b, rng, want)
		}
		_, err := measure(t.Context(), target, l, shape{Clients: 4, Pipeline: 1}, opts)
		if err == nil || !(strings.Contains(err.Error(), "read reply") || strings.Contains(err.Error(), "send")) {
			t.Errorf("error is %v", err)
		}
	}
}

// TestRun is the whole program against Redis, with and without TLS; peers that are not installed are left out.
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
	if err := c.ready(ctx, &target{addr: addr}); err == nil || !strings.Contains(err.Error(), "the port is taken") {
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
