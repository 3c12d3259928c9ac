package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"credproxy/internal/procs"
)

// stack is every server and proxy of a run. Each target has its own Redis, and credproxy its own Postgres.
type stack struct {
	dir      string
	opts     options
	progress io.Writer
	identity *identity // of everything that speaks TLS; nil: not needed yet
	targets  []*target
	skipped  []string       // targets that are left out, and why
	stops    []func() error // in the order of the starts
}

// start starts all targets. It leaves what it has started to stop, also when it fails.
func (s *stack) start(ctx context.Context) error {
	for i, what := range s.opts.targets {
		if what.name == "nutcracker" && s.opts.driver == driverRedis {
			s.skip("nutcracker: redis-benchmark begins with CONFIG, which nutcracker refuses, and then waits for ever")
			continue
		}
		dir := filepath.Join(s.dir, fmt.Sprintf("target-%d", i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make target folder: %w", err)
		}
		t, err := s.startTarget(ctx, what, dir)
		if errors.Is(err, exec.ErrNotFound) && what.peer {
			s.skip(what.name + ": it is not installed")
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

func (s *stack) skip(why string) {
	fmt.Fprintln(s.progress, "skipping", why)
	s.skipped = append(s.skipped, why)
}

// stop ends everything, the last first.
func (s *stack) stop() error {
	var errs []error
	for i := len(s.stops) - 1; i >= 0; i-- {
		errs = append(errs, s.stops[i]())
	}
	return errors.Join(errs...)
}

func (s *stack) startTarget(ctx context.Context, what spec, dir string) (*target, error) {
	t := &target{spec: what}
	program, err := s.program(ctx, what)
	if err != nil {
		return nil, err
	}
	f := front{dir: dir}
	if what.clientTLS || what.redisTLS {
		if f.identity, err = s.certificate(); err != nil {
			return nil, err
		}
	}
	if what.clientTLS {
		t.tls = f.identity.client
	}
	if err := s.startRedis(ctx, t, &f); err != nil {
		return nil, err
	}
	switch {
	case what.custom != nil && what.custom.addr != "":
		t.addr = what.custom.addr
		return t, waitServing(ctx, t)
	case program == "":
		t.addr = f.redis
		return t, nil
	}
	return t, s.startProxy(ctx, t, f, program)
}

// certificate is made once.
func (s *stack) certificate() (*identity, error) {
	if s.identity == nil {
		made, err := newIdentity(s.dir)
		if err != nil {
			return nil, err
		}
		s.identity = made
	}
	return s.identity, nil
}

// startRedis starts the target's Redis, and says in f where the proxy finds it.
func (s *stack) startRedis(ctx context.Context, t *target, f *front) error {
	cfg := procs.RedisConfig{Dir: filepath.Join(f.dir, "redis"), Args: []string{"--maxclients", strconv.Itoa(2 * maxClients)}}
	if t.custom != nil {
		cfg.Port = t.custom.redisPort
	}
	overTLS := ""
	if t.redisTLS {
		var err error
		if overTLS, err = freeAddr(); err != nil {
			return err
		}
		_, port, err := net.SplitHostPort(overTLS)
		if err != nil {
			return fmt.Errorf("configure redis: %w", err)
		}
		cfg.Args = append(cfg.Args, "--tls-port", port, "--tls-cert-file", f.identity.cert, "--tls-key-file", f.identity.key,
			"--tls-ca-cert-file", f.identity.cert, "--tls-auth-clients", "no")
	}
	redis, err := procs.StartRedis(ctx, cfg)
	if err != nil {
		return err
	}
	s.stops = append(s.stops, stopWithin(redis.Stop))
	t.redisAddr, t.redis = redis.Addr(), redis.PID()
	f.redis = redis.Addr()
	if t.redisTLS {
		f.redis = overTLS
	}
	return nil
}

func (s *stack) startProxy(ctx context.Context, t *target, f front, program string) (err error) {
	if t.addr, err = freeAddr(); err != nil {
		return err
	}
	f.listen = t.addr
	args, err := s.configure(ctx, t, f)
	if err != nil {
		return err
	}
	t.start = func() (*child, error) { return startChild(f.dir, t.name, program, args...) }
	if t.child, err = t.start(); err != nil {
		return err
	}
	s.stops = append(s.stops, func() error { return t.child.stop() })
	t.proxy = t.child.cmd.Process.Pid
	return t.child.ready(ctx, t)
}

// configure writes the proxy's configuration and returns its command line.
func (s *stack) configure(ctx context.Context, t *target, f front) ([]string, error) {
	switch {
	case t.custom != nil:
		args, err := t.custom.args(f)
		if err != nil {
			return nil, err
		}
		return args[1:], nil
	case t.mode == "":
		return f.peerArgs(t.name)
	}
	postgres, err := procs.StartPostgres(ctx, procs.PostgresConfig{Dir: filepath.Join(f.dir, "postgres")})
	if err != nil {
		return nil, err
	}
	s.stops = append(s.stops, stopWithin(postgres.Stop))
	t.postgres, t.saves, t.dsn = postgres.PID(), true, postgres.DSN()
	if t.limited {
		t.budget = func(bytes int64) error { return f.writeCredproxy(t.spec, t.dsn, bytes) }
	}
	return f.credproxyArgs(t.spec, postgres.DSN())
}

// program returns the path of a target's proxy, "" for none.
func (s *stack) program(ctx context.Context, what spec) (string, error) {
	switch {
	case what.custom != nil && what.custom.addr != "":
		return "", nil
	case what.custom != nil:
		return exec.LookPath(what.custom.command[0])
	case what.mode == "" && what.program == "":
		return "", nil
	case what.mode == "":
		return exec.LookPath(what.program)
	case what.build != "":
		return filepath.Abs(what.build)
	case s.opts.binary != "":
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

// waitServing waits for a proxy that somebody else has started.
func waitServing(ctx context.Context, t *target) error {
	const most = 10 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("reach %s at %s: it does not pass a GET to the Redis at %s within %s; is it pointed there?",
		t.name, t.addr, t.redisAddr, most))
	defer cancel()
	for !serves(ctx, t) {
		if err := wait(ctx, pollInterval); err != nil {
			return err
		}
	}
	return nil
}

// stopWithin gives a server's Stop its time.
func stopWithin(stop func(context.Context) error) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return stop(ctx)
	}
}
