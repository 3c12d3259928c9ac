package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"credproxy/internal/procs"
)

// stack is every server and proxy of a run. Each target has its own Redis, and credproxy its own Postgres.
type stack struct {
	dir      string
	opts     options
	progress io.Writer
	targets  []*target
	skipped  []string       // targets whose program is not installed
	stops    []func() error // in the order of the starts
}

// start starts all targets. It leaves what it has started to stop, also when it fails.
func (s *stack) start(ctx context.Context) error {
	for i, name := range s.opts.targets {
		dir := filepath.Join(s.dir, fmt.Sprintf("target-%d", i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make target folder: %w", err)
		}
		t, err := s.startTarget(ctx, name, dir)
		if errors.Is(err, exec.ErrNotFound) && slices.Contains(peers, name) {
			fmt.Fprintf(s.progress, "skipping %s: it is not installed\n", name)
			s.skipped = append(s.skipped, name)
			continue
		}
		if err != nil {
			return err
		}
		s.targets = append(s.targets, t)
	}
	if len(s.targets) == 0 {
		return errors.New("no target is left to measure")
	}
	return nil
}

// stop ends everything, the last first.
func (s *stack) stop() error {
	var errs []error
	for _, stop := range slices.Backward(s.stops) {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}

func (s *stack) startTarget(ctx context.Context, name, dir string) (*target, error) {
	t := &target{name: name}
	program, err := s.program(ctx, name)
	if err != nil {
		return nil, err
	}
	redis, err := procs.StartRedis(ctx, procs.RedisConfig{Dir: filepath.Join(dir, "redis")})
	if err != nil {
		return nil, err
	}
	s.stops = append(s.stops, stopWithin(redis.Stop))
	t.addr, t.redisAddr, t.redis = redis.Addr(), redis.Addr(), redis.PID()
	if program == "" {
		return t, nil
	}
	if t.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	f := front{dir: dir, listen: t.addr, redis: redis.Addr()}
	args, err := s.configure(ctx, t, f)
	if err != nil {
		return nil, err
	}
	t.start = func() (*child, error) { return startChild(dir, name, program, args...) }
	if t.child, err = t.start(); err != nil {
		return nil, err
	}
	s.stops = append(s.stops, func() error { return t.child.stop() })
	t.proxy = t.child.cmd.Process.Pid
	return t, t.child.ready(ctx, t.addr)
}

// configure writes the proxy's configuration and returns its command line.
func (s *stack) configure(ctx context.Context, t *target, f front) ([]string, error) {
	mode, ours := credproxyMode(t.name)
	if !ours {
		return f.peerArgs(t.name)
	}
	postgres, err := procs.StartPostgres(ctx, procs.PostgresConfig{Dir: filepath.Join(f.dir, "postgres")})
	if err != nil {
		return nil, err
	}
	s.stops = append(s.stops, stopWithin(postgres.Stop))
	t.postgres, t.saves, t.dsn = postgres.PID(), true, postgres.DSN()
	return f.credproxyArgs(mode, postgres.DSN())
}

// program returns the path of a target's proxy, "" for none.
func (s *stack) program(ctx context.Context, name string) (string, error) {
	if name == "direct" {
		return "", nil
	}
	if _, ours := credproxyMode(name); !ours {
		return exec.LookPath(name)
	}
	if s.opts.binary != "" {
		return filepath.Abs(s.opts.binary)
	}
	binary := filepath.Join(s.dir, "credproxy")
	if _, err := os.Stat(binary); err == nil {
		return binary, nil // built for another target
	}
	fmt.Fprintln(s.progress, "building credproxy")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "credproxy/cmd/credproxy").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build credproxy: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return binary, nil
}

// stopWithin gives a server's Stop its time.
func stopWithin(stop func(context.Context) error) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return stop(ctx)
	}
}
