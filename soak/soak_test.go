package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/procs"
)

// binary is the proxy with its barriers, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	redis.SetLogger(silent{})
	os.Exit(withBinary(m.Run))
}

func withBinary(run func() int) int {
	dir, err := os.MkdirTemp("", "credproxy-soak-bin-")
	if err == nil {
		defer os.RemoveAll(dir)
		binary, err = build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return run()
}

// testOptions are those of a run that is short, but long enough for some dozen deaths.
func testOptions(d time.Duration) options {
	opt := defaults()
	opt.duration, opt.round, opt.sessions = d, 4*time.Second, 80
	return opt
}

func mustRun(t *testing.T, res result, err error) {
	t.Helper()
	if errors.Is(err, procs.ErrMissing) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	res.tally.print(t.Output())
}

// soakTest runs and wants no violation; and that there was something to violate.
func soakTest(t *testing.T, opt options, happened ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), opt.duration+90*time.Second)
	defer cancel()
	res, err := soak(ctx, binary, opt)
	mustRun(t, res, err)
	for _, v := range res.violations {
		t.Errorf("violation: %s", v)
	}
	if n := res.tally.get("histories undecided"); n > 0 {
		t.Errorf("%d histories could not be decided", n)
	}
	for _, what := range append(happened, "evictions", "restores", "histories legal") {
		if res.tally.get(what) == 0 {
			t.Errorf("no %s: the run has tested nothing", what)
		}
	}
}

func TestEverythingDies(t *testing.T) {
	soakTest(t, testOptions(12*time.Second), "proxy starts", struck+"redis-cut", "connections cut within a reply", diedAnywhere)
}

func TestRedisDiesBehind(t *testing.T) {
	opt := testOptions(5 * time.Second)
	opt.redisKill = true
	soakTest(t, opt, struck+"redis-kill", lostWrites)
}

func TestRedisDiesThrough(t *testing.T) {
	opt := testOptions(5 * time.Second)
	opt.redisKill, opt.sync = true, "through"
	soakTest(t, opt, struck+"redis-kill")
}

// TestPlantsAreFound shows that the checker finds what it is there for.
func TestPlantsAreFound(t *testing.T) {
	for i, p := range plants {
		t.Run(p.name, func(t *testing.T) {
			opt := testOptions(30 * time.Second)
			opt.round = 2500 * time.Millisecond
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			res, err := findPlant(ctx, binary, opt, i)
			mustRun(t, res, err)
			if len(res.violations) == 0 {
				t.Errorf("not found in %d rounds: %s", res.rounds, p.breaks)
			}
		})
	}
}
