package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// This part measures what a proxy remembers: its resident memory with many idle clients, and with many sessions.

// memoryResult is one target; bytes each, 0: not measured.
type memoryResult struct {
	Target      string  `json:"target"`
	Clients     int     `json:"clients"`
	ClientProxy float64 `json:"proxy_bytes_per_client"`
	ClientRedis float64 `json:"redis_bytes_per_client"`
	Sessions    int     `json:"sessions"`
	Tracked     float64 `json:"proxy_bytes_per_tracked_session"`
}

// restTime is how long a target is left alone before its memory is read.
const restTime = 2 * time.Second

// memoryTime is about what a target takes; it only bounds the run.
const memoryTime = time.Minute

// runMemory measures, prints and writes.
func runMemory(ctx context.Context, s *stack, out io.Writer) error {
	r := report{About: describe(ctx, s.opts, s)}
	for _, t := range s.targets {
		fmt.Fprintf(s.progress, "memory of %s\n", t.name)
		got, err := t.memory(ctx, s.opts)
		if err != nil {
			return fmt.Errorf("measure memory of %s: %w", t.name, err)
		}
		r.Memory = append(r.Memory, got)
	}
	return publish(r, s.opts, out)
}

func (t *target) memory(ctx context.Context, opts options) (memoryResult, error) {
	r := memoryResult{Target: t.name, Clients: min(opts.idle, idleMost(t.name))}
	before, after, err := t.grows(ctx, func() (func(), error) { return t.idleClients(ctx, r.Clients) })
	if err != nil {
		return r, err
	}
	r.ClientProxy, r.ClientRedis = each(before.proxy, after.proxy, r.Clients), each(before.redis, after.redis, r.Clients)
	if !t.saves {
		return r, nil
	}
	// What the clients have left behind would be used for the sessions.
	if err := t.renew(ctx); err != nil {
		return r, err
	}
	r.Sessions = opts.tracked
	before, after, err = t.grows(ctx, func() (func(), error) { return func() {}, t.track(ctx, r.Sessions) })
	r.Tracked = each(before.proxy, after.proxy, r.Sessions)
	return r, err
}

// renew stops the proxy in order and starts it again.
func (t *target) renew(ctx context.Context) (err error) {
	if err = t.child.stop(); err != nil {
		return err
	}
	if t.child, err = t.start(); err != nil {
		return err
	}
	t.proxy = t.child.cmd.Process.Pid
	return t.child.ready(ctx, t)
}

// grows reads the memory before and after something.
func (t *target) grows(ctx context.Context, do func() (func(), error)) (before, after usage, err error) {
	rest := func() (usage, error) {
		if err := t.settle(ctx); err != nil {
			return usage{}, err
		}
		if err := wait(ctx, restTime); err != nil {
			return usage{}, err
		}
		return t.usage(ctx)
	}
	if before, err = rest(); err != nil {
		return before, after, err
	}
	undo, err := do()
	if err != nil {
		return before, after, err
	}
	defer undo()
	after, err = rest()
	return before, after, err
}

func each(before, after process, n int) float64 {
	return float64(after.rss-before.rss) / float64(max(n, 1))
}

// idleClients connects n clients that send one command each, and then nothing.
func (t *target) idleClients(ctx context.Context, n int) (func(), error) {
	r := &runner{target: t, load: stringLoad("idle", 0, readerSize, 1), pipeline: 1, began: time.Now(), latency: newHistogram()}
	if t.tls != nil {
		conns, err := dialMany(ctx, t, n, time.Now().Add(maxDuration))
		for _, c := range conns {
			if err == nil {
				err = c.do(command(nil, "GET", credsKey("idle", 0)), 1)
			}
		}
		return func() {
			for _, c := range conns {
				c.Close()
			}
		}, err
	}
	l, err := newLoop(r, n)
	if err != nil {
		return nil, err
	}
	r.phase.Store(stopping) // each sends once
	return l.close, l.run(ctx)
}

// idleMost is how many clients a target can have here. A proxy needs a file for each, HAProxy two; so do we.
func idleMost(name string) int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return maxClients
	}
	const others = 1000
	most := min(int(files.Cur), connLimit) - others
	if name == "haproxy" {
		return min(most, maxClients)
	}
	return most
}

// track makes many sessions known to the proxy.
func (t *target) track(ctx context.Context, sessions int) error {
	return t.fill(ctx, load{name: "sessions", seed: func(b []byte, id int) ([]byte, int) {
		return command(b, "CREDPROXY", "TRACK", "bench/"+sessionName("tracked", id), "1000"), 1
	}}, sessions)
}

func printMemory(out io.Writer, all []memoryResult) error {
	if len(all) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nResident memory\n\t"+strings.Join(memoryHeads, "\t")+"\t")
	for _, r := range all {
		fmt.Fprintf(w, "%s\t%s\t\n", r.Target, strings.Join(r.Texts(), "\t"))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return nil
}

var memoryHeads = []string{"idle clients", "proxy KB/client", "redis KB/client", "sessions", "proxy bytes/session"}

// Texts are a result's figures, in the order of memoryHeads.
func (r memoryResult) Texts() []string {
	number := func(format string, v float64) string {
		if v == 0 {
			return "-"
		}
		return fmt.Sprintf(format, v)
	}
	return []string{
		fmt.Sprint(r.Clients), number("%.1f", r.ClientProxy/1024), number("%.1f", r.ClientRedis/1024),
		number("%.0f", float64(r.Sessions)), number("%.0f", r.Tracked),
	}
}
