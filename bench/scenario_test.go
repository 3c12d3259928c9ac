package main

import (
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"credproxy/internal/procs"
)

// runSmall is the whole program with little of everything, and returns its report.
func runSmall(t *testing.T, args ...string) (report, string) {
	t.Helper()
	testTarget(t) // skips where there is no Redis
	dir := t.TempDir()
	jsonPath, htmlPath := filepath.Join(dir, "out.json"), filepath.Join(dir, "out.html")
	var out, progress strings.Builder
	err := run(t.Context(), append(args, "--clients", "4", "--pipeline", "1", "--rounds", "1", "--duration", "300ms", "--warmup", "10ms",
		"--json", jsonPath, "--html", htmlPath), &out, &progress)
	if (errors.Is(err, procs.ErrMissing) || errors.Is(err, exec.ErrNotFound)) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	if page, err := os.ReadFile(htmlPath); err != nil || !strings.Contains(string(page), "</html>") {
		t.Errorf("page: %v", err)
	}
	got, err := readReport(jsonPath)
	if err != nil {
		t.Fatal(err)
	}
	return got, out.String()
}

// TestScenarios: with a limit, and when it begins evicted, credproxy restores sessions while it is measured, and no read is wrong.
func TestScenarios(t *testing.T) {
	got, _ := runSmall(t, "--targets", "direct,credproxy,credproxy:limited", "--loads", "storm,cold,bots-cold10", "--sessions", "150")
	if len(got.Results) != 9 {
		t.Fatalf("%d results", len(got.Results))
	}
	for _, r := range got.Results {
		limited := r.Target == "credproxy:limited"
		// A limited target may still be evicting from the storm when the next load begins.
		if restores := r.Load != "storm" && r.Target == "credproxy"; !limited && restores != (r.Restores.Median > 0) {
			t.Errorf("%s, %s: %v restores per second", r.Load, r.Target, r.Restores.Median)
		}
		if r.Ops.Median <= 0 || r.ClientCPU.Median <= 0 {
			t.Errorf("%s, %s: %+v", r.Load, r.Target, r)
		}
	}
	if r := got.Results[2]; r.Restores.Median == 0 {
		t.Error("a limited target has restored nothing in the storm")
	}
}

// TestDisturbances: what is measured beside others has a figure of how it was without them, over TLS too.
func TestDisturbances(t *testing.T) {
	got, table := runSmall(t, "--targets", "credproxy:tls-both,direct:tls", "--loads", "save,large", "--sessions", "20")
	if len(got.Results) != 2*len(largeDisturbers)+2*len(saveDisturbers)-1 {
		t.Fatalf("%d results", len(got.Results))
	}
	for _, r := range got.Results {
		if (r.While != "") != (r.OfQuiet > 0) || (r.While != "") != (r.Beside.Median > 0) || r.Shape.Rate != besideRate || r.Ops.Median <= 0 {
			t.Errorf("%s, %s: %+v", r.Heading(), r.Target, r)
		}
	}
	if !strings.Contains(table, "while one client SETs 1.3 MB") || !strings.Contains(table, "p99 of quiet") {
		t.Errorf("table:\n%s", table)
	}
	if got.About.Client != driverGoroutines {
		t.Errorf("clients are %s", got.About.Client)
	}
}

// TestMemory takes more than nothing from each client and session.
func TestMemory(t *testing.T) {
	got, table := runSmall(t, "--memory", "--targets", "direct,credproxy", "--idle", "2000", "--tracked", "20000")
	if len(got.Memory) != 2 || got.Memory[0].ClientRedis <= 0 || got.Memory[1].ClientProxy <= 0 || got.Memory[1].Tracked <= 0 ||
		got.Memory[1].Sessions != 20000 || !strings.Contains(table, "KB/client") {
		t.Errorf("got %+v\n%s", got.Memory, table)
	}
}

// TestCustomTargetServes: another program, started by a command, is measured like the rest.
func TestCustomTargetServes(t *testing.T) {
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Skip(err)
	}
	config := filepath.Join(t.TempDir(), "other.cfg")
	text := "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\nlisten all\n  bind {listen}\n  server redis {redis}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, _ := runSmall(t, "--targets", "direct", "--target", "other=exec haproxy -db -f {file:"+config+"}", "--loads", "get", "--sessions", "5")
	if len(got.Results) != 2 || got.Results[1].Target != "other" || got.Results[1].ProxyRSS == 0 || got.Results[1].Ops.Median <= 0 {
		t.Errorf("got %+v", got.Results)
	}
}

func TestSkewedChoice(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const n, draws = 100, 200_000
	var hits [n]int
	pick := skewed(n, 1)
	for range draws {
		hits[pick(rng)]++
	}
	// The tenth is chosen a tenth as often as the first, within chance.
	if ratio := float64(hits[0]) / float64(hits[9]); ratio < 9 || ratio > 11 || hits[n-1] == 0 {
		t.Errorf("the first is chosen %.1f times as often as the tenth, the last %d times", ratio, hits[n-1])
	}
}

func TestChanges(t *testing.T) {
	old, now := someReport(), someReport()
	fast := &now.Results[1]
	for i := range fast.Rounds {
		fast.Rounds[i].OpsPerSecond *= 2
		fast.Rounds[i].P99 *= 3
	}
	fast.summarize(now.Results[0])
	now.Results[3].Target = "nobody"
	verdicts := map[string]string{}
	for _, c := range changes(old.Results[1], *fast) {
		verdicts[c.head] = c.verdict
	}
	if verdicts["ops/s"] != "better" || verdicts["p99 us"] != "worse" || verdicts["p50 us"] != "" {
		t.Errorf("verdicts are %v", verdicts)
	}
	path := filepath.Join(t.TempDir(), "old.json")
	if err := writeFile(path, func(w io.Writer) error { return json.NewEncoder(w).Encode(old) }); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := printSince(&out, now, path); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2.00  better", "3.00   worse", "1 results have no counterpart"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if err := printSince(&out, now, path+"x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}
