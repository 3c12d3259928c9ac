package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// column is one figure of a result, in the table and on the page.
type column struct {
	Head string
	text func(r result) string
	// seldom columns are shown only where some result has a figure.
	figure func(r result) float64
}

// columns are all of them, in order.
var columns = []column{
	{Head: "ops/s", text: func(r result) string { return fmt.Sprintf("%.0f", r.Ops.Median) }},
	{Head: "±%", text: func(r result) string { return fmt.Sprintf("%.0f", r.Ops.Percent()) }},
	{Head: "of base", text: func(r result) string { return fmt.Sprintf("%.2f", r.OfBase) }},
	micros("p50 us", func(r result) spread { return r.P50 }),
	micros("p99 us", func(r result) spread { return r.P99 }),
	seldom("p99 of quiet", "%.1f", func(r result) float64 { return r.OfQuiet }),
	seldom("p99.9 us", "%.0f", func(r result) float64 { return r.P999.Median }),
	{Head: "max us", text: func(r result) string { return fmt.Sprintf("%.0f", r.Max) }},
	cpuTime("proxy cpu us", func(r result) spread { return r.ProxyCPU }),
	cpuTime("redis cpu us", func(r result) spread { return r.RedisCPU }),
	cpuTime("postgres cpu us", func(r result) spread { return r.PostgresCPU }),
	cpuTime("client cpu us", func(r result) spread { return r.ClientCPU }),
	seldom("restores/s", "%.0f", func(r result) float64 { return r.Restores.Median }),
	seldom("beside/s", "%.0f", func(r result) float64 { return r.Beside.Median }),
	seldom("proxy MB", "%.1f", func(r result) float64 { return megabytes(r.ProxyRSS) }),
	seldom("redis MB", "%.1f", func(r result) float64 { return megabytes(r.RedisRSS) }),
	{Head: "wrong", text: func(r result) string { return fmt.Sprint(r.Wrong) }},
}

func micros(head string, of func(result) spread) column {
	return column{Head: head, text: func(r result) string { return fmt.Sprintf("%.0f", of(r).Median) }}
}

func cpuTime(head string, of func(result) spread) column {
	return seldom(head, "%.2f", func(r result) float64 { return of(r).Median })
}

func seldom(head, format string, figure func(result) float64) column {
	return column{Head: head, figure: figure, text: func(r result) string {
		if figure(r) == 0 {
			return "-"
		}
		return fmt.Sprintf(format, figure(r))
	}}
}

// Text is the figure of one result.
func (c column) Text(r result) string { return c.text(r) }

// shown are the columns in which some result has something to show.
func shown(results []result) []column {
	return slices.DeleteFunc(slices.Clone(columns), func(c column) bool {
		return c.figure != nil && !slices.ContainsFunc(results, func(r result) bool { return c.figure(r) != 0 })
	})
}

// printTable prints the medians for people, a table for each load in each shape.
func printTable(out io.Writer, r report) error {
	for some := range groups(r.Results, func(a, b result) bool { return a.Heading() == b.Heading() }) {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(out, "\n%s\n", some[0].Heading())
		all := shown(some)
		for _, c := range all {
			fmt.Fprintf(w, "\t%s", c.Head)
		}
		fmt.Fprintln(w, "\t")
		for _, res := range some {
			fmt.Fprint(w, res.Target)
			for _, c := range all {
				fmt.Fprintf(w, "\t%s", c.Text(res))
			}
			fmt.Fprintln(w, "\t")
		}
		if err := w.Flush(); err != nil {
			return fmt.Errorf("print table: %w", err)
		}
	}
	return nil
}

// groups splits results where neighbours are not of the same group.
func groups(results []result, same func(a, b result) bool) func(func([]result) bool) {
	return func(yield func([]result) bool) {
		for start := 0; start < len(results); {
			end := start
			for end < len(results) && same(results[start], results[end]) {
				end++
			}
			if !yield(results[start:end]) {
				return
			}
			start = end
		}
	}
}
