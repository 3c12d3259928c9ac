package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"credproxy/internal/testenv"
)

// A secret is introduced for a list that is stored already, step by step as SECURITY.md says. Neither the secret nor a value shows.
func TestSecretIsIntroduced(t *testing.T) {
	server, dsn := testenv.Redis(t), testenv.DSN(t)
	env := []string{"TEST_DSN=" + dsn, "TEST_SECRET=" + signingSecret}
	const key = "wa:auth:b1:creds"
	shown := ""
	lrange := func(addr string) (string, error) {
		bot := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
		defer bot.Close()
		got, err := bot.LRange(t.Context(), key, 0, -1).Result()
		return strings.Join(got, ","), err
	}
	restarted := func(signing string, use func(p *proxyProcess)) {
		t.Helper()
		config := strings.Replace(runConfig(server.Addr(), ""), `env("TEST_DSN") }`, `env("TEST_DSN") `+signing+" }", 1)
		p := startConfigured(t, config, dsn, env...)
		use(p)
		if out, errs, code := credproxy(t, nil, "evict", "--addr", p.addr, "b1"); code != exitOK {
			t.Errorf("evict: exit %d: %s%s", code, out, errs)
		}
		if code := p.end(t, syscall.SIGTERM); code != exitOK {
			t.Errorf("exit %d", code)
		}
		shown += p.logged()
	}
	want := func(p *proxyProcess) {
		if got, err := lrange(p.addr); got != "v4lue,another" {
			t.Errorf("the list: %q, %v", got, err)
		}
	}
	sign := func(signing, want string, wantCode int) {
		t.Helper()
		config := writeFile(t, strings.Replace(runConfig(server.Addr(), ""), `env("TEST_DSN") }`, `env("TEST_DSN") `+signing+" }", 1))
		stdout, stderr, code := credproxy(t, env, "sign", "--config", config)
		if code != wantCode || !strings.Contains(stdout+stderr, want) {
			t.Errorf("sign: exit %d: %s%s; want %d, %q", code, stdout, stderr, wantCode, want)
		}
		shown += stdout + stderr
	}
	const secret = `secret = env("TEST_SECRET")`

	restarted("", func(p *proxyProcess) {
		bot := redis.NewClient(&redis.Options{Addr: p.addr, MaxRetries: -1})
		defer bot.Close()
		if err := bot.RPush(t.Context(), key, "v4lue", "another").Err(); err != nil {
			t.Fatal(err)
		}
	})
	sign("", "there is no secret: set restore.secret", exitFailure)
	restarted(secret+" secret_accept_unsigned = true", want)
	if !strings.Contains(shown, `"unsigned":1`) {
		t.Errorf("the log does not say how many payloads are unsigned:\n%s", shown)
	}
	sign(secret, "signed 1 payloads", exitOK)
	sign(secret, "signed 0 payloads", exitOK)
	restarted(secret, want)

	pg, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Close(t.Context())
	if _, err := pg.Exec(t.Context(), "UPDATE credproxy.keys SET value = set_byte(value, 40, 0)"); err != nil {
		t.Fatal(err)
	}
	restarted(secret, func(p *proxyProcess) {
		if got, err := lrange(p.addr); err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), "signature") {
			t.Errorf("a forged list: %q, %v", got, err)
		}
	})
	const other = `secret_file = %q previous_secrets = [env("TEST_SECRET")]`
	file := t.TempDir() + "/secret"
	if err := os.WriteFile(file, []byte(strings.ToUpper(signingSecret)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sign(fmt.Sprintf(other, file), "1 have a signature that is not valid", exitFailure)
	for _, hidden := range []string{signingSecret[:12], strings.ToUpper(signingSecret)[:12], "v4lue"} {
		if strings.Contains(shown, hidden) {
			t.Errorf("%s shows in\n%s", hidden, shown)
		}
	}
}
