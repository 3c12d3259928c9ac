package clients

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"credproxy/internal/testenv"
)

// program is the path of the built proxy.
var program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "credproxy-clients-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make folder for the program:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "credproxy")
	if out, err := exec.Command("go", "build", "-o", program, "credproxy/cmd/credproxy").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		return 1
	}
	code := testenv.Run(m)
	if err := reportSkips(); err != nil {
		fmt.Fprintln(os.Stderr, "report what was skipped:", err)
		return 1
	}
	return code
}

// skippedEnv names a file for what was skipped and why, as go test is silent about that in a run that passes. See .ci/run.
const skippedEnv = "CREDPROXY_TEST_SKIPPED"

var skipped struct {
	mu    sync.Mutex // guards lines
	lines []string
}

// skip skips the test, and remembers why.
func skip(t *testing.T, why string) {
	t.Helper()
	skipped.mu.Lock()
	skipped.lines = append(skipped.lines, fmt.Sprintf("%s: %s\n", t.Name(), why))
	skipped.mu.Unlock()
	t.Skip(why)
}

func reportSkips() error {
	path := os.Getenv(skippedEnv)
	if path == "" {
		return nil
	}
	return os.WriteFile(path, []byte(strings.Join(skipped.lines, "")), 0o600)
}

// lacks skips the test because of something that is not installed, or fails it in CI, which has everything.
func lacks(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	skip(t, what)
}
