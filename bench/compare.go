package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
)

// cell is what two runs are compared by.
type cell struct {
	load   string
	size   int
	shape  shape
	while  string
	target string
}

func (r result) cell() cell { return cell{r.Load, r.Size, r.Shape, r.While, r.Target} }

// compared are the figures of which a change is of interest.
var compared = []struct {
	head   string
	of     func(r result) spread
	better float64 // 1: more is better, -1: less is
}{
	{"ops/s", func(r result) spread { return r.Ops }, 1},
	{"p50 us", func(r result) spread { return r.P50 }, -1},
	{"p99 us", func(r result) spread { return r.P99 }, -1},
	{"proxy cpu us", func(r result) spread { return r.ProxyCPU }, -1},
	{"redis cpu us", func(r result) spread { return r.RedisCPU }, -1},
}

// readReport reads the JSON of an earlier run.
func readReport(path string) (report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return report{}, fmt.Errorf("read earlier results: %w", err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return report{}, fmt.Errorf("read earlier results %s: %w", path, err)
	}
	return r, nil
}

// change is one figure of one cell in two runs.
type change struct {
	head     string
	old, new spread
	verdict  string // "better", "worse", or "" within the spread
}

func (c change) ratio() float64 {
	if c.old.Median == 0 {
		return 0
	}
	return c.new.Median / c.old.Median
}

// changes compares a cell. What counts is beyond the rounds of both runs: their ranges do not touch.
func changes(old, new result) []change {
	var all []change
	for _, f := range compared {
		c := change{head: f.head, old: f.of(old), new: f.of(new)}
		if c.old.Median == 0 && c.new.Median == 0 {
			continue
		}
		switch {
		case c.new.Low > c.old.High:
			c.verdict = judgement(f.better > 0)
		case c.new.High < c.old.Low:
			c.verdict = judgement(f.better < 0)
		}
		all = append(all, c)
	}
	return all
}

func judgement(better bool) string {
	if better {
		return "better"
	}
	return "worse"
}

// printChanges compares all cells that both runs have.
func printChanges(out io.Writer, old, new report) error {
	before := map[cell]result{}
	for _, r := range old.Results {
		before[r.cell()] = r
	}
	fmt.Fprintf(out, "\nSince %s (medians; marked is what lies beyond the rounds of both runs)\n", old.About.At.Format("2006-01-02 15:04 MST"))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	missing := 0
	for some := range groups(new.Results, func(a, b result) bool { return a.Heading() == b.Heading() }) {
		headed := false
		for _, r := range some {
			was, found := before[r.cell()]
			if !found {
				missing++
				continue
			}
			if !headed {
				fmt.Fprintf(w, "%s\t\told\t±%%\tnew\t±%%\tratio\t\t\n", r.Heading())
				headed = true
			}
			for _, c := range changes(was, r) {
				fmt.Fprintf(w, "%s\t%s\t%.1f\t%.0f\t%.1f\t%.0f\t%.2f\t%s\t\n", r.Target, c.head, c.old.Median, c.old.Percent(),
					c.new.Median, c.new.Percent(), c.ratio(), c.verdict)
			}
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print comparison: %w", err)
	}
	if missing > 0 {
		fmt.Fprintf(out, "%d results have no counterpart in the earlier run\n", missing)
	}
	return nil
}
