package top

import (
	"strings"

	"credproxy/internal/human"
)

var helpLines = []string{
	"up down j k      move; PgUp PgDn Home End by more",
	"s                sort by the next: least recently used, most recently,",
	"                 hits, bytes; L N H B choose one of them",
	"/                filter by a part of the id; Esc shows all again",
	"t                only resident, evicted, loading ... sessions",
	"",
	"Enter            all about a session, and what would evict it",
	"e                evict it (asks before)",
	"r                restore it",
	"p                pin it: never evict it; again: unpin",
	"P                pause eviction (asks before), or let it go on",
	"",
	"Space            ask the proxy now",
	"q Ctrl-C         quit",
	"",
	"Rates are by the second between two answers; restore times are of the",
	"last 2,048 restores; the gauge's marks are target and threshold.",
}

// overlay is a box above everything, as small as its text allows.
func overlay(a area, title string, lines []string) {
	width := 0
	for _, l := range lines {
		width = max(width, human.Width(l))
	}
	width = min(width+4, a.w)
	wrapped := wrap(lines, max(width-4, 1))
	height := min(len(wrapped)+2, a.h)
	box := area{a.f, a.x + (a.w-width)/2, a.y + (a.h-height)/2, width, height}
	for i := range height {
		a.f.fill(box.x, box.y+i, width, plain)
	}
	in := box.box(title, "any key closes")
	for i, l := range wrapped {
		in.row(i).put(plain, l)
	}
}

// wrap breaks lines at spaces; what goes on is indented like the values of a table.
func wrap(lines []string, width int) []string {
	var out []string
	for _, l := range lines {
		for human.Width(l) > width {
			head := l
			if cut := lastSpace(l, width); cut > 0 {
				head = l[:cut]
			} else {
				head = cutAt(l, width)
			}
			out = append(out, head)
			l = strings.TrimLeft(l[len(head):], " ")
			if width > 3*indent {
				l = strings.Repeat(" ", indent) + l
			}
		}
		out = append(out, l)
	}
	return out
}

// indent is where the values of a session's table begin.
const indent = 13

// lastSpace is where to break so that width cells are enough; 0: nowhere behind the indent.
func lastSpace(l string, width int) int {
	for i := len(l) - 1; i > 0; i-- {
		if l[i] == ' ' && human.Width(l[:i]) <= width {
			if strings.TrimSpace(l[:i]) == "" {
				return 0
			}
			return i
		}
	}
	return 0
}

// cutAt is as much of l as has room, and at least one character: or there would be no end.
func cutAt(l string, width int) string {
	head := ""
	for _, r := range l {
		if head != "" && human.Width(head+string(r)) > width {
			break
		}
		head += string(r)
	}
	return head
}
