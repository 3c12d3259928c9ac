package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"time"
)

// probeCommands is what redis-benchmark sends first, to find out how many commands fill the measured time: it takes a number,
// not a duration.
const probeCommands = 20_000

// measureByRedis lets redis-benchmark send. It does not look at values, and knows no p99.9.
func measureByRedis(ctx context.Context, t *target, l load, s shape, opts options) (sample, error) {
	probe, err := redisBenchmark(ctx, t, l, s, opts, probeCommands)
	if err != nil {
		return sample{}, err
	}
	commands := max(int(probe.ops*opts.duration.Seconds()), probeCommands)
	var w window
	if w.before, err = t.usage(ctx); err != nil {
		return sample{}, err
	}
	start := time.Now()
	got, err := redisBenchmark(ctx, t, l, s, opts, commands)
	if err != nil {
		return sample{}, err
	}
	w.length = time.Since(start)
	if w.after, err = t.usage(ctx); err != nil {
		return sample{}, err
	}
	result := sample{OpsPerSecond: got.ops, P50: got.p50, P99: got.p99, Max: got.max}
	w.after.client, w.before.client = process{cpu: got.cpu}, process{}
	w.fill(&result, int64(commands))
	return result, nil
}

// redisResult is a line of redis-benchmark; latencies in microseconds.
type redisResult struct {
	ops, p50, p99, max float64
	cpu                time.Duration // its own
}

func redisBenchmark(ctx context.Context, t *target, l load, s shape, opts options, commands int) (redisResult, error) {
	host, port, err := net.SplitHostPort(t.addr)
	if err != nil {
		return redisResult{}, fmt.Errorf("run redis-benchmark: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, opts.warmup+10*opts.duration+slack, errSlow)
	defer cancel()
	args := []string{"-h", host, "-p", port, "-c", strconv.Itoa(s.Clients), "-P", strconv.Itoa(s.Pipeline),
		"-n", strconv.Itoa(commands), "-r", strconv.Itoa(opts.sessions), "--csv"}
	if opts.loops > 1 {
		args = append(args, "--threads", strconv.Itoa(opts.loops))
	}
	cmd := exec.CommandContext(ctx, driverRedis, append(args, l.template...)...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return redisResult{}, fmt.Errorf("run redis-benchmark: %w: %.300s", err, complaint.String())
	}
	r, err := parseRedisBenchmark(out)
	r.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return r, err
}

// parseRedisBenchmark reads its CSV: "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms", and so on.
func parseRedisBenchmark(out []byte) (redisResult, error) {
	in := csv.NewReader(bytes.NewReader(out))
	in.FieldsPerRecord, in.LazyQuotes = -1, true // the test's name is the command, unescaped
	rows, err := in.ReadAll()
	if err != nil || len(rows) < 2 {
		return redisResult{}, fmt.Errorf("read redis-benchmark's result %.200q: %w", out, err)
	}
	head, row := rows[0], rows[len(rows)-1]
	figure := func(name string) (v float64) {
		for i, h := range head {
			// From the end: whatever the command is, what follows are numbers.
			if at := len(row) - len(head) + i; h == name && at >= 0 {
				v, err = strconv.ParseFloat(row[at], 64)
				return v
			}
		}
		err = fmt.Errorf("no column %s", name)
		return 0
	}
	const ms = 1000
	r := redisResult{
		ops: figure("rps"), p50: figure("p50_latency_ms") * ms, p99: figure("p99_latency_ms") * ms, max: figure("max_latency_ms") * ms,
	}
	if err != nil {
		return r, fmt.Errorf("read redis-benchmark's result: %w", err)
	}
	return r, nil
}
