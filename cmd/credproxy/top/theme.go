package top

import (
	"github.com/gdamore/tcell/v3"
	"github.com/gdamore/tcell/v3/color"
)

// theme is how styles look. The colors are the terminal's own first eight, which its owner has chosen to be readable on
// whatever background there is, light or dark.
type theme map[style]tcell.Style

// newTheme has attributes only where there are no colors, or where NO_COLOR says that none are wanted.
func newTheme(colors int) theme {
	base := tcell.StyleDefault
	t := theme{
		plain: base, faint: base.Dim(true), strong: base.Bold(true), heading: base.Bold(true), bar: base.Reverse(true),
		good: base, warn: base.Bold(true), bad: base.Bold(true).Reverse(true), graph: base, selected: base.Reverse(true),
		keycap: base.Reverse(true).Bold(true),
	}
	if colors == 0 {
		return t
	}
	t[heading] = base.Foreground(color.Teal).Bold(true)
	t[good] = base.Foreground(color.Green)
	t[warn] = base.Foreground(color.Olive).Bold(true)
	t[bad] = base.Foreground(color.Maroon).Bold(true)
	t[graph] = base.Foreground(color.Teal)
	t[selected] = base.Foreground(color.Teal).Reverse(true)
	return t
}

// draw shows a frame. The library sends the terminal only what has changed.
func (t theme) draw(screen tcell.Screen, f *frame) {
	screen.Clear()
	for y := range f.h {
		for x := range f.w {
			if c := f.cells[y*f.w+x]; c.text != "" {
				screen.Put(x, y, c.text, t[c.style])
			}
		}
	}
	screen.Show()
}
