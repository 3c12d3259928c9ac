package procs

import (
	"io"
	"strings"
	"sync"
)

// tailSize is how many bytes of a server's output are kept for error messages.
const tailSize = 2048

// tail passes output on and remembers the end of it.
type tail struct {
	next io.Writer // nil: nowhere

	mu  sync.Mutex
	buf []byte
}

// Write never fails: a full disk under the log must not stop the server through a broken pipe.
func (t *tail) Write(p []byte) (int, error) {
	if t.next != nil {
		_, _ = t.next.Write(p)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - tailSize; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

// String returns the remembered output.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf))
}
