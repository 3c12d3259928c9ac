package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"credproxy/internal/procs"
)

func TestQuantiles(t *testing.T) {
	var all []time.Duration
	for i := range 200 {
		all = append(all, time.Duration(200-i)*time.Microsecond)
	}
	if got, want := quantilesOf(all), (quantiles{P50: 100, P99: 198}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := quantilesOf(all[:1]), (quantiles{P50: 200, P99: 200}); got != want {
		t.Errorf("of one: got %+v, want %+v", got, want)
	}
}

func TestRestoreShapes(t *testing.T) {
	for _, s := range restoreShapes {
		rounds := 300
		if s.fields > 0 {
			rounds = 60
		}
		if got := s.rounds(300); got != rounds {
			t.Errorf("%s: %d rounds, want %d", s.name, got, rounds)
		}
	}
}

// TestRunRestore is the whole program, with sessions that are smaller.
func TestRunRestore(t *testing.T) {
	testTarget(t) // skips where there is no Redis
	whole := restoreShapes
	t.Cleanup(func() { restoreShapes = whole })
	restoreShapes = []restoreShape{{"1 key", 1, 0, 500}, {"30 keys", 30, 0, 100}, {"a hash", 1, 1000, 580}}
	jsonPath := filepath.Join(t.TempDir(), "out.json")
	var out, progress strings.Builder
	err := run(t.Context(), []string{"--restore", "--restores", "10", "--json", jsonPath}, &out, &progress)
	if (errors.Is(err, procs.ErrMissing) || errors.Is(err, exec.ErrNotFound)) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	text, err := os.ReadFile(jsonPath)
	if err != nil {
		t.Fatal(err)
	}
	var r restoreReport
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Restores) != 3 || r.Restores[0].Rounds != 10 || r.Restores[2].Rounds != 2 || len(r.Others) != 3 {
		t.Fatalf("report: %+v", r)
	}
	for _, s := range r.Restores {
		if s.Read.P50 <= 0 || s.Floor.P50 < s.Read.P50 || s.WithGet.P50 < s.Floor.P50 || s.Proxy.P50 < s.Resident.P50 || s.P50Ratio <= 0 {
			t.Errorf("figures: %+v", s)
		}
	}
	for _, want := range []string{"30 keys", "quiet", "floor: bare pgx"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in the table:\n%s", want, out.String())
		}
	}
}
