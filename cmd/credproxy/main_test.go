package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"credproxy/internal/testenv"
)

// asProgram makes the test binary behave as credproxy, so that tests run the program as a process of its own.
const asProgram = "CREDPROXY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		watchSteps()
		main()
	}
	os.Exit(testenv.Run(m))
}

// program is credproxy with a command line and more environment, not started yet.
func program(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	return cmd
}

// credproxy runs the program to its end.
func credproxy(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := program(t, env, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "proxy.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const goodConfig = `
keyspace "baileys" { keys = ["wa:auth:{session}:creds", "wa:auth:{session}:keys"] }
restore { postgres = "postgres://bots:s3cret@127.0.0.1:1/wa" }
`

func TestExitCodes(t *testing.T) {
	good, bad := writeFile(t, goodConfig), writeFile(t, goodConfig+"memory {\n  max = \"1XB\"\n  target = 90\n}\n")
	missing := filepath.Join(t.TempDir(), "none.hcl")
	for _, c := range []struct {
		args           string
		code           int
		stdout, stderr string // wanted in them
	}{
		{"", exitUsage, "COMMANDS", "no command given"},
		{"help", exitOK, "COMMANDS", ""},
		{"version", exitOK, "credproxy ", ""},
		{"version now", exitUsage, "", `version takes no argument "now"`},
		{"frobnicate", exitUsage, "", `unknown command "frobnicate"`},
		{"--frob", exitUsage, "", "flag provided but not defined: -frob"},
		{"check --conf x", exitUsage, "", "flag provided but not defined: -conf"},
		{"check --config " + good, exitOK, `postgres      = "postgres://bots:(set)@127.0.0.1:1/wa"`, ""},
		{"check --config " + bad, exitUsage, "", bad + `:5: memory: max "1XB" is not a size`},
		{"check --config " + missing, exitUsage, "", missing + ": no such file"},
		{"run --config " + bad, exitUsage, "", bad + `:5: memory: max "1XB" is not a size`},
		{"run --config " + good, exitFailure, "", "open postgres"},
		{"stats --addr 127.0.0.1:1", exitFailure, "", "ask 127.0.0.1:1 for stats"},
		{"evict", exitUsage, "", "evict needs a session"},
		{"session a b", exitUsage, "", "session takes one session, not 2"},
		{"evict a --json", exitUsage, "", "option --json must stand before the ids"},
		{"sessions --order size", exitUsage, "", `order "size" is unknown`},
		{"sessions --count 0", exitUsage, "", "count 0: 1 or more"},
		{"dev --bots 0", exitUsage, "", "0 bots: 1 to 2000"},
		{"dev --listen nowhere", exitUsage, "", `listen "nowhere" is no HOST:PORT`},
	} {
		t.Run(c.args, func(t *testing.T) {
			stdout, stderr, code := credproxy(t, nil, strings.Fields(c.args)...)
			if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
				t.Errorf("exit %d, want %d\nstdout: %s\nstderr: %s", code, c.code, stdout, stderr)
			}
			if c.code == exitFailure && strings.Count(strings.TrimSpace(stderr), "\n") > 0 {
				t.Errorf("more than one line: %s", stderr)
			}
			if strings.Contains(stdout+stderr, "s3cret") {
				t.Errorf("a secret is shown: %s%s", stdout, stderr)
			}
		})
	}
}

// Each problem of a configuration is one line of stderr, and nothing else is.
func TestConfigErrorsAreLines(t *testing.T) {
	path := writeFile(t, goodConfig+"lisen = 1\nmemory {\n  max = \"1XB\"\n}\nlog { level = \"loud\" }\n")
	_, stderr, code := credproxy(t, nil, "run", "--config", path)
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if code != exitUsage || len(lines) != 3 {
		t.Fatalf("exit %d, want %d and three lines:\n%s", code, exitUsage, stderr)
	}
	for i, want := range []string{":4: unknown name", ":6: memory: max", ":8: log: level"} {
		if !strings.HasPrefix(lines[i], path+want) {
			t.Errorf("line %d is %q, want %q", i, lines[i], path+want)
		}
	}
}

func TestPortTaken(t *testing.T) {
	server := testenv.Redis(t)
	path := writeFile(t, `
listen = "127.0.0.1:0"
upstream { address = "`+server.Addr()+`" }
keyspace "b" { keys = ["b:{session}"] }
restore { postgres = env("TEST_DSN") }
admin { listen = "`+server.Addr()+`" }
`)
	_, stderr, code := credproxy(t, []string{"TEST_DSN=" + testenv.DSN(t)}, "run", "--config", path)
	if code != exitFailure || !strings.Contains(stderr, "address already in use") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}
