package proxy_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/certs"
	"credproxy/internal/testenv"
	"credproxy/proxy"
	"credproxy/restore"
)

// clientTLS is the configuration of a client that trusts the authority, with a certificate of its own if there is one.
func clientTLS(t *testing.T, a *testenv.Authority, cert, key string) *tls.Config {
	t.Helper()
	source, err := certs.Open(certs.Files{CA: a.File, Cert: cert, Key: key}, nil)
	must(t, err)
	return source.Client("localhost")
}

func tlsClient(t *testing.T, addr string, cfg *tls.Config) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: addr, TLSConfig: cfg, MaxRetries: -1})
	t.Cleanup(func() { c.Close() })
	return c
}

// redisTLS starts a Redis that speaks TLS on a second port, to clients with a certificate only.
func redisTLS(t *testing.T, e *env, a *testenv.Authority) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr = ln.Addr().String()
	must(t, ln.Close())
	_, port, _ := net.SplitHostPort(addr)
	cert, key := a.Issue(t, "redis")
	ctx := context.Background()
	for _, s := range [][2]string{{"tls-cert-file", cert}, {"tls-key-file", key}, {"tls-ca-cert-file", a.File}, {"tls-port", port}} {
		must(t, e.direct.ConfigSet(ctx, s[0], s[1]).Err())
	}
	return addr
}

// Everything works over TLS on both sides, with certificates of both sides checked on both.
func TestTLSOnBothSides(t *testing.T) {
	a := testenv.NewAuthority(t)
	e := prepareEnv(t, nil)
	cert, key := a.Issue(t, "proxy")
	e.cfg.Exposure.TLS = proxy.ListenTLS{Cert: cert, Key: key, ClientCA: a.File}
	e.cfg.Upstream.Address = redisTLS(t, e, a)
	e.cfg.Upstream.TLS = proxy.UpstreamTLS{On: true, CA: a.File, Cert: cert, Key: key}
	e.start()
	botCert, botKey := a.Issue(t, "bot")
	cfg := clientTLS(t, a, botCert, botKey)
	c := tlsClient(t, e.server.Addr().String(), cfg)
	e.client = c
	ctx := context.Background()

	large := strings.Repeat("0123456789abcdef", 200_000)
	must(t, c.HSet(ctx, "s:a:h", "f", large).Err())
	must(t, c.Set(ctx, "s:a:k", "v", 0).Err())
	if n, err := c.Do(ctx, "CREDPROXY", "SYNC").Result(); err != nil {
		t.Fatalf("SYNC: %v, %v", n, err)
	}
	e.evict("any/a")
	if got, err := c.HGet(ctx, "s:a:h", "f").Result(); err != nil || got != large {
		t.Fatalf("restored %d bytes, %v", len(got), err)
	}
	sub := c.Subscribe(ctx, "news")
	defer sub.Close()
	_, err := sub.Receive(ctx)
	must(t, err)
	must(t, c.Publish(ctx, "news", "hello").Err())
	if m, err := sub.ReceiveMessage(ctx); err != nil || m.Payload != "hello" {
		t.Errorf("message %v, %v", m, err)
	}
	popped := make(chan string, 1)
	go func() {
		got, err := c.BLPop(ctx, 0, "s:a:list").Result()
		popped <- fmt.Sprint(got, err)
	}()
	testenv.Eventually(t, wirePatience, "a client blocks", func() bool {
		info, err := e.direct.Info(ctx, "clients").Result()
		return err == nil && strings.Contains(info, "blocked_clients:1")
	})
	must(t, c.RPush(ctx, "s:a:list", "element").Err())
	if got := <-popped; got != "[s:a:list element] <nil>" {
		t.Errorf("BLPOP: %s", got)
	}
	if _, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error { p.Incr(ctx, "s:a:n"); return nil }); err != nil {
		t.Errorf("MULTI: %v", err)
	}

	stranger := testenv.NewAuthority(t)
	strangeCert, strangeKey := stranger.Issue(t, "bot")
	for name, bad := range map[string]*tls.Config{
		"no certificate":         clientTLS(t, a, "", ""),
		"a stranger's":           clientTLS(t, a, strangeCert, strangeKey),
		"trusts somebody else":   clientTLS(t, stranger, strangeCert, strangeKey),
		"an old version of TLS":  {RootCAs: a.Pool(), ServerName: "localhost", MaxVersion: tls.VersionTLS11, Certificates: cfg.Certificates},
		"wants another's name":   {RootCAs: a.Pool(), ServerName: "elsewhere", Certificates: cfg.Certificates},
		"no TLS in the end: nil": nil,
	} {
		if err := tlsClient(t, e.server.Addr().String(), bad).Ping(ctx).Err(); err == nil {
			t.Errorf("%s: was served", name)
		}
	}
	must(t, c.Ping(ctx).Err())
}

