package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"credproxy/internal/testenv"
)

// fed runs the program with text on its stdin.
func fed(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := program(t, nil, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	_ = cmd.Run() // the exit code tells
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestManySessions(t *testing.T) {
	p := startProxy(t, testenv.Redis(t), testenv.DSN(t))
	c := client(t, p.addr)
	ids := ""
	for n := range 50 {
		set(t, c, fmt.Sprintf("wa:auth:m%02d:creds", n), "value")
		ids += fmt.Sprintf("m%02d\n", n)
	}
	at := []string{"--addr", p.addr}
	run := func(stdin string, want int, words ...string) (string, string) {
		t.Helper()
		stdout, stderr, code := fed(t, stdin, append(append([]string{words[0]}, at...), words[1:]...)...)
		if code != want {
			t.Errorf("%q: exit %d: %s%s", words, code, stdout, stderr)
		}
		return stdout, stderr
	}
	run("", exitOK, "pin", "m07")
	out, log := run(ids+"\n  nobody\r\n", exitFailure, "evict", "--json", "-")
	var result struct {
		Evicted int
		Failed  []struct{ ID, Error string }
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil || result.Evicted != 49 || len(result.Failed) != 2 ||
		result.Failed[0].ID != "  nobody" || result.Failed[1].ID != "m07" || !strings.Contains(result.Failed[1].Error, "pinned") {
		t.Errorf("%v: %s", err, out)
	}
	if !strings.Contains(log, "session m07: ") || !strings.Contains(log, "2 of 51 sessions failed") {
		t.Errorf("stderr: %s", log)
	}
	if _, log := run("", exitFailure, "restore", "--all", "--yes"); !strings.Contains(log, "credproxy pause") {
		t.Errorf("while eviction goes on: %s", log)
	}
	run("", exitOK, "pause")
	if _, log := run("", exitUsage, "restore", "--all"); !strings.Contains(log, "49 sessions") || !strings.Contains(log, "--yes") {
		t.Errorf("without --yes: %s", log)
	}
	if out, _ := run("", exitOK, "restore", "--all", "--yes"); out != "restored: 49\n" {
		t.Errorf("restore --all: %s", out)
	}
	if st := statsOf(t, c); st["sessions_resident"] != "50" || st["sessions_evicted"] != "0" {
		t.Errorf("%s are resident, %s evicted", st["sessions_resident"], st["sessions_evicted"])
	}
	run("", exitUsage, "restore", "--all", "--yes", "m01")
	if out, _ := run("", exitOK, "sessions", "--match", "M1", "--state", "resident", "--order", "recent"); strings.Count(out, "m1") != 10 {
		t.Errorf("sessions --match M1:\n%s", out)
	}
	if out, _ := run("", exitOK, "sync", "--json"); !strings.Contains(out, `"saved_keys": `) {
		t.Errorf("sync: %s", out)
	}
}

// What can be wrong with an address or a password is answered with what to do about it.
func TestHelpfulErrors(t *testing.T) {
	bare := testenv.Redis(t)
	proxy := startConfigured(t, runConfig(bare.Addr(), "auth {\n  password = \"s3cret\"\n}\n"), testenv.DSN(t))
	for _, test := range []struct{ args, want string }{
		{"stats --addr " + bare.Addr(), "this is no credproxy"},
		{"stats --addr 127.0.0.1:1", "nothing listens there"},
		{"stats --addr unix:///no/such/socket", "nothing listens there"},
		{"stats --addr " + strings.TrimSuffix(strings.TrimPrefix(proxy.admin, "http://"), "/"), "this is an HTTP server"},
		{"stats --addr " + bare.Addr() + " --tls --timeout 2s", "leave --tls out"},
		{"stats --addr " + proxy.addr, "REDISCLI_AUTH"},
		{"stats --password wrong --addr " + proxy.addr, "password, or --user, is wrong"},
		{"top --addr 127.0.0.1:1", "not a terminal"},
	} {
		_, stderr, code := credproxy(t, nil, strings.Fields(test.args)...)
		if code == exitOK || !strings.Contains(stderr, test.want) || strings.Contains(stderr, "s3cret") {
			t.Errorf("%s: exit %d: %s", test.args, code, stderr)
		}
	}
	for _, args := range []string{"evict a -addr=x", "restore a --password x", "top --interval 1s --addr"} {
		if _, stderr, code := credproxy(t, nil, strings.Fields(args)...); code != exitUsage {
			t.Errorf("%s: exit %d: %s", args, code, stderr)
		}
	}
}

func TestJSONEverywhere(t *testing.T) {
	good, bad := writeFile(t, goodConfig), writeFile(t, goodConfig+"memory {\n  max = \"1XB\"\n}\n")
	for args, want := range map[string]struct {
		code int
		text string
	}{
		"version --json":                {exitOK, `"version": `},
		"check --json --config " + good: {exitOK, `"valid": true`},
		"check --json --config " + bad:  {exitUsage, `"line": 5`},
	} {
		stdout, _, code := credproxy(t, nil, strings.Fields(args)...)
		if code != want.code || !json.Valid([]byte(stdout)) || !strings.Contains(stdout, want.text) || strings.Contains(stdout, "s3cret") {
			t.Errorf("%s: exit %d: %s", args, code, stdout)
		}
	}
}

// The script completes in a real bash, and what stands on the line is never run.
func TestBashCompletion(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("no bash here")
	}
	p := startProxy(t, testenv.Redis(t), testenv.DSN(t))
	set(t, client(t, p.addr), "wa:auth:bot77:creds", "v")
	script, _, code := credproxy(t, nil, "completion", "bash")
	if code != exitOK {
		t.Fatalf("exit %d", code)
	}
	self := program(t, nil)
	complete := func(words ...string) string {
		t.Helper()
		bash := exec.CommandContext(t.Context(), "bash", "-c",
			`credproxy() { "$PROGRAM" "$@"; }; `+script+`
			COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _credproxy; echo "${COMPREPLY[@]}"`, "-")
		bash.Args = append(append(bash.Args, "credproxy"), words...)
		bash.Env = append(self.Env, "PROGRAM="+self.Path)
		out, err := bash.Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	for _, test := range []struct {
		words []string
		want  string
	}{
		{[]string{"sta"}, "stats"},
		{[]string{"re"}, "record restore resume"},
		{[]string{"sessions", "--o"}, "--order"},
		{[]string{"check", "--config", ""}, ""},
		{[]string{"completion", ""}, "bash zsh fish"},
		{[]string{"stats", ""}, ""},
		{[]string{"evict", "--addr", p.addr, "bot"}, "bot77"},
		{[]string{"evict", "$(echo bot77)", "--ju"}, ""},
	} {
		if got := complete(test.words...); got != test.want {
			t.Errorf("%q: %q, want %q", test.words, got, test.want)
		}
	}
	if all := complete("stats", "--"); !strings.Contains(all, "--addr") || !strings.Contains(all, "--json") {
		t.Errorf("options of stats: %q", all)
	}
	for shell, want := range map[string]string{"zsh": "#compdef credproxy", "fish": "complete -c credproxy"} {
		if out, _, code := credproxy(t, nil, "completion", shell); code != exitOK || !strings.Contains(out, want) {
			t.Errorf("%s: exit %d: %s", shell, code, out)
		}
	}
	if _, stderr, code := credproxy(t, nil, "completion", "tcsh"); code != exitUsage {
		t.Errorf("tcsh: exit %d: %s", code, stderr)
	}
}
