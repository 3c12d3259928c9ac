package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"credproxy/cmd/credproxy/config"
	"credproxy/internal/trace"
)

// recordCommand writes down which sessions of a running proxy are used when.
func recordCommand() *cli.Command {
	var to recordLimits
	cmd := adminCommand("record", "record which sessions of a running proxy are used when, for credproxy simulate", "",
		func(ctx context.Context, r *remote, _ []string) error { return r.record(ctx, to) },
		&cli.StringFlag{Name: "out", Usage: "the trace `FILE` to write; it must not exist"},
		&cli.DurationFlag{Name: "for", Value: time.Hour, Usage: "stop after `TIME`, if not interrupted before"},
		&cli.StringFlag{Name: "max-size", Value: "256MB", Usage: "stop when the file has this `SIZE`"})
	cmd.Before = func(c *cli.Context) (err error) {
		to = recordLimits{path: c.String("out"), duration: c.Duration("for")}
		if to.path == "" {
			return usagef("record wants --out FILE")
		}
		if to.duration <= 0 {
			return usagef("record: --for %s is no time: write for instance 1h", to.duration)
		}
		if to.bytes, err = config.ParseSize(c.String("max-size")); err != nil {
			return usagef("record: --max-size %v", err)
		}
		// --timeout is about one answer of the proxy; recording takes as long as it takes.
		to.timeout = c.Duration("timeout")
		return c.Set("timeout", (to.duration + to.timeout).String())
	}
	return cmd
}

// recordLimits says where a trace goes and when it ends.
type recordLimits struct {
	path     string
	duration time.Duration
	bytes    int64
	timeout  time.Duration
}

// recordPoll is how often the proxy is asked for what it has: it keeps 16 MB, which is minutes of a busy fleet.
const recordPoll = 250 * time.Millisecond

func (r *remote) record(ctx context.Context, to recordLimits) error {
	file, err := os.OpenFile(to.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create trace: %w", err)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, to.duration)
	defer cancel()
	rec := &recordFile{remote: r, out: file, most: to.bytes, timeout: to.timeout, duration: to.duration}
	if terminal(r.log) { // an hour of lines would be too many
		rec.shown = newProgress(r.log, "recording, second")
	}
	err = rec.run(ctx)
	if rec.shown != nil {
		rec.shown.end()
	}
	if cerr := file.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("write trace: %w", cerr)
	}
	if err != nil && rec.written <= int64(len(trace.Magic)) {
		os.Remove(to.path) // nothing in it, and in the way of the next attempt
	}
	if err != nil {
		return err
	}
	return r.showRecorded(to.path, rec)
}

// recordFile is a trace being written.
type recordFile struct {
	remote  *remote
	out     io.Writer
	most    int64
	timeout time.Duration
	written int64
	dropped int64

	duration time.Duration
	shown    *progress // nil: nobody looks
}

// run records until ctx ends, which is how a recording is meant to end, or until the file is full. The proxy is told to stop in
// any case.
func (f *recordFile) run(ctx context.Context) (err error) {
	if err := f.write([]byte(trace.Magic)); err != nil {
		return err
	}
	if _, err := f.ask("START"); err != nil {
		return err
	}
	defer func() {
		if _, serr := f.ask("STOP"); err == nil {
			err = serr
		}
	}()
	tick := time.NewTicker(recordPoll)
	defer tick.Stop()
	for begun := time.Now(); f.written < f.most; {
		select {
		case <-tick.C:
			if f.shown != nil {
				f.shown.set(int64(time.Since(begun).Seconds()), int64(f.duration.Seconds()))
			}
		case <-ctx.Done():
			return f.drain()
		}
		if err := f.drain(); err != nil {
			return err
		}
	}
	return nil
}

// drain writes all that the proxy has.
func (f *recordFile) drain() error {
	for f.written < f.most {
		reply, err := f.ask("READ")
		if err != nil {
			return err
		}
		parts, _ := reply.([]any)
		if len(parts) != 2 {
			return fmt.Errorf("read trace: the proxy answered with %T, not with a batch of events", reply)
		}
		dropped, _ := parts[0].(int64)
		events, _ := parts[1].(string)
		f.dropped = dropped
		if err := f.write([]byte(events)); err != nil {
			return err
		}
		const little = 64 << 10
		if len(events) < little {
			return nil
		}
	}
	return nil
}

// ask has a time limit of its own: when the recording's time is over, its end has still to be read.
func (f *recordFile) ask(what string) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), f.timeout)
	defer cancel()
	return f.remote.do(ctx, "RECORD", what)
}

func (f *recordFile) write(b []byte) error {
	n, err := f.out.Write(b)
	f.written += int64(n)
	if err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	return nil
}

// showRecorded says what the file holds.
func (r *remote) showRecorded(path string, rec *recordFile) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open trace: %w", err)
	}
	defer file.Close()
	events, sessions := int64(0), map[uint64]bool{}
	if err := trace.Read(file, func(ev trace.Event) {
		events++
		sessions[ev.Session] = true
	}); err != nil {
		return err
	}
	out := record{{"trace", path}, {"uses", events}, {"sessions", int64(len(sessions))}, {"file_bytes", rec.written},
		{"dropped", rec.dropped}}
	if r.json {
		return writeJSON(r.out, out)
	}
	return out.table(r.out)
}
