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
		targets: []string{"direct", "credproxy"}, loads: []string{"mix", "bots"}, clients: []int{1, 50, 500}, pipelines: []int{1, 16},
		size: 256, sessions: 1000, rounds: 5, duration: 2 * time.Second, warmup: 300 * time.Millisecond, restores: 300,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("defaults: got %+v, %v", got, err)
	}
	if d := got.planned(); d != 2*2*3*2*5*2300*time.Millisecond {
		t.Errorf("planned for %s", d)
	}
	got, err = parseOptions([]string{"--targets", "haproxy, direct", "--clients", "7", "--pipeline", "1, 2", "--loads", "get"}, io.Discard)
	if err != nil || !reflect.DeepEqual(got.targets, []string{"haproxy", "direct"}) || !reflect.DeepEqual(got.pipelines, []int{1, 2}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := parseOptions([]string{"-h"}, io.Discard); !errors.Is(err, flag.ErrHelp) || errors.Is(err, errUsage) {
		t.Errorf("-h: %v", err)
	}
}

func TestOptionsThatAreWrong(t *testing.T) {
	for args, want := range map[string]string{
		"--targets redis":         `unknown name "redis"`,
		"--targets direct,direct": "named twice",
		"--loads x":               `unknown name "x"`,
		"--clients 0":             `"0" is no number from 1 to 5000`,
		"--clients 1,,2":          `"" is no number`,
		"--pipeline 9999":         "from 1 to 1000",
		"--size 0":                "--size is 0",
		"--rounds -1":             "--rounds is -1",
		"--sessions 0":            "--sessions is 0",
		"--duration 0s":           "--duration must be",
		"--duration 99h":          "--duration must be",
		"--warmup -1s":            "--warmup from 0",
		"--restores 0":            "--restores is 0",
		"--restore --html x":      "--html draws loads",
		"--nope 1":                "nope",
		"direct":                  `unknown argument "direct"`,
		"--size 0 --clients x":    "--clients",
	} {
		_, err := parseOptions(strings.Fields(args), io.Discard)
		if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q", args, err, want)
		}
	}
}
