package resp

import (
	"slices"
	"syscall"
	"time"
)

// A storm of connections costs the proxy more than it costs who makes it, and every one of them is well-formed. So sources are
// charged for connections that came to little, and one that owes more than its allowance waits, as a bare socket, before it
// is made a client. Connections that last cost nothing: ten thousand may come at once after a restart.
const (
	trifleCost    = 1 * time.Millisecond   // a short connection with one command at most
	briefCost     = 250 * time.Microsecond // a short connection with more
	brokenCost    = 5 * time.Millisecond   // one that ended with a bad frame
	handshakeCost = 20 * time.Millisecond  // one whose TLS handshake failed
	brief         = 1 * time.Second        // what is short

	connAllowance = 100 * time.Millisecond // what a source may owe before it waits
	maxTurn       = 5 * time.Second        // the longest that a client waits
	maxWaiting    = 4096                   // clients that wait, of all sources; more are closed
)

// line is who waits, ordered by their turns. It belongs to the accept loop.
type line struct {
	due   []time.Time
	conns []*Conn
}

// join puts a client into the line; false: it is too long.
func (w *line) join(c *Conn, due time.Time) bool {
	if len(w.due) >= maxWaiting {
		return false
	}
	i, _ := slices.BinarySearchFunc(w.due, due, func(at, due time.Time) int {
		if at.After(due) {
			return 1
		}
		return -1 // behind those of the same moment
	})
	w.due, w.conns = slices.Insert(w.due, i, due), slices.Insert(w.conns, i, c)
	return true
}

// next takes out the first if its turn has come, nil otherwise.
func (w *line) next(now time.Time) *Conn {
	if len(w.due) == 0 || w.due[0].After(now) {
		return nil
	}
	c := w.conns[0]
	w.due, w.conns = slices.Delete(w.due, 0, 1), slices.Delete(w.conns, 0, 1)
	return c
}

func (w *line) closeAll() {
	for _, c := range w.conns {
		_ = c.Close() // they have sent nothing that was looked at
	}
	w.due, w.conns = nil, nil
}

// seat returns a client whose turn has come, nil if there is none. Who has gone meanwhile is not made a client.
func (l *Listener) seat() *Conn {
	for {
		c := l.line.next(time.Now())
		if c == nil || !c.hasLeft() {
			return c
		}
		_ = c.Close()
	}
}

// mustWait reports whether a client has to wait for its turn, which is seen to, or was closed.
func (l *Listener) mustWait(c *Conn) bool {
	peer := c.RemoteAddr()
	wait := l.debts.Turn(peer, trifleCost)
	if l.deadline == nil || wait == 0 {
		c.onClose = func() {
			l.open.Add(-1)
			l.debts.Charge(peer, c.nuisance())
		}
		return false
	}
	c.onClose = func() { // it has been charged
		l.open.Add(-1)
		l.debts.Charge(peer, time.Duration(c.trouble.Load()))
	}
	if !l.line.join(c, time.Now().Add(wait)) {
		_ = c.Close()
	}
	return true
}

// awake lets a blocking accept return when the next client's turn comes.
func (l *Listener) awake() {
	var by time.Time
	if len(l.line.due) > 0 {
		by = l.line.due[0]
	}
	if l.deadline == nil || by.Equal(l.armed) {
		return
	}
	l.armed = by
	_ = l.deadline.SetDeadline(by) // fails only when it is closed
}

// nuisance is what a connection that is over has cost others.
func (c *Conn) nuisance() time.Duration {
	cost := time.Duration(c.trouble.Load())
	switch {
	case cost > 0 || time.Since(c.since) > brief:
		return cost
	case c.served.Load() > 1:
		return briefCost
	}
	return trifleCost
}

// hasLeft reports whether the client has closed its side without a word.
func (c *Conn) hasLeft() (left bool) {
	if c.raw == nil {
		return false
	}
	err := c.raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		left = n == 0 && err == nil || err == syscall.ECONNRESET
	})
	return left || err != nil
}