// Certificates change under clients that connect all the time: none fails, and the new ones are used.
func TestCertificatesChangeUnderLoad(t *testing.T) {
	a := testenv.NewAuthority(t)
	e := prepareEnv(t, nil)
	cert, key := a.Issue(t, "proxy")
	e.cfg.Exposure.TLS = proxy.ListenTLS{Cert: cert, Key: key}
	e.start()
	cfg, addr := clientTLS(t, a, "", ""), e.server.Addr().String()
	serial := func() (string, error) {
		nc, err := tls.Dial("tcp", addr, cfg)
		if err != nil {
			return "", err
		}
		defer nc.Close()
		if _, err := nc.Write([]byte("PING\r\n")); err != nil {
			return "", err
		}
		if _, err := nc.Read(make([]byte, 7)); err != nil {
			return "", err
		}
		return nc.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
	}
	var over atomic.Bool
	var made, failed atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for !over.Load() {
				made.Add(1)
				if _, err := serial(); err != nil {
					failed.Add(1)
					t.Errorf("connect: %v", err)
				}
			}
		})
	}
	seen, err := serial()
	must(t, err)
	for range 3 {
		a.Issue(t, "proxy")
		testenv.Eventually(t, wirePatience, "the new certificate is used", func() bool {
			now, err := serial()
			return err == nil && now != seen
		})
		seen, err = serial()
		must(t, err)
	}
	over.Store(true)
	clients.Wait()
	t.Logf("%d connections, %d failed", made.Load(), failed.Load())
}

// startError is what a start with the environment's configuration fails with.
func (e *env) startError() error {
	e.t.Helper()
	store, err := restore.Open(context.Background(), restore.Config{DSN: e.dsn})
	must(e.t, err)
	defer store.Close()
	server, err := proxy.New(e.cfg, store)
	if err != nil {
		return err
	}
	err = server.Listen(context.Background())
	ctx, cancel := context.WithTimeout(context.Background(), wirePatience)
	defer cancel()
	must(e.t, server.Shutdown(ctx))
	return err
}

