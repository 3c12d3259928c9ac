package main

import (
	"errors"
	"flag"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestOptions(t *testing.T) {
	got, err := parseOptions(nil, io.Discard)
	want := options{
		targets: specsNamed([]string{"direct", "credproxy"}, nil), loads: []string{"mix", "bots"}, clients: []int{1, 50, 500},
		pipelines: []int{1, 16}, sizes: []int{256}, skew: 1, sessions: 1000, rounds: 5, duration: 2 * time.Second,
		warmup: 300 * time.Millisecond, restores: 300, idle: 10_000, tracked: 100_000, driver: driverOwn, loops: 1, mode: modeLoads,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("defaults: got %+v, %v", got, err)
	}
	if d := got.planned(); d != 2*2*3*2*5*2300*time.Millisecond {
		t.Errorf("planned for %s", d)
	}
	got, err = parseOptions([]string{"--targets", "haproxy, direct", "--clients", "7", "--pipeline", "1, 2", "--loads", "get,bots",
		"--size", "256,16384", "--rate", "1000", "--target", "other=127.0.0.1:7000,redis=7001", "--build", "old=bin/old"}, io.Discard)
	var targets []string
	for _, s := range got.targets {
		targets = append(targets, s.name)
	}
	want.pipelines = []int{1, 2}
	if err != nil || !reflect.DeepEqual(targets, []string{"haproxy", "direct", "other", "old"}) || !reflect.DeepEqual(got.pipelines, want.pipelines) ||
		!reflect.DeepEqual(got.shapesOf(load{})[1], shape{Clients: 7, Pipeline: 2, Rate: 1000}) || got.goroutines ||
		got.planned() != 4*3*2*5*2300*time.Millisecond || got.targets[3].build != "bin/old" || got.targets[3].mode != "behind" {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = parseOptions([]string{"--large", "--pipeline", "1,16"}, io.Discard)
	if readers := (shape{Clients: 50, Pipeline: 1, Rate: 5000}); err != nil || !reflect.DeepEqual(got.loads, []string{"large"}) ||
		!reflect.DeepEqual(got.shapesOf(loadsOf("large", got)[0]), []shape{readers}) || got.planned() != 2*4*5*2300*time.Millisecond {
		t.Errorf("--large: got %+v, %v", got, err)
	}
	if _, err := parseOptions([]string{"-h"}, io.Discard); !errors.Is(err, flag.ErrHelp) || errors.Is(err, errUsage) {
		t.Errorf("-h: %v", err)
	}
}

// TestTLSNeedsOneKindOfClient: what is compared must be asked by the same.
func TestTLSNeedsOneKindOfClient(t *testing.T) {
	got, err := parseOptions([]string{"--targets", "direct,direct:tls"}, io.Discard)
	if err != nil || !got.goroutines || got.clientName() != driverGoroutines {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestOptionsThatAreWrong(t *testing.T) {
	for args, want := range map[string]string{
		"--targets redis":                       `unknown name "redis"`,
		"--targets direct,direct":               "named twice",
		"--loads x":                             `unknown name "x"`,
		"--clients 0":                           `"0" is no number from 1 to 5000`,
		"--clients 1,,2":                        `"" is no number`,
		"--pipeline 9999":                       "from 1 to 1000",
		"--size 0":                              "--size: \"0\" is no number",
		"--rate -1":                             "--rate must be",
		"--skew 99":                             "--skew from 0",
		"--idle 0":                              "--idle is 0",
		"--tracked 0":                           "--tracked is 0",
		"--memory --compare x":                  "are about loads",
		"--loops 0":                             "--loops is 0",
		"--restore --restart":                   "cannot be measured in one run",
		"--driver x":                            "not known",
		"--target direct=h:1,redis=2":           "the name is taken",
		"--target x":                            "no name",
		"--build x":                             "write name=program",
		"--build direct=x":                      "that no target has",
		"--target x=h:1":                        "no port of the Redis",
		"--target x=h:1,redis=y":                "is no number",
		"--driver redis-benchmark --rate 5":     "no open loop",
		"--driver redis-benchmark --loads bots": "sends get and set",
		"--driver redis-benchmark --targets direct:tls": "without TLS",
		"--rounds -1":          "--rounds is -1",
		"--sessions 0":         "--sessions is 0",
		"--duration 0s":        "--duration must be",
		"--duration 99h":       "--duration must be",
		"--warmup -1s":         "--warmup from 0",
		"--restores 0":         "--restores is 0",
		"--restore --html x":   "--html and --compare are about loads",
		"--nope 1":             "nope",
		"direct":               `unknown argument "direct"`,
		"--size 0 --clients x": "--clients",
	} {
		_, err := parseOptions(strings.Fields(args), io.Discard)
		if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q", args, err, want)
		}
	}
}
