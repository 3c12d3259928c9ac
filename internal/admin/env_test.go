package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/redis/go-redis/v9"

	"credproxy/internal/procs"
	"credproxy/internal/testenv"
	"credproxy/keyspace"
	"credproxy/lru"
	"credproxy/proxy"
	"credproxy/restore"
)

func TestMain(m *testing.M) { os.Exit(testenv.Run(m)) }

const testToken = "a token of thirty-two characters"

// env is a Redis, a Postgres, a proxy in front and its site.
type env struct {
	t      testing.TB
	redis  *procs.Redis
	client *redis.Client
	server *proxy.Server
	site   *Site
	url    string
}

type options struct {
	token string
	dsn   string // "": a database of the shared Postgres
	max   int64  // memory.max
	slow  time.Duration
}

func newEnv(t testing.TB, o options) *env {
	t.Helper()
	e := &env{t: t, redis: testenv.Redis(t)}
	if o.dsn == "" {
		o.dsn = testenv.DSN(t)
	}
	if o.max == 0 {
		o.max = 1 << 30
	}
	ctx := context.Background()
	store, err := restore.Open(ctx, restore.Config{DSN: o.dsn})
	must(t, err)
	log := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard})
	e.site = New(Config{Token: o.token, Logger: log})
	log.RegisterSink(e.site.Events())
	e.server, err = proxy.New(proxy.Config{
		Listen: "127.0.0.1:0", MaxClients: 100, Upstream: proxy.UpstreamConfig{Address: e.redis.Addr()},
		Keyspaces: []keyspace.Spec{{Name: "bots", Patterns: []string{"wa:{session}:creds", "wa:{session}:keys"}, DB: -1}},
		Memory: proxy.MemoryConfig{Budget: lru.Budget{Max: o.max, Threshold: 80, Target: 70}, CheckInterval: time.Second,
			Keyspaces: map[string]proxy.KeyspaceMemory{"bots": {Max: 1 << 30}}},
		Sync:  proxy.SyncConfig{Mode: proxy.SyncBehind, Interval: 50 * time.Millisecond, Wait: 5 * time.Second},
		Flush: proxy.FlushDeny, Version: "test", SlowWait: o.slow, Logger: log, Observe: e.site.Observer(),
	}, store)
	must(t, err)
	must(t, e.server.Listen(ctx))
	web, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	e.url = "http://" + web.Addr().String()
	served := make(chan error, 2)
	e.site.Start(e.server)
	go func() { served <- e.server.Serve() }()
	go func() { served <- e.site.Serve(web) }()
	e.client = redis.NewClient(&redis.Options{Addr: e.server.Addr().String(), Protocol: 2, MaxRetries: -1, DisableIdentity: true, ReadTimeout: 30 * time.Second})
	t.Cleanup(func() {
		e.client.Close()
		limited, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := e.server.Shutdown(limited); err != nil {
			t.Logf("shut down: %v", err)
		}
		e.site.Close()
		for range 2 {
			if err := <-served; err != nil {
				t.Errorf("serve: %v", err)
			}
		}
		store.Close()
	})
	return e
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fill writes n sessions of about size bytes and waits until they are saved.
func (e *env) fill(n, size int) {
	e.t.Helper()
	pipe := e.client.Pipeline()
	for i := range n {
		pipe.Set(context.Background(), fmt.Sprintf("wa:bot-%04d:creds", i), strings.Repeat("x", size), 0)
		if i%500 == 499 || i == n-1 {
			_, err := pipe.Exec(context.Background())
			must(e.t, err)
		}
	}
	e.credproxy("SYNC")
}

func (e *env) credproxy(args ...any) any {
	e.t.Helper()
	v, err := e.client.Do(context.Background(), append([]any{"CREDPROXY"}, args...)...).Result()
	if err != nil {
		e.t.Fatalf("CREDPROXY %v: %v", args, err)
	}
	return v
}

// stats is CREDPROXY STATS as text by name.
func (e *env) stats() map[string]string {
	e.t.Helper()
	list, m := e.credproxy("STATS").([]any), map[string]string{}
	for i := 0; i+1 < len(list); i += 2 {
		m[fmt.Sprint(list[i])] = fmt.Sprint(list[i+1])
	}
	return m
}

// request is an HTTP request that tests alter.
type request struct {
	method, path, body string
	header             map[string]string
	host               string
}

// send returns the status and the body of the answer.
func (e *env) send(r request) (int, string) {
	e.t.Helper()
	if r.method == "" {
		r.method = http.MethodGet
	}
	req, err := http.NewRequest(r.method, e.url+r.path, strings.NewReader(r.body))
	must(e.t, err)
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	req.Host = r.host
	resp, err := http.DefaultClient.Do(req)
	must(e.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(e.t, err)
	return resp.StatusCode, string(body)
}

func (e *env) get(path string) (int, string) { e.t.Helper(); return e.send(request{path: path}) }

// json reads an answer that must be 200.
func (e *env) json(path string, into any) {
	e.t.Helper()
	status, body := e.get(path)
	if status != http.StatusOK {
		e.t.Fatalf("%s: status %d: %s", path, status, body)
	}
	must(e.t, json.Unmarshal([]byte(body), into))
}

// act runs an action with the token.
func (e *env) act(name, body string) (int, string) {
	e.t.Helper()
	return e.send(request{method: http.MethodPost, path: "/api/actions/" + name, body: body,
		header: map[string]string{"Content-Type": "application/json", "Authorization": "Bearer " + testToken}})
}
