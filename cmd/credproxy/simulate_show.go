package main

import (
	"fmt"
	"strings"

	"credproxy/internal/human"
)

// table has a line for each budget and a column for each policy.
func (s *simulation) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%10s  %6s", "max", "of all")
	for _, p := range s.policies {
		fmt.Fprintf(&b, "  %8s", p)
	}
	b.WriteByte('\n')
	for i, row := range s.runs {
		fmt.Fprintf(&b, "%10s  %6s", human.Size(float64(s.budgets[i])), s.ofAll(s.budgets[i]))
		for _, run := range row {
			fmt.Fprintf(&b, "  %6.2f %%", 100*run.Result().Rate())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (s *simulation) ofAll(n int64) string {
	if s.extent.bytes == 0 { // no size was known
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100*float64(n)/float64(s.extent.bytes))
}

// barWidth is how many characters stand for the highest rate of a chart.
const barWidth = 50

// chart has a bar for each budget and policy, the shorter the better.
func (s *simulation) chart() string {
	most := 0.0
	for _, row := range s.runs {
		for _, run := range row {
			most = max(most, run.Result().Rate())
		}
	}
	var b strings.Builder
	for i, row := range s.runs {
		label := human.Size(float64(s.budgets[i]))
		for j, run := range row {
			rate := run.Result().Rate()
			line := fmt.Sprintf("%10s  %-7s %s %.2f %%", label, s.policies[j], bar(rate, most), 100*rate)
			b.WriteString(line + "\n")
			label = ""
		}
	}
	return b.String()
}

// eighths are the parts of a character's width.
var eighths = []rune(" ▏▎▍▌▋▊▉█")

// bar draws value on a scale that ends at most.
func bar(value, most float64) string {
	if most <= 0 {
		return "▏"
	}
	parts := max(int(value/most*barWidth*8+0.5), 1)
	text := strings.Repeat("█", parts/8)
	if parts%8 > 0 {
		text += string(eighths[parts%8])
	}
	return text
}
