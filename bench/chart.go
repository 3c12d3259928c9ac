package main

import (
	"fmt"
	"math"
)

// The geometry of a chart, in pixels of its own coordinate system.
const (
	chartWidth  = 800
	barLeft     = 140 // names stand left of it
	barMost     = 430 // the longest bar; figures stand right of it
	barHeight   = 14
	barStep     = 19
	groupHead   = 26
	groupSpace  = 8
	chartBottom = 4
)

// chart is one drawing: a group of bars for each shape, a bar for each target.
type chart struct {
	Title  string
	Legend []legend
	Width  int
	Height int
	Groups []group
}

// legend explains a colour.
type legend struct{ Class, Text string }

// group shares one scale: what is compared is targets, not shapes.
type group struct {
	Label string
	Y     int
	Bars  []bar
}

type bar struct {
	Label    string
	Text     string // the figures beside it
	Tip      string
	Y, TextY int
	End      float64 // where the bar ends
	Parts    []part
	Range    *span // lowest and highest round; nil: not drawn
}

type part struct {
	Class string
	X, W  float64
}

type span struct{ From, To, Y float64 }

// measured is what a chart shows of a result.
type measured struct {
	title  string
	legend []legend
	text   func(r result) string
	parts  func(r result) []float64 // lengths, one after another
	ends   func(r result) spread    // of the whole bar
}

var throughput = measured{
	title:  "Operations per second (longer is better)",
	legend: []legend{{"a", "median"}},
	text:   func(r result) string { return fmt.Sprintf("%.0f/s, %.2f of base", r.Ops.Median, r.OfBase) },
	parts:  func(r result) []float64 { return []float64{r.Ops.Median} },
	ends:   func(r result) spread { return r.Ops },
}

var latency = measured{
	title:  "Latency, microseconds (shorter is better)",
	legend: []legend{{"a", "p50"}, {"b", "p99"}},
	text: func(r result) string {
		return fmt.Sprintf("%.0f / %.0f, p99.9 %.0f", r.P50.Median, r.P99.Median, r.P999.Median)
	},
	parts: func(r result) []float64 { return []float64{r.P50.Median, max(0, r.P99.Median-r.P50.Median)} },
	ends:  func(r result) spread { return r.P99 },
}

var processor = measured{
	title:  "Processor time per operation, microseconds (shorter is better)",
	legend: []legend{{"a", "proxy"}, {"b", "Redis"}, {"c", "Postgres"}, {"d", "clients"}},
	text: func(r result) string {
		return fmt.Sprintf("%.1f + %.1f + %.1f, clients %.1f", r.ProxyCPU.Median, r.RedisCPU.Median, r.PostgresCPU.Median, r.ClientCPU.Median)
	},
	parts: func(r result) []float64 {
		return []float64{r.ProxyCPU.Median, r.RedisCPU.Median, r.PostgresCPU.Median, r.ClientCPU.Median}
	},
	ends: func(r result) spread {
		total := func(s sample) float64 { return s.ProxyCPU + s.RedisCPU + s.PostgresCPU + s.ClientCPU }
		return spreadOf(r.Rounds, total)
	},
}

// draw makes a chart of results of one load, which are ordered by shape.
func draw(m measured, results []result) chart {
	c := chart{Title: m.title, Legend: m.legend, Width: chartWidth}
	for some := range groups(results, func(a, b result) bool { return a.Heading() == b.Heading() }) {
		c.addGroup(m, some)
	}
	c.Height += chartBottom
	return c
}

func (c *chart) addGroup(m measured, results []result) {
	longest := 0.0
	for _, r := range results {
		longest = max(longest, m.ends(r).High, sum(m.parts(r)))
	}
	scale := 0.0
	if longest > 0 {
		scale = barMost / longest
	}
	g := group{Label: results[0].Circumstances(), Y: c.Height + groupHead - 10}
	c.Height += groupHead
	for _, r := range results {
		g.Bars = append(g.Bars, newBar(m, r, c.Height, scale))
		c.Height += barStep
	}
	c.Height += groupSpace
	c.Groups = append(c.Groups, g)
}

func newBar(m measured, r result, y int, scale float64) bar {
	b := bar{Label: r.Target, Text: m.text(r), Y: y, TextY: y + barHeight - 3, End: barLeft}
	for i, length := range m.parts(r) {
		w := round(length * scale)
		b.Parts = append(b.Parts, part{Class: string(rune('a' + i)), X: b.End, W: w})
		b.End = round(b.End + w)
	}
	ends := m.ends(r)
	b.Tip = fmt.Sprintf("%s: lowest %.1f, highest %.1f of %d rounds", r.Target, ends.Low, ends.High, len(r.Rounds))
	if len(r.Rounds) > 1 {
		b.Range = &span{From: round(barLeft + ends.Low*scale), To: round(barLeft + ends.High*scale), Y: float64(y) + barHeight/2}
		b.End = max(b.End, b.Range.To)
	}
	return b
}

func sum(all []float64) float64 {
	total := 0.0
	for _, v := range all {
		total += v
	}
	return total
}

// round keeps a tenth of a pixel.
func round(v float64) float64 { return math.Round(v*10) / 10 }
