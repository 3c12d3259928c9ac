package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
)

//go:embed report.html
var page string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"after": func(x float64) float64 { return x + 6 },
}).Parse(page))

// section is one load on the page.
type section struct {
	Load    string
	Charts  []chart
	Columns []column
	Results []result
}

// glance is the table at the top: every load in every shape, and each target as a part of the first.
type glance struct {
	Targets []string
	Rows    []glanceRow
}

type glanceRow struct {
	Label string
	What  string // which figure
	Cells []glanceCell
}

// glanceCell is one target, with a bar as wide as its figure.
type glanceCell struct {
	Text  string
	Width float64 // percent
	Class string  // "good": not worse than the base, "": worse
}

// writeHTML writes one page that needs nothing else: styles and drawings are in it.
func writeHTML(w io.Writer, r report) error {
	data := struct {
		About       about
		Glance      glance
		Sections    []section
		MemoryHeads []string
		Memory      []memoryResult
	}{About: r.About, Glance: glanceAt(r.Results), MemoryHeads: memoryHeads, Memory: r.Memory}
	for some := range groups(r.Results, func(a, b result) bool { return a.Title() == b.Title() }) {
		part := section{Load: some[0].Title(), Columns: shown(some), Results: some}
		if some[0].Shape.Rate == 0 { // else it is what was ordered
			part.Charts = append(part.Charts, draw(throughput, some))
		}
		part.Charts = append(part.Charts, draw(latency, some), draw(processor, some))
		data.Sections = append(data.Sections, part)
	}
	if err := pageTemplate.Execute(w, data); err != nil {
		return fmt.Errorf("draw report: %w", err)
	}
	return nil
}

func glanceAt(results []result) (g glance) {
	for _, r := range results {
		if !slices.Contains(g.Targets, r.Target) {
			g.Targets = append(g.Targets, r.Target)
		}
	}
	for some := range groups(results, func(a, b result) bool { return a.Heading() == b.Heading() }) {
		g.Rows = append(g.Rows, glanceAtRow(some, g.Targets))
	}
	return g
}

// glanceAtRow compares what the load is about: the rate in the closed loop, the latency where the rate is given.
func glanceAtRow(some []result, targets []string) glanceRow {
	row := glanceRow{Label: some[0].Heading(), What: "ops/s"}
	figure := func(r result) float64 { return r.Ops.Median }
	if some[0].Shape.Rate > 0 {
		row.What, figure = "p99", func(r result) float64 { return r.P99.Median }
	}
	highest, base := 0.0, 0.0
	for _, r := range some {
		highest = max(highest, figure(r))
		if r.Target == targets[0] {
			base = figure(r)
		}
	}
	for _, name := range targets {
		i := slices.IndexFunc(some, func(r result) bool { return r.Target == name })
		if i < 0 || base == 0 { // not measured, or nothing to compare with
			row.Cells = append(row.Cells, glanceCell{Text: "-"})
			continue
		}
		v := figure(some[i])
		c := glanceCell{Text: fmt.Sprintf("%.2f×", v/base), Width: round(v / highest * 100)}
		if row.What == "ops/s" && v >= base || row.What == "p99" && v <= base {
			c.Class = "good"
		}
		row.Cells = append(row.Cells, c)
	}
	return row
}
