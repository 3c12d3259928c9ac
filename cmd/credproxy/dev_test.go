package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"credproxy/internal/testenv"
)

// devRun runs dev for a few seconds and returns what it printed.
func devRun(t *testing.T, dir string, more ...string) (stdout, stderr string, code int) {
	t.Helper()
	args := append([]string{"dev", "--dir", dir, "--bots", "30", "--duration", "6s", "--listen", "127.0.0.1:16380"}, more...)
	return credproxy(t, nil, args...)
}

// counted reads a number from the last line of dev's output.
func counted(t *testing.T, stdout, what string) int {
	t.Helper()
	found := regexp.MustCompile(`([\d,]+) `+what).FindAllStringSubmatch(stdout, -1)
	if len(found) == 0 {
		t.Fatalf("no %q in\n%s", what, stdout)
	}
	n, err := strconv.Atoi(strings.ReplaceAll(found[len(found)-1][1], ",", ""))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func requireServers(t *testing.T) {
	t.Helper()
	testenv.DSN(t) // skips, or fails in CI, where the binaries are missing
}

func TestDevKeeps(t *testing.T) {
	requireServers(t)
	dir := filepath.Join(t.TempDir(), "dev")
	for round := range 2 {
		stdout, stderr, code := devRun(t, dir, "--keep")
		if code != exitOK {
			t.Fatalf("round %d: exit %d\n%s%s", round, code, stdout, stderr)
		}
		if !strings.Contains(stdout, "dashboard: http://127.0.0.1:") {
			t.Errorf("round %d: no address of the dashboard\n%s", round, stdout)
		}
		if wrong, errs := counted(t, stdout, "wrong"), counted(t, stdout, "errors"); wrong != 0 || errs != 0 {
			t.Errorf("round %d: %d wrong, %d errors\n%s", round, wrong, errs, stdout)
		}
		if verified := counted(t, stdout, "answers verified"); verified < 5000 {
			t.Errorf("round %d: %d answers verified", round, verified)
		}
		// The second round begins with an empty Redis: everything comes from Postgres.
		if restored := counted(t, stdout, "restores"); round == 1 && restored < 30 {
			t.Errorf("%d sessions restored, want all 30\n%s", restored, stdout)
		}
	}
	stdout, stderr, code := devRun(t, dir)
	if code != exitOK {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

// An interrupt ends everything that dev started.
func TestDevInterrupted(t *testing.T) {
	requireServers(t)
	dir := filepath.Join(t.TempDir(), "dev")
	cmd := program(t, nil, "dev", "--dir", dir, "--bots", "5", "--listen", "127.0.0.1:16480")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "credproxy.log")
	testenv.Eventually(t, 30*time.Second, "the proxy serves", func() bool {
		text, _ := os.ReadFile(log)
		return strings.Contains(string(text), "serving")
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	if left := processesIn(t, dir); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

// processesIn returns the command lines of processes that work in a folder.
func processesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		cwd, err := os.Readlink(e + "/cwd")
		if err == nil && strings.HasPrefix(cwd, dir) {
			line, _ := os.ReadFile(e + "/cmdline")
			found = append(found, string(line))
		}
	}
	return found
}

func TestDevSaysWhatIsMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	stdout, stderr, code := credproxy(t, []string{"PATH=" + t.TempDir()}, "dev", "--dir", dir)
	if code != exitFailure || !strings.Contains(stderr, "redis-server is not installed: apt-get install redis-server") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}
