package main

import (
	"io"
	"sync"
)

// barred is where a log goes. A bar may stand below its last line if that is on a terminal: it gives way to the next line, and comes
// back below that.
type barred struct {
	out io.Writer

	mu  sync.Mutex // guards bar, and its order among the lines
	bar *progress  // nil: none
}

// Write is for the log.
func (b *barred) Write(lines []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar != nil {
		b.bar.end()
	}
	return b.out.Write(lines)
}

// raise begins a bar and reports whether there is a terminal for it.
func (b *barred) raise(what string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if terminal(b.out) {
		b.bar = newProgress(b.out, what)
	}
	return b.bar != nil
}

// set shows how far the bar has come.
func (b *barred) set(done, all int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar != nil {
		b.bar.set(done, all)
	}
}

// drop takes the bar away.
func (b *barred) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar != nil {
		b.bar.end()
		b.bar = nil
	}
}
