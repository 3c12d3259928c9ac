package main

import (
	"fmt"
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

// unsavedKeys is how many keys the tests leave unsaved.
const unsavedKeys = 10_000

// drainConfig saves nothing until it has to.
func drainConfig(upstream, timeout string) string {
	config := strings.Replace(runConfig(upstream, ""), `restore { postgres = env("TEST_DSN") }`, "restore {\n postgres = env(\"TEST_DSN\")\n sync_interval = \"10m\"\n}", 1)
	return fmt.Sprintf("shutdown_timeout = %q\n%s", timeout, config)
}

// leaveUnsaved writes so many keys.
func leaveUnsaved(t *testing.T, c *redis.Client) {
	t.Helper()
	for from := 0; from < unsavedKeys/2; from += 500 {
		_, err := c.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for i := range 500 {
				p.Set(t.Context(), fmt.Sprintf("wa:auth:b%d:creds", from+i), "value", 0)
				p.HSet(t.Context(), fmt.Sprintf("wa:auth:b%d:keys", from+i), "field", "value")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func wantStored(t *testing.T, dsn string, want int) {
	t.Helper()
	if got := stored(t, dsn); got != want {
		t.Errorf("%d keys are in Postgres, want %d", got, want)
	}
}

// stored counts the keys in Postgres.
func stored(t *testing.T, dsn string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM credproxy.keys").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// freeze stops every process of a Postgres until the returned function is called.
func freeze(t *testing.T, server *procs.Postgres) (thaw func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), "SELECT pid FROM pg_stat_activity")
	if err != nil {
		t.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil {
		t.Fatal(err)
	}
	conn.Close(t.Context())
	pids = append(pids, int32(server.PID()))
	signal := func(sig syscall.Signal) {
		for _, pid := range pids {
			_ = syscall.Kill(int(pid), sig) // our own connection's is gone
		}
	}
	signal(syscall.SIGSTOP)
	thawed := false
	thaw = func() {
		if !thawed {
			thawed = true
			signal(syscall.SIGCONT)
		}
	}
	t.Cleanup(thaw)
	return thaw
}

func TestDrainSavesEverything(t *testing.T) {
	server, dsn := testenv.Redis(t), testenv.DSN(t)
	p := startConfigured(t, drainConfig(server.Addr(), "60s"), dsn)
	leaveUnsaved(t, client(t, p.addr))
	wantStored(t, dsn, 0)
	if code := p.end(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("exit %d:\n%s", code, p.logged())
	}
	wantStored(t, dsn, unsavedKeys)
}

// A drain that cannot save says what is left, however it ends; the next start saves it.
func TestDrainWithoutPostgres(t *testing.T) {
	server, postgres := testenv.Redis(t), testenv.Postgres(t)
	start := func(timeout string) *proxyProcess {
		return startConfigured(t, drainConfig(server.Addr(), timeout), postgres.DSN())
	}
	says := func(p *proxyProcess, text string) {
		t.Helper()
		if !strings.Contains(p.logged(), text) {
			t.Errorf("the log lacks %q:\n%s", text, p.logged())
		}
	}
	p := start("2s")
	leaveUnsaved(t, client(t, p.addr))
	thaw := freeze(t, postgres)
	if code := p.end(t, syscall.SIGTERM); code != exitFailure {
		t.Errorf("exit %d", code)
	}
	says(p, "saving: 10,000 of 10,000 keys left")
	says(p, "10000 keys are not in Postgres")
	thaw()

	p = start("10m")
	testenv.Eventually(t, time.Minute, "the repair has saved what was left", func() bool { return stored(t, postgres.DSN()) == unsavedKeys })
	leaveUnsaved(t, client(t, p.addr))
	thaw = freeze(t, postgres)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, time.Minute, "the drain goes on", func() bool { return strings.Contains(p.logged(), "saving: ") })
	if code := p.end(t, syscall.SIGTERM); code != exitFailure {
		t.Errorf("exit %d after a second signal", code)
	}
	says(p, "as asked twice: ")
	thaw()

	p = start("60s")
	if code := p.end(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("exit %d:\n%s", code, p.logged())
	}
	wantStored(t, postgres.DSN(), unsavedKeys)
}

// On a terminal a bar shows how far the drain is, below the lines of the log.
func TestDrainOnATerminal(t *testing.T) {
	server, postgres := testenv.Redis(t), testenv.Postgres(t)
	socket := filepath.Join(t.TempDir(), "p.sock")
	config := strings.Replace(drainConfig(server.Addr(), "60s"), `"127.0.0.1:0"`, fmt.Sprintf("%q", "unix://"+socket), 1)
	s := onTerminal(t, program(t, []string{"TEST_DSN=" + postgres.DSN()}, "run", "--config", writeFile(t, config)), 80, 24)
	s.wait(t, "serving")
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
	defer c.Close()
	leaveUnsaved(t, c)
	thaw := freeze(t, postgres)
	s.press(t, "\x03") // Ctrl-C
	s.wait(t, "saving  ░░░", "0 of 10,000, 0 %")
	thaw()
	if code := s.exit(t); code != exitOK {
		t.Errorf("exit %d", code)
	}
	if screen := s.wait(t, "everything is saved"); strings.Contains(screen, "░") || strings.Contains(screen, "keys left") {
		t.Errorf("something is left of the bar:\n%s", screen)
	}
	wantStored(t, postgres.DSN(), unsavedKeys)
}
