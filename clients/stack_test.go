package clients

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"credproxy/internal/procs"
	"credproxy/internal/testenv"
)

// configText is a configuration as the users of these stores would write it. The proxy listens on a fixed port, so that it is
// found again after a restart.
const configText = `
listen = %q
upstream { address = %q }
keyspace "app"         { keys = ["app:{session}:*"] }
keyspace "wa"          { keys = ["wa:auth:{session}:creds", "wa:auth:{session}:keys"] }
keyspace "baileys-api" { keys = ["@baileys-api:connections:{session}:authState"] }
keyspace "logins"      { keys = ["sess:{session}"] }
keyspace "evolution" {
  keys = ["evolution:instance:{session}"]
  db   = 6
}
restore {
  postgres      = env("TEST_DSN")
  sync_interval = "20ms"
}
admin { listen = "" }
log { format = "json" }
`

// stack is a Redis, a database, and the program in front of them.
type stack struct {
	t      *testing.T
	redis  *procs.Redis
	dsn    string
	addr   string // of the proxy
	config string
	direct *redis.Client // to Redis, past the proxy
	admin  *redis.Client // to the proxy
	proxy  *process

	evictions, restores, restoreErrors int64 // of all the processes, see count
}

func newStack(t *testing.T) *stack {
	t.Helper()
	s := &stack{t: t, redis: testenv.Redis(t, "--sanitize-dump-payload", "clients"), dsn: testenv.DSN(t), addr: freeAddr(t)}
	s.config = filepath.Join(t.TempDir(), "proxy.hcl")
	must(t, os.WriteFile(s.config, fmt.Appendf(nil, configText, s.addr, s.redis.Addr()), 0o600))
	s.direct, s.admin = client(t, s.redis.Addr()), client(t, s.addr)
	s.start()
	return s
}

func client(t *testing.T, addr string) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: addr, Protocol: 3})
	t.Cleanup(func() { c.Close() })
	return c
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start runs the program and returns when it serves.
func (s *stack) start() {
	s.t.Helper()
	cmd := exec.Command(program, "run", "--config", s.config)
	cmd.Env = append(os.Environ(), "TEST_DSN="+s.dsn)
	s.proxy = startProxy(s.t, cmd)
	select {
	case <-s.proxy.serving:
	case <-s.proxy.ended:
		s.t.Fatalf("the proxy ended:\n%s", s.proxy.said())
	}
}

// restart kills the proxy and starts it again.
func (s *stack) restart() {
	s.t.Helper()
	s.count()
	s.proxy.kill()
	s.start()
}

// count adds what this process of the proxy has counted.
func (s *stack) count() {
	s.t.Helper()
	s.evictions += s.stat("evictions")
	s.restores += s.stat("restores")
	s.restoreErrors += s.stat("restore_errors")
}

// stat is one number of CREDPROXY STATS.
func (s *stack) stat(name string) int64 {
	s.t.Helper()
	reply, err := s.admin.Do(context.Background(), "CREDPROXY", "STATS").Result()
	must(s.t, err)
	return reply.(map[any]any)[name].(int64)
}

// stop ends the proxy in order, and fails the test for what it complained about.
func (s *stack) stop() {
	s.t.Helper()
	must(s.t, s.proxy.cmd.Process.Signal(syscall.SIGTERM))
	<-s.proxy.ended
	if code := s.proxy.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("the proxy ended with %d", code)
	}
	if bad := s.proxy.complaints(); bad != "" {
		s.t.Errorf("the proxy complained:\n%s", bad)
	}
}

// empty fails the test if Redis holds a key of a client, or Postgres a key of anybody. What has expired counts as gone: it is
// removed from Postgres an hour later. Rows of sessions without keys stay, so that a session that was deleted is not looked
// for elsewhere.
func (s *stack) empty() {
	s.t.Helper()
	ctx := s.t.Context()
	must(s.t, s.admin.Do(ctx, "CREDPROXY", "SYNC").Err())
	emptyRedis(s.t, s.redis.Addr())
	conn, err := pgx.Connect(ctx, s.dsn)
	must(s.t, err)
	defer conn.Close(ctx)
	left, err := conn.Query(ctx, `SELECT k.key, f.field FROM credproxy.keys k LEFT JOIN credproxy.fields f USING (kid)
		WHERE k.expire_at IS NULL OR k.expire_at > $1`, time.Now().UnixMilli())
	must(s.t, err)
	defer left.Close()
	for left.Next() {
		var key, field []byte
		must(s.t, left.Scan(&key, &field))
		s.t.Errorf("Postgres holds %q, field %q, after the logout", key, field)
	}
	must(s.t, left.Err())
}

// emptyRedis fails the test if a database of Redis holds a key that is not the proxy's own.
func emptyRedis(t *testing.T, addr string) {
	t.Helper()
	for _, db := range []int{0, 6} {
		c := redis.NewClient(&redis.Options{Addr: addr, DB: db})
		keys, err := c.Keys(t.Context(), "*").Result()
		c.Close()
		must(t, err)
		for _, key := range keys {
			if !strings.HasPrefix(key, "credproxy:") {
				t.Errorf("Redis holds %q in database %d after the logout", key, db)
			}
		}
	}
}
