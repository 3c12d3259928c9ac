// Command bench compares Redis proxies side by side: it starts private servers on the loopback interface, runs the same
// loads against each target in interleaved rounds, and reports medians with their spread. README.md says what is measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// startTime bounds the start of all servers, the build of the proxy and the filling with sessions.
const startTime = 5 * time.Minute

// run does it all: the table goes to out, progress to progress.
func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	opts, err := parseOptions(args, progress)
	if err != nil {
		return err
	}
	if opts.compare != "" { // found out now rather than after all the measuring
		if _, err := readReport(opts.compare); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "credproxy-bench-")
	if err != nil {
		return fmt.Errorf("make bench folder: %w", err)
	}
	defer os.RemoveAll(dir)
	// Postgres, started by root, runs as another user, who must be able to pass.
	if err := os.Chmod(dir, 0o711); err != nil {
		return fmt.Errorf("open bench folder: %w", err)
	}

	ctx, cancel := context.WithTimeout(ctx, startTime+3*opts.planned())
	defer cancel()
	s := &stack{dir: dir, opts: opts, progress: progress}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.start(ctx); err != nil {
		return err
	}
	switch opts.mode {
	case modeRestore:
		return runRestore(ctx, s, out)
	case modeRestart:
		return runRestart(ctx, s, out)
	case modeMemory:
		return runMemory(ctx, s, out)
	}
	return runLoads(ctx, s, out)
}

// runLoads measures, prints and writes.
func runLoads(ctx context.Context, s *stack, out io.Writer) error {
	opts, progress := s.opts, s.progress
	fmt.Fprintf(progress, "measuring for about %s\n", opts.planned().Round(time.Second))
	results, err := measureAll(ctx, s.targets, opts, progress)
	if err != nil {
		return err
	}
	return publish(report{About: describe(ctx, opts, s), Results: results}, opts, out)
}

// publish prints the table and writes the files that were asked for. Wrong replies make it fail, after all is written.
func publish(r report, opts options, out io.Writer) error {
	if err := errors.Join(printTable(out, r), printMemory(out, r.Memory), printSince(out, r, opts.compare)); err != nil {
		return err
	}
	if opts.jsonPath != "" {
		if err := writeFile(opts.jsonPath, func(w io.Writer) error { return writeJSON(w, r) }); err != nil {
			return err
		}
	}
	if opts.htmlPath != "" {
		if err := writeFile(opts.htmlPath, func(w io.Writer) error { return writeHTML(w, r) }); err != nil {
			return err
		}
	}
	return r.failure()
}

// printSince compares with an earlier run, if one is named.
func printSince(out io.Writer, r report, path string) error {
	if path == "" {
		return nil
	}
	old, err := readReport(path)
	if err != nil {
		return err
	}
	return printChanges(out, old, r)
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("create report: %w", err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("write report %s: %w", path, err)
	}
	return nil
}