// Whom the proxy cannot trust it does not talk to, and says why.
func TestUntrustedRedis(t *testing.T) {
	a := testenv.NewAuthority(t)
	e := prepareEnv(t, nil)
	secure := redisTLS(t, e, a)
	cert, key := a.Issue(t, "proxy")
	for _, c := range []struct {
		name, address string
		tls           proxy.UpstreamTLS
		want          string // in the error; "": none
	}{
		{"system's authorities", secure, proxy.UpstreamTLS{On: true, Cert: cert, Key: key}, "unknown authority"},
		{"another name", secure, proxy.UpstreamTLS{On: true, CA: a.File, Cert: cert, Key: key, ServerName: "elsewhere"}, "not elsewhere"},
		{"no certificate", secure, proxy.UpstreamTLS{On: true, CA: a.File}, "does Redis want a certificate?"},
		{"a port without TLS", e.redis.Addr(), proxy.UpstreamTLS{On: true, CA: a.File}, "does Redis speak TLS on that port?"},
		{"a secret port", secure, proxy.UpstreamTLS{}, "does Redis want TLS on that port?"},
		{"missing file", secure, proxy.UpstreamTLS{On: true, CA: "/none.pem"}, "/none.pem: no such file"},
		{"any certificate", secure, proxy.UpstreamTLS{On: true, Insecure: true, Cert: cert, Key: key}, ""},
		{"its name", secure, proxy.UpstreamTLS{On: true, CA: a.File, Cert: cert, Key: key, ServerName: "redis"}, ""},
	} {
		e.cfg.Upstream.Address, e.cfg.Upstream.TLS = c.address, c.tls
		switch err := e.startError(); {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// Unix sockets on both sides, used by go-redis and by redis-cli.
func TestUnixSockets(t *testing.T) {
	dir := t.TempDir()
	front, back := filepath.Join(dir, "p.sock"), filepath.Join(dir, "r.sock")
	e := prepareEnv(t, nil, "--unixsocket", back)
	e.cfg.Listen, e.cfg.Upstream.Address = "unix://"+front, "unix://"+back
	e.cfg.Exposure.Protected = true // which does not mean who is on this machine
	// The socket of a process that was killed.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: front})
	must(t, err)
	stale.SetUnlinkOnClose(false)
	must(t, stale.Close())
	e.start()
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: front, MaxRetries: -1})
	defer c.Close()
	ctx := context.Background()
	e.client = c
	must(t, c.Set(ctx, "s:a:k", "through sockets", 0).Err())
	e.admin("SYNC")
	e.evict("any/a")
	if info, err := os.Stat(front); err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("socket: %v, %v", info.Mode(), err)
	}
	cli, err := exec.LookPath("redis-cli")
	if err == nil {
		out, err := exec.Command(cli, "-s", front, "GET", "s:a:k").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "through sockets" {
			t.Errorf("redis-cli: %q, %v", out, err)
		}
	}
	if got, err := c.Get(ctx, "s:a:k").Result(); err != nil || got != "through sockets" {
		t.Errorf("GET: %q, %v", got, err)
	}

	if err := e.startError(); err == nil || !strings.Contains(err.Error(), "another process is listening there") {
		t.Errorf("a second proxy on the socket: %v", err)
	}
	must(t, c.Ping(ctx).Err())
	e.stop()
	if _, err := os.Lstat(front); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
	must(t, os.WriteFile(front, []byte("important"), 0o600))
	if err := e.startError(); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file in the place of the socket: %v", err)
	}
	if data, err := os.ReadFile(front); string(data) != "important" {
		t.Errorf("the file is %q, %v", data, err)
	}
}

func TestSocketMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.sock")
	newEnv(t, func(cfg *proxy.Config) { cfg.Listen, cfg.Exposure.SocketMode = "unix://"+path, 0o600 })
	if info, err := os.Stat(path); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("socket: %v, %v", info.Mode(), err)
	}
}

// A client that begins a handshake and stops holds up neither others nor the end of the proxy.
func TestStuckHandshakeDoesNotHoldUpTheEnd(t *testing.T) {
	a := testenv.NewAuthority(t)
	e := prepareEnv(t, nil)
	cert, key := a.Issue(t, "proxy")
	e.cfg.Exposure.TLS = proxy.ListenTLS{Cert: cert, Key: key}
	e.start()
	nc, err := net.Dial("tcp", e.server.Addr().String())
	must(t, err)
	defer nc.Close()
	_, err = nc.Write([]byte{22, 3, 1, 2, 0, 1}) // the head of a record that never comes
	must(t, err)
	must(t, tlsClient(t, e.server.Addr().String(), clientTLS(t, a, "", "")).Ping(context.Background()).Err())
	begun := time.Now()
	e.stop()
	if d := time.Since(begun); d > 5*time.Second {
		t.Errorf("the end took %s", d)
	}
}
