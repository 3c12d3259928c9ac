package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"credproxy/internal/human"
)

// Into a file go lines, a few of them, and none at all of what is over at once.
func TestProgressLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&out, "restoring")
		for n := range int64(120) {
			p.set(n, 200)
			time.Sleep(100 * time.Millisecond)
		}
		p.end()
		want := "restoring: 20 of 200, 10 %, about 18s left\nrestoring: 70 of 200, 35 %, about 13s left\n"
		if out.String() != want {
			t.Errorf("%q, want %q", out.String(), want)
		}
		out.Reset()
		quick := newProgress(&out, "evicting")
		quick.set(1, 2)
		quick.end()
		if out.Len() > 0 {
			t.Errorf("%q for something quick", out.String())
		}
	})
}

func TestProgressBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&out, "restoring")
		p.width = 60
		for n := range int64(11) {
			p.set(n*100, 1000)
			time.Sleep(time.Second)
		}
		p.end()
		for _, frame := range strings.Split(out.String(), "\r")[1:] {
			if w := human.Width(strings.TrimSuffix(frame, "\x1b[K")); w >= 60 {
				t.Errorf("%d cells: %q", w, frame)
			}
		}
		if text := out.String(); !strings.Contains(text, "█░") || !strings.Contains(text, "500 of 1,000, 50 %, about 5s left") ||
			!strings.HasSuffix(text, "\r\x1b[K") || strings.Contains(text, "\n") {
			t.Errorf("%q", text)
		}
	})
	for width := range 100 {
		for _, all := range []int64{0, 7, 1e9} {
			if w := human.Width(progressBar("adopting", 3, all, time.Minute, width)); w > width {
				t.Errorf("%d cells of %d", w, width)
			}
		}
	}
}
