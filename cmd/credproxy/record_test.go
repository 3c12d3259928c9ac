package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/testenv"
	"credproxy/internal/trace"
)

// TestRecordAndSimulate records what a client does on a running proxy and replays it.
func TestRecordAndSimulate(t *testing.T) {
	p := startProxy(t, testenv.Redis(t), testenv.DSN(t))
	out := filepath.Join(t.TempDir(), "trace")
	rec := program(t, nil, "record", "--addr", p.addr, "--out", out, "--json")
	var stdout, stderr bytes.Buffer
	rec.Stdout, rec.Stderr = &stdout, &stderr
	if err := rec.Start(); err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: p.addr})
	defer client.Close()
	ctx := context.Background()
	testenv.Eventually(t, 20*time.Second, "the recording has begun", func() bool {
		return client.Do(ctx, "CREDPROXY", "RECORD", "READ").Err() == nil // nothing is there to be taken yet
	})
	for i := range 3 {
		if err := client.Set(ctx, fmt.Sprintf("wa:auth:secret-bot-%d:creds", i), strings.Repeat("x", 1000), 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, 20*time.Second, "something is recorded", func() bool {
		client.Get(ctx, "wa:auth:secret-bot-0:creds")
		info, err := os.Stat(out)
		return err == nil && info.Size() > int64(len(trace.Magic))+4*10
	})
	if err := rec.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := rec.Wait(); err != nil {
		t.Fatalf("record: %v: %s", err, stderr.String())
	}
	var got struct{ Uses, Sessions, Dropped int64 }
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil || got.Sessions != 3 || got.Uses < 4 || got.Dropped != 0 {
		t.Errorf("recorded: %s (%v)", stdout.String(), err)
	}
	if file, _ := os.ReadFile(out); bytes.Contains(file, []byte("secret-bot")) {
		t.Error("the trace names a session")
	}
	if err := client.Do(ctx, "CREDPROXY", "RECORD", "READ").Err(); err == nil {
		t.Error("the proxy still records")
	}
	text, errText, code := credproxy(t, nil, "simulate", "--trace", out, "--max", "1MB", "--policy", "lru,gdsf", "--json")
	var rows []struct {
		Policy   string
		Uses     int64
		Sessions int64
		Restores int64
	}
	if err := json.Unmarshal([]byte(text), &rows); err != nil || code != exitOK || len(rows) != 2 || rows[1].Policy != "gdsf" ||
		rows[0].Uses != got.Uses || rows[0].Sessions != 3 || rows[0].Restores != 0 {
		t.Errorf("exit %d: %s%s", code, text, errText)
	}
	_, errText, code = credproxy(t, nil, "record", "--addr", p.addr, "--out", out)
	if code != exitFailure || !strings.Contains(errText, "file exists") {
		t.Errorf("an existing file: exit %d: %s", code, errText)
	}
}

// On a terminal a bar shows how much of the time is over.
func TestRecordOnATerminal(t *testing.T) {
	p := startProxy(t, testenv.Redis(t), testenv.DSN(t))
	s := onTerminal(t, program(t, nil, "record", "--addr", p.addr, "--out", filepath.Join(t.TempDir(), "trace"), "--for", "10m"), 100, 24)
	s.wait(t, "recording, second  ░░░", " of 600, 0 %")
	s.press(t, "\x03")
	if code := s.exit(t); code != exitOK {
		t.Errorf("exit %d", code)
	}
	if screen := s.wait(t, "file"); strings.Contains(screen, "░") {
		t.Errorf("something is left of the bar:\n%s", screen)
	}
}

func TestSimulateUsage(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	noTrace := writeFile(t, "not a trace, but a text of some length")
	for _, c := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"simulate", exitUsage, "wants --trace FILE"},
		{"simulate --trace a --synthetic loop", exitUsage, "wants --trace FILE"},
		{"simulate --synthetic lop", exitUsage, `"lop" is unknown`},
		{"simulate --synthetic loop --policy lru,mru", exitUsage, `policy "mru" is unknown`},
		{"simulate --synthetic loop --max 5XB", exitUsage, `--max "5XB" is not a size`},
		{"simulate --synthetic loop --max -5%", exitUsage, "is no percentage"},
		{"simulate --synthetic loop --target 90", exitUsage, "--target is 90, must be below --threshold"},
		{"simulate --trace " + none, exitFailure, "no such file"},
		{"simulate --trace " + noTrace, exitFailure, "this is no trace file"},
		{"record", exitUsage, "wants --out FILE"},
		{"record --out x --for 0s", exitUsage, "--for 0s is no time"},
		{"record --out x --max-size 5XB", exitUsage, `"5XB" is not a size`},
		{"record --out " + none + " --addr 127.0.0.1:1", exitFailure, "ask 127.0.0.1:1 for record"},
	} {
		if _, stderr, code := credproxy(t, nil, strings.Fields(c.args)...); code != c.code || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s: exit %d, want %d and %q: %s", c.args, code, c.code, c.stderr, stderr)
		}
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("a recording that never began has left a file")
	}
}

// TestSimulateShowsTableAndChart looks at what people see.
func TestSimulateShowsTableAndChart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	var e trace.Encoder
	file := []byte(trace.Magic)
	for i := range 400 { // ten sessions of 1,000 bytes in turn: with room for nine, lru restores every time
		file = e.Append(file, trace.Event{At: int64(i) * 60_000, Session: uint64(i % 10), Bytes: 1000})
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := credproxy(t, nil, "simulate", "--trace", path, "--max", "20KB,9500", "--policy", "lru", "--threshold", "100", "--target", "95")
	want := path + `: 400 uses of 10 sessions in 6h39m0s, 9.8 KB in all
uses that wait for a restore (a session's first one left out):

       max  of all       lru
    9.3 KB    95 %  100.00 %
   20.0 KB   205 %    0.00 %

    9.3 KB  lru     ` + strings.Repeat("█", barWidth) + ` 100.00 %
   20.0 KB  lru     ▏ 0.00 %
`
	if code != exitOK || stdout != want {
		t.Errorf("exit %d, got\n%s\nwant\n%s\n%s", code, stdout, want, stderr)
	}
}
