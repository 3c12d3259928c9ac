package clients

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"credproxy/internal/testenv"
)

// cliCall is a way to use redis-cli. Of what it prints, keep says which lines both servers must have in common, nil: all.
type cliCall struct {
	words string
	input string
	keep  func(line string) bool
}

func with(texts ...string) func(string) bool {
	return func(line string) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(line, text) })
	}
}

var cliCalls = []cliCall{
	{words: "--scan"},
	{words: "--scan --pattern app:c1:*"},
	{words: "--bigkeys", keep: with("Sampled", "Total key length", "% of keys", " has ")},
	{words: "--memkeys", keep: with("Sampled", "Total key length")},
	{words: "--hotkeys"},
	{words: "--cluster check {addr}"},
	{words: "--eval {script} app:c2:str , a"},
	{words: "-3 HGETALL app:c1:hash"},
	{words: "--json HGETALL app:c3:hash"},
	{words: "--csv LRANGE app:c3:list 0 -1"},
	{words: "-n 6 DBSIZE"},
	{words: "DBSIZE"},
	{words: "--pipe", input: "INCR app:c4:n\r\nINCR app:c4:n\r\nINCR app:c4:str\r\n"},
	{words: "", input: "MULTI\nINCR app:c5:n\nGET app:c1:str\nEXEC\nCLIENT GETNAME\nNOSUCH\n"},
	// What graphical clients and exporters ask for. Numbers differ; what is refused would show.
	{words: "INFO", keep: with("ERR ", "# Server", "redis_version:", "# Keyspace")},
	{words: "INFO everything", keep: with("ERR ", "# Server", "# Commandstats")},
	{words: "CLIENT LIST", keep: with("ERR ", "NOPERM")},
	{words: "CONFIG GET maxmemory*"},
	{words: "SCAN 0 TYPE hash COUNT 1000", keep: with("ERR ", "NOPERM")},
	{words: "TYPE app:c1:hash"},
	{words: "MEMORY USAGE app:c2:str"},
	{words: "OBJECT ENCODING app:c1:hash"},
	{words: "SLOWLOG GET 128", keep: with("ERR ", "NOPERM")},
	{words: "LATENCY LATEST", keep: with("ERR ", "NOPERM")},
	{words: "MODULE LIST"},
	{words: "COMMAND COUNT"},
	{words: "COMMAND INFO hget"},
	{words: "ACL WHOAMI"},
	{words: "--latency --raw", keep: func(string) bool { return false }},
}

