package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/procs"
	"credproxy/restore"
)

// stack is what is under test: a Redis, a Postgres, and the proxy's program with its configuration.
type stack struct {
	dir    string
	binary string
	config string
	addr   string // of the proxy
	plant  string
	redis  *procs.Redis
	relay  *relay // the proxy's way to Redis
	pg     *procs.Postgres
	store  *restore.Store // the harness's own view of Postgres
	direct *redis.Client  // the harness's own view of Redis
}

const startTimeout = 60 * time.Second

// build compiles the program with its barriers into dir.
func build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "credproxy")
	out, err := exec.CommandContext(ctx, "go", "build", "-tags", "barriers", "-o", binary, "credproxy/cmd/credproxy").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the proxy: %w: %s", err, out)
	}
	return binary, nil
}

// startStack starts Redis and Postgres in a folder of their own. close ends and removes everything.
func startStack(ctx context.Context, binary string, opt options, t *tally) (_ *stack, err error) {
	s := &stack{binary: binary, plant: opt.plant}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.dir, err = os.MkdirTemp("", "credproxy-soak-"); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	if err = os.Chmod(s.dir, 0o755); err != nil { // Postgres runs as another user when we are root
		return nil, fmt.Errorf("open folder: %w", err)
	}
	if err = s.startRedis(ctx, 0); err != nil {
		return nil, err
	}
	if s.relay, err = startRelay(s.redis.Addr(), t); err != nil {
		return nil, err
	}
	if err = s.startPostgres(ctx, 0); err != nil {
		return nil, err
	}
	if s.store, err = restore.Open(ctx, restore.Config{DSN: s.pg.DSN()}); err != nil {
		return nil, err
	}
	return s, s.configure(ctx, opt)
}

func (s *stack) startRedis(ctx context.Context, port int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s.redis, err = procs.StartRedis(ctx, procs.RedisConfig{Dir: filepath.Join(s.dir, "redis"), Port: port,
		Args: []string{"--enable-debug-command", "local", "--busy-reply-threshold", "3"}})
	if err == nil && s.direct == nil {
		s.direct = dialClient(s.redis.Addr())
	}
	return err
}

func (s *stack) startPostgres(ctx context.Context, port int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	// A process that is killed in the middle of a write leaves half a page, which only a full page in the log repairs.
	s.pg, err = procs.StartPostgres(ctx, procs.PostgresConfig{Dir: filepath.Join(s.dir, "postgres"), Port: port,
		Settings: map[string]string{"full_page_writes": "on"}})
	return err
}

// bytesPerSession is about what a session of these weighs in Redis.
const bytesPerSession = 4500

// configure writes the proxy's configuration. The budget is such that a third of the sessions has to be outside.
func (s *stack) configure(ctx context.Context, opt options) error {
	info, err := s.direct.Info(ctx, "memory").Result()
	if err != nil {
		return fmt.Errorf("ask Redis for its memory: %w", err)
	}
	const budget = 8 << 20
	over := usedMemory(info) + int64(opt.sessions)*bytesPerSession*2/3
	threshold := min(over*100/budget, 90)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("find a free port: %w", err)
	}
	s.addr = l.Addr().String()
	l.Close()
	text := fmt.Sprintf(`
listen = %q
upstream { address = %q }
keyspace "w" { keys = ["w:{session}:a", "w:{session}:b", "w:{session}:h", "w:{session}:c", "w:{session}:l", "w:{session}:t", "w:{session}:d"] }
keyspace "k" { keys = ["k:{session}:*"] }
memory {
  max = "8MB"
  threshold = %d
  target = %d
  check_interval = "1s"
  inactivity_ttl = "0s"
}
restore {
  postgres = %q
  sync = %q
  sync_interval = %q
  wait = "5s"
}
admin { listen = "" }
log {
  level = "info"
  format = "json"
}
`, s.addr, s.relay.addr(), threshold, max(threshold-3, 1), s.pg.DSN(), opt.sync, syncInterval.String())
	s.config = filepath.Join(s.dir, "proxy.hcl")
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// close ends the servers and removes the folder.
func (s *stack) close() error {
	var errs []error
	if s.direct != nil {
		errs = append(errs, s.direct.Close())
	}
	if s.store != nil {
		s.store.Close()
	}
	if s.relay != nil {
		errs = append(errs, s.relay.close())
	}
	if s.redis != nil {
		errs = append(errs, s.redis.Kill())
	}
	if s.pg != nil {
		errs = append(errs, s.pg.Kill(), removePostgres(s.pg.Dir()))
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// removePostgres removes the cluster also where it had to be put elsewhere (see procs.StartPostgres).
func removePostgres(dir string) error {
	data, err := filepath.EvalSymlinks(filepath.Join(dir, "data"))
	if err != nil {
		return fmt.Errorf("find postgres folder: %w", err)
	}
	return os.RemoveAll(data)
}

func usedMemory(info string) int64 {
	n, _ := strconv.ParseInt(infoField(info, "used_memory"), 10, 64)
	return n
}
