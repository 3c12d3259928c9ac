package proxy_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"credproxy/internal/procs"
	"credproxy/internal/testenv"
	"credproxy/keyspace"
	"credproxy/lru"
	"credproxy/proxy"
	"credproxy/restore"
)

// env is a Redis, a database in the shared Postgres, and a proxy in front.
type env struct {
	t      *testing.T
	redis  *procs.Redis
	dsn    string
	source string // restore.source; set before start
	bend   bend

	signing restore.Signing // restore.secret and its like; set before start

	dieAfter, armed string // of a proxy in a process of its own, see childSpec
	store           *restore.Store
	server          *proxy.Server
	cfg             proxy.Config
	direct          *redis.Client // to Redis, past the proxy
	client          *redis.Client // to the proxy
	stop            func()        // ends the proxy in order; start may follow
	spareFiles      int           // of a proxy in a process of its own
	childLog        string        // its log, "": none
	// childPID is the process that startChild has started.
	childPID int
}

// waPatterns are the keys of the store that most bots use.
var waPatterns = []string{"wa:auth:{session}:creds", "wa:auth:{session}:keys"}

func baseConfig() proxy.Config {
	return proxy.Config{
		Listen: "127.0.0.1:0", MaxClients: 10000,
		Keyspaces: []keyspace.Spec{
			{Name: "wa", Patterns: waPatterns, DB: -1},
			{Name: "any", Patterns: []string{"s:{session}:*"}, DB: -1},
		},
		Memory: proxy.MemoryConfig{Budget: lru.Budget{Max: 1 << 30, Threshold: 80, Target: 70}, CheckInterval: 5 * time.Minute},
		Sync:   proxy.SyncConfig{Mode: proxy.SyncBehind, Interval: 50 * time.Millisecond, Wait: 10 * time.Second},
		Flush:  proxy.FlushDeny, Deny: proxy.DefaultDeny(), Version: "test",
	}
}

// newEnv starts everything; change may alter the configuration.
func newEnv(t *testing.T, change func(*proxy.Config), redisArgs ...string) *env {
	t.Helper()
	e := prepareEnv(t, change, redisArgs...)
	e.start()
	return e
}

// prepareEnv starts everything but the proxy.
func prepareEnv(t *testing.T, change func(*proxy.Config), redisArgs ...string) *env {
	t.Helper()
	e := &env{t: t, redis: testenv.Redis(t, redisArgs...), dsn: testenv.DSN(t), cfg: baseConfig()}
	e.cfg.Upstream.Address = e.redis.Addr()
	if testing.Verbose() {
		e.cfg.Logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: testWriter{t}})
	}
	if change != nil {
		change(&e.cfg)
	}
	e.direct = redisClient(t, e.redis.Addr(), e.cfg.Upstream.Password)
	return e
}

// testWriter sends the proxy's log to the test's, as long as the test runs.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	fmt.Print("    " + string(p))
	return len(p), nil
}

// start starts a proxy on the environment's Redis and Postgres.
func (e *env) start() {
	e.t.Helper()
	ctx := context.Background()
	store, err := restore.Open(ctx, restore.Config{DSN: e.dsn, Source: e.source, Signing: e.signing})
	must(e.t, err)
	server, err := proxy.New(e.cfg, &bentStore{Store: store, bend: &e.bend})
	must(e.t, err)
	must(e.t, server.Listen(ctx))
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	e.store, e.server = store, server
	e.client = redisClient(e.t, server.Addr().String(), e.cfg.Upstream.Password)
	e.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			e.t.Logf("shut down: %v", err)
		}
		if err := <-served; err != nil {
			e.t.Errorf("serve: %v", err)
		}
		store.Close()
	})
	e.t.Cleanup(e.stop)
}

func redisClient(t *testing.T, addr, password string) *redis.Client {
	cl := redis.NewClient(&redis.Options{
		Addr: addr, Password: password, Protocol: 2, MaxRetries: -1, DisableIdentity: true, ContextTimeoutEnabled: true, ReadTimeout: 30 * time.Second,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { cl.Close() })
	return cl
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// admin runs a CREDPROXY command.
func (e *env) admin(args ...any) any {
	e.t.Helper()
	v, err := e.client.Do(context.Background(), append([]any{"CREDPROXY"}, args...)...).Result()
	if err != nil {
		e.t.Fatalf("CREDPROXY %v: %v", args, err)
	}
	return v
}

// stat reads one figure of CREDPROXY STATS.
func (e *env) stat(name string) int64 {
	e.t.Helper()
	list := e.admin("STATS").([]any)
	for i := 0; i+1 < len(list); i += 2 {
		if list[i] == name {
			n, ok := list[i+1].(int64)
			if !ok {
				e.t.Fatalf("STATS %s is %T", name, list[i+1])
			}
			return n
		}
	}
	e.t.Fatalf("STATS has no %s", name)
	return 0
}

// evict takes a session out of Redis and checks that none of its keys is there.
func (e *env) evict(id string) {
	e.t.Helper()
	if n := e.admin("EVICT", id); n != int64(1) {
		e.t.Fatalf("EVICT %s: %v", id, n)
	}
}
