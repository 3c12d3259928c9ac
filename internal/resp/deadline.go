package resp

import (
	"fmt"
	"time"
)

// writePiece is how much a client has to take within WriteTimeout. Smaller and large replies cost more system calls,
// larger and a slow client that does take its reply is cut off.
const writePiece = 256 << 10

// writeThrough sends p and waits until the client has taken all of it.
func (c *Conn) writeThrough(p []byte) (int, error) {
	sent := 0
	for sent < len(p) {
		if err := c.armWrite(); err != nil {
			return sent, fmt.Errorf("set write deadline: %w", err)
		}
		n, err := c.sock.Write(p[sent:min(sent+writePiece, len(p))])
		sent += n
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// armWrite sets the write deadline, unless the one that is set is good for three quarters of the timeout: setting one
// costs more than all else that Write does before the system call.
func (c *Conn) armWrite() error {
	if c.WriteTimeout <= 0 {
		return nil
	}
	now := time.Now()
	if c.writeBy.Load()-now.UnixNano() > int64(c.WriteTimeout-c.WriteTimeout/4) {
		return nil
	}
	by := now.Add(c.WriteTimeout)
	c.writeBy.Store(by.UnixNano())
	return c.sock.SetWriteDeadline(by)
}

// armRead sets the deadline for the next wait: with trim the time to trim, otherwise the idle timeout's, unless the one that is
// set is almost as late; but no later than a stranger's last moment.
func (c *Conn) armRead(trim bool) error {
	var by time.Time
	switch {
	case trim:
		by = time.Now().Add(trimAfter)
	case c.IdleTimeout > 0:
		by = time.Now().Add(c.IdleTimeout)
	}
	if last := c.lastMoment(); !last.IsZero() && (by.IsZero() || last.Before(by)) {
		by = last
	}
	if d := by.Sub(c.armed); by.Equal(c.armed) || !trim && d >= 0 && d < c.IdleTimeout/16 {
		return nil
	}
	c.armed = by
	return c.nc.SetReadDeadline(by)
}

// lastMoment is until when a client that has not authenticated may take to do so; zero: for ever.
func (c *Conn) lastMoment() time.Time {
	if c.AuthTimeout <= 0 || c.authed.Load() {
		return time.Time{}
	}
	return c.stranger.Add(c.AuthTimeout)
}

func (c *Conn) lateToAuth() bool {
	last := c.lastMoment()
	return !last.IsZero() && !time.Now().Before(last)
}

// disarmRead takes the deadline of an earlier wait away.
func (c *Conn) disarmRead() error {
	if c.armed.IsZero() {
		return nil
	}
	c.armed = time.Time{}
	return c.nc.SetReadDeadline(c.armed)
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	c.writeBy.Store(0)
	return c.nc.SetDeadline(t)
}

// SetReadDeadline sets the deadline of the next wait for bytes.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.nc.SetReadDeadline(t) }

// SetWriteDeadline sets the deadline of the next Write, when WriteTimeout is 0; otherwise Write sets its own.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeBy.Store(0)
	return c.nc.SetWriteDeadline(t)
}
