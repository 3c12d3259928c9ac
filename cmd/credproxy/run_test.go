package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/procs"
	"credproxy/internal/testenv"
)

// proxyProcess is `credproxy run` as a process of its own.
type proxyProcess struct {
	cmd         *exec.Cmd
	config      string
	addr, admin string
	ended       chan struct{}
	mu          sync.Mutex // guards log
	log         bytes.Buffer
}

// logLine is what the tests read of a line of the JSON log.
type logLine struct {
	Message string `json:"@message"`
	Listen  string `json:"listen"`
	Admin   string `json:"admin"`
}

func runConfig(upstream, more string) string {
	return fmt.Sprintf(`
listen = "127.0.0.1:0"
upstream { address = %q }
keyspace "baileys" { keys = ["wa:auth:{session}:creds", "wa:auth:{session}:keys"] }
restore { postgres = env("TEST_DSN") }
admin { listen = "127.0.0.1:0" }
log { level = "info"  format = "json" }
%s`, upstream, more)
}

// startProxy runs the program and returns when it serves.
func startProxy(t *testing.T, server *procs.Redis, dsn string) *proxyProcess {
	t.Helper()
	return startConfigured(t, runConfig(server.Addr(), ""), dsn)
}

func startConfigured(t *testing.T, config, dsn string, env ...string) *proxyProcess {
	t.Helper()
	p := &proxyProcess{config: writeFile(t, config), ended: make(chan struct{})}
	p.cmd = program(t, append(env, "TEST_DSN="+dsn), "run", "--config", p.config)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	serving := make(chan logLine, 1)
	go p.follow(stderr, serving)
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // already gone when the test has stopped it
		<-p.ended
	})
	select {
	case line := <-serving:
		p.addr, p.admin = line.Listen, line.Admin
	case <-p.ended:
		t.Fatalf("the proxy ended:\n%s", p.logged())
	case <-time.After(20 * time.Second):
		t.Fatalf("the proxy does not serve:\n%s", p.logged())
	}
	return p
}

func (p *proxyProcess) follow(stderr io.Reader, serving chan<- logLine) {
	defer close(p.ended)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		p.mu.Lock()
		p.log.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
		var line logLine
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Message == "serving" {
			serving <- line
		}
	}
	_ = p.cmd.Wait() // ProcessState tells
}

func (p *proxyProcess) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// end sends a signal and returns the exit code.
func (p *proxyProcess) end(t *testing.T, sig os.Signal) int {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("the proxy does not end:\n%s", p.logged())
	}
	return p.cmd.ProcessState.ExitCode()
}

func client(t *testing.T, addr string) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	t.Cleanup(func() { c.Close() })
	return c
}

func set(t *testing.T, c *redis.Client, key, value string) {
	t.Helper()
	if err := c.Set(t.Context(), key, value, 0).Err(); err != nil {
		t.Fatal(err)
	}
}

func wantValue(t *testing.T, c *redis.Client, key, want string) {
	t.Helper()
	if got, err := c.Get(t.Context(), key).Result(); err != nil || got != want {
		t.Errorf("GET %s: %q, %v, want %q", key, got, err, want)
	}
}

func TestRunDrainsAndComesBack(t *testing.T) {
	server, dsn := testenv.Redis(t), testenv.DSN(t)
	p := startProxy(t, server, dsn)
	set(t, client(t, p.addr), "wa:auth:b1:creds", "one")
	if code := p.end(t, syscall.SIGTERM); code != exitOK {
		t.Fatalf("exit %d:\n%s", code, p.logged())
	}
	// Redis loses everything: what was acknowledged must be in Postgres.
	if err := client(t, server.Addr()).FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	p = startProxy(t, server, dsn)
	wantValue(t, client(t, p.addr), "wa:auth:b1:creds", "one")
	if code := p.end(t, os.Interrupt); code != exitOK {
		t.Errorf("exit %d after an interrupt:\n%s", code, p.logged())
	}
}

func TestAdminCommands(t *testing.T) {
	server := testenv.Redis(t)
	p := startProxy(t, server, testenv.DSN(t))
	c := client(t, p.addr)
	for n := range 3 {
		set(t, c, fmt.Sprintf("wa:auth:b%d:creds", n), "value")
	}
	ask := func(words string) string {
		t.Helper()
		args := strings.Fields(words)
		stdout, stderr, code := credproxy(t, nil, append([]string{args[0], "--addr", p.addr}, args[1:]...)...)
		if code != exitOK {
			t.Errorf("%s: exit %d: %s", words, code, stderr)
		}
		return stdout
	}
	wants := func(words string, parts ...string) {
		t.Helper()
		out := ask(words)
		for _, part := range parts {
			if !strings.Contains(out, part) {
				t.Errorf("%s: no %q in\n%s", words, part, out)
			}
		}
	}
	ask("sync")
	wants("stats", "sessions tracked", "evictions")
	wants("sessions --order hits --count 2", "KEYSPACE", "baileys")
	wants("session baileys/b1", "resident", "baileys")
	wants("evict b1", "evicted: 1")
	wants("session --json b1", `"state": "evicted"`)
	wants("restore --json b1", `"restored": 1`)
	wants("pin b2", "OK")
	wants("session b2", "pinned")
	if stdout, stderr, code := credproxy(t, nil, "evict", "--addr", p.addr, "b2"); code != exitFailure || !strings.Contains(stderr, "pinned") {
		t.Errorf("evict a pinned session: exit %d, %s%s", code, stdout, stderr)
	}
	wants("unpin b2", "OK")
	wants("evict b2 b0", "evicted: 2")
	ask("slowlog --reset") // a slow machine may have waited
	wants("slowlog", "no command has waited long")
	wantValue(t, c, "wa:auth:b0:creds", "value")

	var sessions []map[string]any
	if err := json.Unmarshal([]byte(ask("sessions --json")), &sessions); err != nil || len(sessions) == 0 {
		t.Errorf("sessions --json: %v, %d sessions", err, len(sessions))
	}
	var stats map[string]any
	if err := json.Unmarshal([]byte(ask("stats --json")), &stats); err != nil || stats["evictions"] == nil {
		t.Errorf("stats --json: %v, %v", err, stats)
	}
	// What dev's summary shows must be among what the proxy tells.
	for _, name := range []string{"sessions_resident", "sessions_evicted", "evictions", "restores", statRestoreP50, statRestoreP99} {
		if _, there := stats[name]; !there {
			t.Errorf("STATS has no %s", name)
		}
	}
}

