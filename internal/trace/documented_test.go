package trace

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"credproxy/lru"
)

// documented reads the rows of the table in docs/policies.md: kind, percent, and a rate for each policy.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		var cells []string
		for _, cell := range strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			cells = append(cells, strings.Trim(strings.TrimSpace(cell), "`"))
		}
		if len(cells) == 2+len(lru.Policies()) && strings.HasSuffix(cells[1], " %") {
			rows[cells[0]+" "+cells[1]] = cells[2:]
		}
	}
	return rows
}

// TestDocumentedRates replays every synthetic trace with one budget and wants the rates that are documented.
func TestDocumentedRates(t *testing.T) {
	if testing.Short() {
		t.Skip("replays six traces of a million uses")
	}
	rows := documented(t)
	for kind, percent := range map[string]int64{"zipf:0.8": 50, "zipf:0.99": 50, "zipf:1.2": 50, "loop": 105, "daily": 50, "boot": 50} {
		row := rows[fmt.Sprintf("%s %d %%", kind, percent)]
		if row == nil {
			t.Errorf("%s at %d %% is not documented", kind, percent)
			continue
		}
		for i, got := range rates(kind, percent) {
			if fmt.Sprintf("%.2f", got) != row[i] {
				t.Errorf("%s at %d %%: %s restores %.2f %%, documented is %s", kind, percent, lru.Policies()[i], got, row[i])
			}
		}
	}
}

// rates replays a kind against all policies. A session that never appears does not count, as in credproxy simulate.
func rates(kind string, percent int64) (rates []float64) {
	total := totalOf(kind)
	var replays []*Replay
	for _, p := range lru.Policies() {
		b := lru.Budget{Max: int64(float64(percent) * float64(total) / 100), Threshold: 80, Target: 70}
		replays = append(replays, NewReplay(Setting{b, p}))
	}
	_ = Synthetic(kind, func(ev Event) { // the kinds are good
		for _, r := range replays {
			r.Access(ev)
		}
	})
	for _, r := range replays {
		rates = append(rates, 100*r.Result().Rate())
	}
	return rates
}
