package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
)

// tally counts what a run has done and seen, and remembers when.
type tally struct {
	clock clock

	mu      sync.Mutex // guards what follows
	n       map[string]int64
	events  []event
	remarks []string
}

type event struct {
	at   int64
	what string
}

func newTally() *tally { return &tally{clock: newClock(), n: map[string]int64{}} }

func (t *tally) add(what string, n int64) {
	t.mu.Lock()
	t.n[what] += n
	t.mu.Unlock()
}

// maxEvents bounds how many events are remembered.
const maxEvents = 400

// happened counts something and remembers its time.
func (t *tally) happened(what string) {
	t.add(what, 1)
	t.note(what)
}

// note remembers the time of something that is not counted.
func (t *tally) note(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.events = append(t.events, event{t.clock.now(), what}); len(t.events) > maxEvents {
		t.events = slices.Delete(t.events, 0, maxEvents/2)
	}
}

func (t *tally) get(what string) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n[what]
}

// remark keeps a line for the report. Only the first few are kept.
func (t *tally) remark(text string) {
	t.note(text)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.remarks) < maxViolations {
		t.remarks = append(t.remarks, text)
	}
}

// raise makes a count at least n.
func (t *tally) raise(what string, n int64) {
	t.mu.Lock()
	t.n[what] = max(t.n[what], n)
	t.mu.Unlock()
}

// fewest returns the rarest of some kinds of trouble.
func (t *tally) fewest(kinds []string) (kind string, n int64) {
	for i, k := range kinds {
		if count := t.get(k); i == 0 || count < n {
			kind, n = k, count
		}
	}
	return kind, n
}

func (t *tally) print(w io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(t.n)) {
		fmt.Fprintf(w, "%10d  %s\n", t.n[what], what)
	}
	for _, text := range t.remarks {
		fmt.Fprintf(w, "            %s\n", text)
	}
}

// trace writes the events and every operation of the round, in the order of their beginnings.
func (r *round) trace(path string) error {
	if path == "" {
		return nil
	}
	var lines []string
	for _, e := range r.tally.events {
		lines = append(lines, fmt.Sprintf("%12.3f   %s", float64(e.at)/1e6, strings.ToUpper(e.what)))
	}
	for _, w := range r.workers {
		for i := range w.log {
			lines = append(lines, w.log[i].String())
		}
	}
	slices.Sort(lines)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	return nil
}