// run returns the lines that matter, in order: those of a scan come as they come.
func (call cliCall) run(t *testing.T, cli, addr, script string) []string {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	must(t, err)
	words := strings.Fields(strings.NewReplacer("{addr}", addr, "{script}", script).Replace(call.words))
	cmd := exec.CommandContext(t.Context(), cli, append([]string{"-h", host, "-p", port}, words...)...)
	cmd.Stdin = strings.NewReader(call.input)
	out, _ := cmd.CombinedOutput() // its exit code is worth little: it prints what went wrong
	if len(out) == 0 {
		t.Errorf("redis-cli %s prints nothing", call.words)
	}
	var lines []string
	for line := range strings.SplitSeq(strings.ReplaceAll(string(out), addr, "ADDR"), "\n") {
		if call.keep == nil || call.keep(line) {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

// fillByCLI makes sessions of some types. Sizes differ, so that there is one largest of each.
func fillByCLI(t *testing.T, addr string) {
	t.Helper()
	c := client(t, addr)
	for i := range 6 {
		p := "app:c" + string(rune('0'+i)) + ":"
		must(t, c.Set(t.Context(), p+"str", "v"+strings.Repeat("x", 10*i), 0).Err())
		for range i + 1 {
			must(t, c.RPush(t.Context(), p+"list", "e").Err())
		}
		must(t, c.HSet(t.Context(), p+"hash", "f", i).Err())
	}
	must(t, c.HSet(t.Context(), "app:c1:hash", "g", "w").Err())
}

// TestRedisCLI: whatever redis-cli does with a server it does with the proxy, half of whose sessions are evicted.
func TestRedisCLI(t *testing.T) {
	cli, err := exec.LookPath("redis-cli")
	if err != nil {
		lacks(t, "redis-cli is not installed: it is not tested")
	}
	script := filepath.Join(t.TempDir(), "script.lua")
	must(t, os.WriteFile(script, []byte("return {redis.call('GET', KEYS[1]), ARGV[1]}"), 0o600))
	plain, s := testenv.Redis(t), newStack(t)
	fillByCLI(t, plain.Addr())
	fillByCLI(t, s.addr)
	must(t, s.admin.Do(t.Context(), "CREDPROXY", "SYNC").Err())
	s.restart() // a scan may name keys twice whose sessions came to Redis just before it began
	for _, call := range cliCalls {
		for _, id := range []string{"app/c0", "app/c1", "app/c2"} {
			must(t, s.admin.Do(t.Context(), "CREDPROXY", "RESTORE", id).Err())
			must(t, s.admin.Do(t.Context(), "CREDPROXY", "EVICT", id).Err())
		}
		want, got := call.run(t, cli, plain.Addr(), script), call.run(t, cli, s.addr, script)
		if !slices.Equal(got, want) {
			t.Errorf("redis-cli %s\n  redis: %q\n  proxy: %q", call.words, want, got)
		}
	}
	// What only a replica may ask for is refused, and redis-cli says so.
	for _, words := range []string{"--rdb " + filepath.Join(t.TempDir(), "dump"), "--replica"} {
		out := strings.Join(cliCall{words: words}.run(t, cli, s.addr, script), "\n")
		if !strings.Contains(out, "SYNC with master failed: -NOPERM credproxy: SYNC is denied") {
			t.Errorf("redis-cli %s: %s", words, out)
		}
	}
	watchStat(t, cli, s.addr)
	showsItself(t, cli, s.addr)
}

// showsItself looks at what the proxy adds for operators, as redis-cli prints it.
func showsItself(t *testing.T, cli, addr string) {
	t.Helper()
	for words, want := range map[string][]string{
		"INFO":                     {"redis_version:", "# Credproxy", "credproxy_sessions_resident:"},
		"INFO credproxy":           {"# Credproxy", "credproxy_memory_used_bytes:"},
		"INFO server credproxy":    {"redis_version:", "# Credproxy"},
		"CREDPROXY HELP":           {"SLOWLOG", "STATS"},
		"CREDPROXY STATS":          {"sessions_evicted", "restores"},
		"-3 CREDPROXY STATS":       {"sessions_evicted", "restores"},
		"CREDPROXY MEMORY":         {"used_bytes"},
		"CREDPROXY SESSION app/c1": {"app", "eviction"},
		"CREDPROXY SLOWLOG LEN":    {""},
		"-3 CREDPROXY SLOWLOG GET": {""},
	} {
		out := strings.Join(cliCall{words: words}.run(t, cli, addr, ""), "\n")
		for _, text := range want {
			if !strings.Contains(out, text) || strings.Contains(out, "ERR ") {
				t.Errorf("redis-cli %s shows no %s: %s", words, text, out)
			}
		}
	}
	if out := strings.Join(cliCall{words: "INFO credproxy"}.run(t, cli, addr, ""), "\n"); strings.Contains(out, "redis_version") {
		t.Errorf("INFO credproxy shows other sections: %s", out)
	}
}

// watchStat reads some lines of redis-cli --stat, which never ends by itself.
func watchStat(t *testing.T, cli, addr string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	must(t, err)
	cmd := exec.CommandContext(t.Context(), cli, "-h", host, "-p", port, "--stat", "-i", "0.01")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	in := bufio.NewScanner(out)
	for n := 0; n < 5; n++ {
		if !in.Scan() {
			t.Fatalf("redis-cli --stat ends after %d lines", n)
		}
		if n >= 2 && len(strings.Fields(in.Text())) < 6 {
			t.Errorf("redis-cli --stat: %q", in.Text())
		}
	}
}
