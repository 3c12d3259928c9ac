package top

import (
	"strings"

	"github.com/clipperhouse/displaywidth"
)

// style is what a piece of text means; theme.go says how it looks.
type style uint8

const (
	plain    style = iota
	faint          // frames, units, what is old
	strong         // numbers
	heading        // names of boxes and columns
	bar            // the first and the last line
	good           // a quiet gauge
	warn           // above the target; paused
	bad            // above the threshold; away
	graph          // sparklines
	selected       // the line that keys act on
	keycap         // keys in the last line
)

// cell is one place on the screen. The second cell of a wide character is empty.
type cell struct {
	text  string
	style style
}

// frame is a screen before it is shown. Nothing written to it can leave it.
type frame struct {
	w, h  int
	cells []cell
}

func newFrame(w, h int) *frame {
	f := &frame{w: w, h: h, cells: make([]cell, w*h)}
	for i := range f.cells {
		f.cells[i].text = " "
	}
	return f
}

// line is one line as text.
func (f *frame) line(y int) string {
	var b strings.Builder
	for _, c := range f.cells[y*f.w : (y+1)*f.w] {
		b.WriteString(c.text)
	}
	return b.String()
}

// String is the whole frame as text.
func (f *frame) String() string {
	lines := make([]string, f.h)
	for y := range lines {
		lines[y] = strings.TrimRight(f.line(y), " ")
	}
	return strings.Join(lines, "\n")
}

// fill gives a part of a line a style and clears it.
func (f *frame) fill(x, y, w int, st style) {
	for i := max(x, 0); i < min(x+w, f.w) && y >= 0 && y < f.h; i++ {
		f.set(i, y, cell{" ", st}, 1)
	}
}

// set writes w cells. What is left of a wide character that was there before becomes a space.
func (f *frame) set(x, y int, c cell, w int) {
	at := y*f.w + x
	if f.cells[at].text == "" && x > 0 {
		f.cells[at-1].text = " "
	}
	if last := at + w; x+w < f.w && f.cells[last].text == "" {
		f.cells[last].text = " "
	}
	f.cells[at] = c
	if w == 2 {
		f.cells[at+1] = cell{"", c.style}
	}
}

// all of a frame.
func (f *frame) all() area { return area{f, 0, 0, f.w, f.h} }

// area is a rectangle of a frame.
type area struct {
	f          *frame
	x, y, w, h int
}

// inset leaves out cells at each side.
func (a area) inset(dx, dy int) area {
	return area{a.f, a.x + dx, a.y + dy, max(a.w-2*dx, 0), max(a.h-2*dy, 0)}
}

// top is the first n lines, and what is below them.
func (a area) top(n int) (upper, rest area) {
	n = min(max(n, 0), a.h)
	return area{a.f, a.x, a.y, a.w, n}, area{a.f, a.x, a.y + n, a.w, a.h - n}
}

// left is the first n columns, and what is beside them.
func (a area) left(n int) (first, rest area) {
	n = min(max(n, 0), a.w)
	return area{a.f, a.x, a.y, n, a.h}, area{a.f, a.x + n, a.y, a.w - n, a.h}
}

// row is a pen at the beginning of line i. Outside the area it writes nothing.
func (a area) row(i int) *pen {
	p := &pen{f: a.f, x: a.x, y: a.y + i, end: a.x + a.w}
	if i < 0 || i >= a.h {
		p.end = p.x
	}
	p.start = p.x
	return p
}

// box draws a frame around the area and returns what is within. note stands at its right.
func (a area) box(title, note string) area {
	if a.w < 4 || a.h < 2 {
		return area{f: a.f}
	}
	rule := strings.Repeat("─", a.w-2)
	a.row(0).put(faint, "╭"+rule+"╮")
	a.row(a.h-1).put(faint, "╰"+rule+"╯")
	for i := 1; i < a.h-1; i++ {
		a.row(i).put(faint, "│")
		a.row(i).to(a.w-1).put(faint, "│")
	}
	a.label(0, title, note)
	return a.inset(2, 1)
}

// divide draws a line with a title across a box.
func (a area) divide(i int, title, note string) {
	a.row(i).put(faint, "├"+strings.Repeat("─", max(a.w-2, 0))+"┤")
	a.label(i, title, note)
}

func (a area) label(i int, title, note string) {
	a.row(i).to(2).limit(a.w-2).put(heading, " "+title+" ")
	if w := displaywidth.String(note) + 2; note != "" && displaywidth.String(title)+w+8 < a.w {
		a.row(i).to(a.w-2-w).put(faint, " "+note+" ")
	}
}

// pen writes on one line, from left to right, until its end.
type pen struct {
	f             *frame
	start, x, end int
	y             int
}

// to moves to a column of the pen's area.
func (p *pen) to(column int) *pen {
	p.x = p.start + max(column, 0)
	return p
}

// limit ends the pen's line at a column of its area.
func (p *pen) limit(column int) *pen {
	p.end = min(p.end, p.start+max(column, 0))
	return p
}

// room is how many cells are left.
func (p *pen) room() int { return max(p.end-p.x, 0) }

// put writes text, as much of it as there is room for.
func (p *pen) put(st style, text string) *pen {
	for g := displaywidth.StringGraphemes(text); g.Next(); {
		w := g.Width()
		if w == 0 {
			continue
		}
		if p.y < 0 || p.y >= p.f.h || p.x < 0 || p.x+w > min(p.end, p.f.w) {
			p.x = p.end // nothing narrower slips in behind what had no room
			return p
		}
		p.f.set(p.x, p.y, cell{g.Value(), st}, w)
		p.x += w
	}
	return p
}

// right writes text so that it ends after width cells.
func (p *pen) right(st style, text string, width int) *pen {
	if gap := width - displaywidth.String(text); gap > 0 {
		p.put(st, strings.Repeat(" ", gap))
	}
	return p.put(st, text)
}

// padded writes text and fills up to width cells.
func (p *pen) padded(st style, text string, width int) *pen {
	p.put(st, text)
	if gap := width - displaywidth.String(text); gap > 0 {
		p.put(st, strings.Repeat(" ", gap))
	}
	return p
}
