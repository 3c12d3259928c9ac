package top

// size is how much there is room for.
type size uint8

const (
	tiny   size = iota // the list alone
	small              // a line each for memory, rates and states
	normal             // a box with all numbers, as on 80x24
	tall               // two boxes with charts
)

// plan is which line shows what. The first and the last line are bars; the list has what the others leave.
type plan struct {
	size   size
	upper  int // lines above the health
	health int
	rows   int // sessions
}

// upperLines are those that a size needs above the health.
var upperLines = map[size]int{tiny: 0, small: 3, normal: 11, tall: 12}

func (m *Model) plan() plan {
	p := plan{size: tiny}
	switch {
	case m.w >= 120 && m.h >= 32:
		p.size = tall
	case m.w >= 60 && m.h >= 20:
		p.size = normal
	case m.w >= 30 && m.h >= 10:
		p.size = small
	}
	p.upper = upperLines[p.size]
	rest := m.h - 2 - p.upper // without the bars
	if rest >= 3 {
		p.health = min(max(len(m.findings()), 1), max(rest/4, 1))
	}
	p.rows = max(rest-p.health-1, 0) // and the columns' names
	return p
}

// rows is how many sessions the screen shows.
func (m *Model) rows() int { return m.plan().rows }
