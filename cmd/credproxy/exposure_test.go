package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/certs"
	"credproxy/internal/procs"
	"credproxy/internal/testenv"
)

// secrets are the passwords of everything in these tests.
var secrets = []string{"s3cret-postgres", "s3cret-redis", "s3cret-proxy", "s3cret-ops", "s3cret-typo", signingSecret[:12]}

// signingSecret is long enough to sign with.
const signingSecret = "s3cret-signing-9876543210-abcdefghijklmnopqrstuvwxyz"

func wantNoSecret(t *testing.T, where, text string) {
	t.Helper()
	for _, s := range secrets {
		if strings.Contains(text, s) {
			t.Errorf("%s: %q is in\n%s", where, s, text)
		}
	}
}

// exposedConfig is a proxy with everything of its own: TLS, users, admins. Passwords come from the environment and a file.
func exposedConfig(t *testing.T, a *testenv.Authority, upstream string) string {
	t.Helper()
	cert, key := a.Issue(t, "proxy")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("s3cret-proxy\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
listen = "127.0.0.1:0"
tls { cert = %q key = %q client_ca = %q }
auth {
  password_file = %q
  user "ops" { password = env("TEST_OPS") }
}
upstream {
  address = %q
  password = env("TEST_REDIS")
}
keyspace "baileys" { keys = ["wa:auth:{session}:creds"] }
restore { postgres = env("TEST_DSN") secret = env("TEST_SECRET") }
admin { listen = "127.0.0.1:0" users = ["ops"] }
log { level = "trace"  format = "json" }
`, cert, key, a.File, file, upstream)
}

// The program with TLS, users and admins of its own, and its commands against it. No password shows anywhere.
func TestExposedProgram(t *testing.T) {
	a := testenv.NewAuthority(t)
	server, err := procs.StartRedis(t.Context(), procs.RedisConfig{Dir: t.TempDir(), Password: "s3cret-redis"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Kill() }()
	dsn, env := withPassword(testenv.DSN(t)), []string{"TEST_REDIS=s3cret-redis", "TEST_OPS=s3cret-ops", "TEST_SECRET=" + signingSecret}
	p := startConfigured(t, exposedConfig(t, a, server.Addr()), dsn, env...)

	stdout, stderr, code := credproxy(t, append(env, "TEST_DSN="+dsn), "check", "--config", p.config)
	if code != exitOK || !strings.Contains(stdout, `password = "(set)"`) || !strings.Contains(stdout, `secret        = "(set)"`) {
		t.Errorf("check: exit %d\n%s%s", code, stdout, stderr)
	}
	wantNoSecret(t, "check", stdout+stderr)

	cert, key := a.Issue(t, "operator")
	ask := func(password string, words ...string) (string, int) {
		args := []string{words[0], "--addr", p.addr, "--tls", "--cacert", a.File, "--cert", cert, "--key", key, "--user", "ops"}
		stdout, stderr, code := credproxy(t, []string{"REDISCLI_AUTH=" + password}, append(args, words[1:]...)...)
		wantNoSecret(t, strings.Join(words, " "), stdout+stderr)
		return stdout + stderr, code
	}
	bot := redis.NewClient(&redis.Options{Addr: p.addr, Password: "s3cret-proxy", MaxRetries: -1, TLSConfig: clientConfig(t, a)})
	defer bot.Close()
	ctx := context.Background()
	if err := bot.Set(ctx, "wa:auth:b1:creds", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for words, want := range map[string]string{"sync": "saved", "stats": "sessions tracked", "stats --help": "REDISCLI_AUTH", "session b1": "resident"} {
		if out, code := ask("s3cret-ops", strings.Fields(words)...); code != exitOK || !strings.Contains(out, want) {
			t.Errorf("%s: exit %d: %s", words, code, out)
		}
	}
	if out, code := ask("s3cret-typo", "stats"); code != exitFailure || !strings.Contains(out, "WRONGPASS") {
		t.Errorf("wrong password: exit %d: %s", code, out)
	}
	if err := bot.Do(ctx, "CREDPROXY", "EVICT", "b1").Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
		t.Errorf("EVICT by a bot: %v", err)
	}
	if out, code := ask("s3cret-ops", "evict", "b1"); code != exitOK {
		t.Errorf("evict: %s", out)
	}
	// Nobody who uses the proxy learns the password of Redis.
	for _, words := range [][]any{{"CONFIG", "GET", "requirepass"}, {"ACL", "LIST"}, {"ACL", "GETUSER", "default"}} {
		if err := bot.Do(ctx, words...).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			t.Errorf("%v: %v", words, err)
		}
	}
	for _, words := range [][]any{{"INFO", "everything"}, {"CREDPROXY", "STATS"}, {"CLIENT", "LIST"}, {"CREDPROXY", "SESSION", "b1"}} {
		reply, err := bot.Do(ctx, words...).Result()
		if err != nil {
			t.Errorf("%v: %v", words, err)
		}
		wantNoSecret(t, fmt.Sprint(words), fmt.Sprint(reply))
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	wantNoSecret(t, "arguments", string(bytes.ReplaceAll(cmdline, []byte{0}, []byte(" "))))
	if code := p.end(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("exit %d", code)
	}
	wantNoSecret(t, "log", p.logged())
	if !strings.Contains(p.logged(), "gave a wrong password") {
		t.Errorf("the wrong password is not in the log:\n%s", p.logged())
	}
}

// Starts that fail on each side name no password.
func TestFailingStartsShowNoSecret(t *testing.T) {
	a := testenv.NewAuthority(t)
	server, err := procs.StartRedis(t.Context(), procs.RedisConfig{Dir: t.TempDir(), Password: "another"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Kill() }()
	for _, c := range []struct{ name, upstream, dsn, want string }{
		{"no Postgres", server.Addr(), "postgres://u:s3cret-postgres@127.0.0.1:1/d", "open postgres"},
		{"no Redis", "127.0.0.1:1", withPassword(testenv.DSN(t)), "reach Redis at 127.0.0.1:1"},
		{"wrong password", server.Addr(), withPassword(testenv.DSN(t)), "WRONGPASS"},
	} {
		env := []string{"TEST_DSN=" + c.dsn, "TEST_REDIS=s3cret-redis", "TEST_OPS=s3cret-ops", "TEST_SECRET=" + signingSecret}
		path := writeFile(t, exposedConfig(t, a, c.upstream))
		stdout, stderr, code := credproxy(t, env, "run", "--config", path)
		if code != exitFailure || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit %d: %s", c.name, code, stderr)
		}
		wantNoSecret(t, c.name, stdout+stderr)
	}
}

// The program on a Unix socket, and its commands.
func TestProgramOnASocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "p.sock")
	config := strings.Replace(runConfig(testenv.Redis(t).Addr(), ""), `listen = "127.0.0.1:0"`, fmt.Sprintf("listen = %q\nlisten_mode = \"0600\"", "unix://"+socket), 1)
	dsn := testenv.DSN(t)
	p := startConfigured(t, config, dsn)
	stdout, stderr, code := credproxy(t, nil, "stats", "--addr", "unix://"+socket)
	if code != exitOK || !strings.Contains(stdout, "sessions tracked") {
		t.Errorf("stats: exit %d: %s%s", code, stdout, stderr)
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", info, err)
	}
	p.end(t, syscall.SIGKILL)
	p = startConfigured(t, config, dsn) // takes the place of the dead one's socket
	if code := p.end(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("exit %d:\n%s", code, p.logged())
	}
}

func TestTLSFlags(t *testing.T) {
	for args, want := range map[string]string{
		"stats --cacert x":                   "--cacert needs --tls",
		"stats --insecure":                   "--insecure needs --tls",
		"stats --tls --cert x":               "--cert and --key go together",
		"stats --tls --addr unix:///x":       "no TLS on the Unix socket",
		"evict --tls --insecure a --key k":   "option --key must stand before the ids",
		"evict --addr unix:///none.sock a b": "ask /none.sock for evict",
	} {
		_, stderr, code := credproxy(t, nil, strings.Fields(args)...)
		if code == exitOK || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d: %s", args, code, stderr)
		}
	}
}

// withPassword puts a password into a DSN whose server asks for none.
func withPassword(dsn string) string {
	scheme, rest, _ := strings.Cut(dsn, "://")
	user, host, _ := strings.Cut(rest, "@")
	user, _, _ = strings.Cut(user, ":")
	return scheme + "://" + user + ":s3cret-postgres@" + host
}

func clientConfig(t *testing.T, a *testenv.Authority) *tls.Config {
	t.Helper()
	cert, key := a.Issue(t, "bot")
	source, err := certs.Open(certs.Files{CA: a.File, Cert: cert, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return source.Client("localhost")
}
