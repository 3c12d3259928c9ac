package top

import (
	"math"
	"strings"
)

// blocks are eighths of a cell, from below.
var blocks = []rune(" ▁▂▃▄▅▆▇█")

// lefts are eighths of a cell, from the left.
var lefts = []rune(" ▏▎▍▌▋▊▉█")

// chart draws the last values of a series, the newest at the right, height lines high, in eighths of a line. Zero has a base
// line of its own, so that "nothing happened" and "nothing is known" look different.
func chart(values []float64, width, height int, highest float64) []string {
	values = values[max(len(values)-width, 0):]
	if highest <= 0 {
		highest = 1
	}
	lines := make([]string, height)
	for row := range lines {
		var b strings.Builder
		b.WriteString(strings.Repeat(" ", width-len(values)))
		for _, v := range values {
			b.WriteRune(blocks[level(v, highest, height, height-1-row)])
		}
		lines[row] = b.String()
	}
	return lines
}

// level is how many eighths of a line are filled, counted from below.
func level(v, highest float64, height, line int) int {
	if math.IsNaN(v) {
		return 0
	}
	eighths := int(math.Ceil(min(max(v, 0), highest) / highest * float64(8*height)))
	if line == 0 {
		eighths = max(eighths, 1)
	}
	return min(max(eighths-8*line, 0), 8)
}

// peak is the highest of the last n values.
func peak(values []float64, n int) float64 {
	most := 0.0
	for _, v := range values[max(len(values)-n, 0):] {
		if v > most { // never so for NaN
			most = v
		}
	}
	return most
}

// sparkline is a chart of one line that is scaled to what it shows.
func sparkline(values []float64, width int) string {
	if width <= 0 {
		return ""
	}
	return chart(values, width, 1, peak(values, width))[0]
}

// gauge draws used memory: green up to the target, yellow up to the threshold, red above. Where the two are is marked in
// what is not filled.
func gauge(p *pen, percent float64, target, threshold int) {
	width := p.room()
	filled := min(max(percent, 0), 100) / 100 * float64(width)
	at := func(n int) int { return min(n*width/100, width-1) }
	for i := range width {
		st := good
		switch {
		case i >= at(threshold) && threshold > 0:
			st = bad
		case i >= at(target) && target > 0:
			st = warn
		}
		part := filled - float64(i)
		switch {
		case part >= 1:
			p.put(st, "█")
		case part >= 0.125:
			p.put(st, string(lefts[int(part*8)]))
		case target > 0 && i == at(target):
			p.put(warn, "┊")
		case threshold > 0 && i == at(threshold):
			p.put(bad, "┃")
		default:
			p.put(faint, "·")
		}
	}
}
