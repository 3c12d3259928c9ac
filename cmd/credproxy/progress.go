package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"credproxy/internal/human"
)

const (
	// progressLines is how often a log gets a line of something that takes long, progressFirst when it gets the first; a terminal
	// is redrawn more often.
	progressLines  = 5 * time.Second
	progressFirst  = 2 * time.Second
	progressFrames = 100 * time.Millisecond
)

// progress shows how far something long has come: as a bar on a terminal, as a line every few seconds elsewhere. What is over
// before the first line is due leaves nothing behind.
type progress struct {
	out   io.Writer
	what  string
	width int // of the terminal; 0: lines
	now   func() time.Time

	mu    sync.Mutex // guards what follows
	begun time.Time
	drawn time.Time // the last time
	bar   bool      // one stands on the terminal
}

// newProgress begins. what says in a word or two what is done.
func newProgress(out io.Writer, what string) *progress {
	p := &progress{out: out, what: what, now: time.Now}
	if terminal(out) {
		p.width = terminalWidth(out)
	}
	p.begun = p.now()
	p.drawn = p.begun.Add(progressFirst - progressLines)
	return p
}

// set shows that done of all are done. A total of 0 is not known.
func (p *progress) set(done, all int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, every := p.now(), progressLines
	if p.width > 0 {
		every = progressFrames
	}
	if now.Sub(p.drawn) < every {
		return
	}
	p.drawn = now
	if p.width == 0 {
		fmt.Fprintln(p.out, p.what+": "+progressText(done, all, now.Sub(p.begun)))
		return
	}
	p.bar = true
	fmt.Fprint(p.out, "\r"+progressBar(p.what, done, all, now.Sub(p.begun), p.width-1)+"\x1b[K")
}

// end takes the bar away: the result has a line of its own.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.bar = false
	}
}

// progressText is what there is to say without a bar.
func progressText(done, all int64, elapsed time.Duration) string {
	if all <= 0 {
		return human.Count(done)
	}
	text := fmt.Sprintf("%s of %s, %d %%", human.Count(done), human.Count(all), done*100/all)
	if done > 0 && done < all && elapsed >= time.Second {
		left := time.Duration(float64(elapsed) / float64(done) * float64(all-done))
		text += ", about " + human.Age(left) + " left"
	}
	return text
}

// progressBar is a line of at most width cells.
func progressBar(what string, done, all int64, elapsed time.Duration, width int) string {
	text := progressText(done, all, elapsed)
	room := min(width-len(what)-len(text)-4, 40)
	if all <= 0 || room < 5 {
		return human.Shorten(what+"  "+text, width)
	}
	filled := int(min(max(done, 0), all) * int64(room) / all)
	return what + "  " + strings.Repeat("█", filled) + strings.Repeat("░", room-filled) + "  " + text
}
