package main

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// about says under which circumstances the results came about.
type about struct {
	At        time.Time `json:"at"`
	Go        string    `json:"go"`
	Kernel    string    `json:"kernel"`
	Processor string    `json:"processor"`
	CPUs      int       `json:"cpus"`
	Redis     string    `json:"redis"`
	Client    string    `json:"client"`
	Sessions  int       `json:"sessions"`
	Rounds    int       `json:"rounds"`
	Seconds   float64   `json:"seconds_each"`
	Skipped   []string  `json:"skipped,omitempty"`
}

// describe looks at the machine. What it cannot find out stays empty.
func describe(ctx context.Context, opts options, s *stack) about {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	redis, _ := exec.CommandContext(ctx, "redis-server", "--version").Output()
	return about{
		At:        time.Now().UTC().Truncate(time.Second),
		Go:        runtime.Version(),
		Kernel:    strings.TrimSpace(string(kernel)),
		Processor: processorName(),
		CPUs:      runtime.NumCPU(),
		Redis:     versionOf(string(redis)),
		Client:    opts.clientName(),
		Sessions:  opts.sessions, Rounds: opts.rounds, Seconds: opts.duration.Seconds(),
		Skipped: s.skipped,
	}
}

func processorName() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// versionOf finds "v=7.0.15" in the output of redis-server --version.
func versionOf(output string) string {
	for word := range strings.FieldsSeq(output) {
		if version, ok := strings.CutPrefix(word, "v="); ok {
			return version
		}
	}
	return ""
}