// slowlog shows what waited, and --json and --reset do what they say.
func TestSlowLogCommand(t *testing.T) {
	config := strings.Replace(runConfig(testenv.Redis(t).Addr(), ""), `format = "json"`, `format = "json"
 slow = "1us"`, 1)
	p := startConfigured(t, config, testenv.DSN(t))
	c := client(t, p.addr)
	set(t, c, "wa:auth:b1:creds", "value")
	ask := func(args ...string) string {
		t.Helper()
		out, stderr, code := credproxy(t, nil, append([]string{"slowlog", "--addr", p.addr}, args...)...)
		if code != exitOK {
			t.Errorf("slowlog %v: exit %d: %s", args, code, stderr)
		}
		return out
	}
	for range 2 {
		if err := c.Do(t.Context(), "CREDPROXY", "EVICT", "b1").Err(); err != nil {
			t.Fatal(err)
		}
		wantValue(t, c, "wa:auth:b1:creds", "value")
	}
	lines := strings.Split(strings.TrimSpace(ask("--count", "2")), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "MOSTLY FOR") || !strings.Contains(lines[1], "baileys/b1") || !strings.Contains(strings.ToUpper(lines[1]), "GET") {
		t.Errorf("slowlog prints %q", lines)
	}
	var list []struct {
		Session string `json:"session"`
		Took    int64  `json:"took_us"`
	}
	if err := json.Unmarshal([]byte(ask("--json")), &list); err != nil || len(list) < 2 || list[0].Session != "baileys/b1" || list[0].Took == 0 {
		t.Errorf("slowlog --json: %v, %+v", err, list)
	}
	ask("--reset")
	if out := ask(); out != "no command has waited long\n" {
		t.Errorf("after --reset: %q", out)
	}
	if _, stderr, code := credproxy(t, nil, "slowlog", "--count", "0"); code != exitUsage {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestSecondProxyRefuses(t *testing.T) {
	server, dsn := testenv.Redis(t), testenv.DSN(t)
	startProxy(t, server, dsn)
	path := writeFile(t, runConfig(server.Addr(), ""))
	_, stderr, code := credproxy(t, []string{"TEST_DSN=" + dsn}, "run", "--config", path)
	if code != exitFailure || !strings.Contains(stderr, "another proxy") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestReload(t *testing.T) {
	server := testenv.Redis(t)
	p := startProxy(t, server, testenv.DSN(t))
	reload := func(text, want string) {
		t.Helper()
		if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, 10*time.Second, want, func() bool { return strings.Contains(p.logged(), want) })
	}
	reload(runConfig(server.Addr(), `memory { max = "64MB" }`), `"configuration reloaded"`)
	c := redis.NewClient(&redis.Options{Addr: p.addr, Protocol: 2})
	defer c.Close()
	reply, err := c.Do(t.Context(), "CREDPROXY", "MEMORY").Slice()
	if err != nil || !strings.Contains(fmt.Sprint(reply), fmt.Sprint("max_bytes ", 64<<20)) {
		t.Errorf("after the reload: %v, %v", reply, err)
	}
	reload(runConfig(server.Addr(), "maxclients = 5"), "maxclients")
	reload(runConfig(server.Addr(), "maxclients = 0"), "maxclients is 0: write 1 or more")
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Errorf("after a bad reload: %v", err)
	}
}

func TestAdminPages(t *testing.T) {
	p := startProxy(t, testenv.Redis(t), testenv.DSN(t))
	for path, want := range map[string]string{"": "<title>credproxy", "healthz": "ok", "readyz": `"ready"`, "debug/pprof/": "goroutine",
		"metrics": "credproxy_policy_enforcing 1", "api/live": `"evictions":0`} {
		resp, err := http.Get(p.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: status %d, %v, %s", path, resp.StatusCode, err, body)
		}
	}
}

// The password in a DSN shows nowhere, whatever goes wrong.
func TestSecretsStayOut(t *testing.T) {
	for _, dsn := range []string{"postgres://u:s3cret@127.0.0.1:1/d", "postgres://u:s3c/ret@h/d", "host=127.0.0.1 port=1 password=s3cret", "host=h port=s3cret"} {
		path := writeFile(t, runConfig("127.0.0.1:1", ""))
		stdout, stderr, code := credproxy(t, []string{"TEST_DSN=" + dsn}, "run", "--config", path)
		if code == exitOK || strings.Contains(stdout+stderr, "s3c") {
			t.Errorf("exit %d: %s%s", code, stdout, stderr)
		}
	}
}
