package resp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// A client can be held between two of its commands: what it has sent so far is answered, nothing of it lies anywhere but in the
// guard's buffer and in the socket. From there another process can go on with it.

// Halter holds clients between their commands.
type Halter interface {
	// Halting reports whether Halt may wait. It is asked before every wait for bytes, so it must cost next to nothing.
	Halting() bool
	// Halt may wait for as long as it likes. Its error ends the client's Read.
	Halt() error
}

// SetHalter sets who may hold the client. Call it before the first Read.
func (c *Conn) SetHalter(h Halter) { c.halter = h }

// halt waits for the halter, if it has something against the next command.
func (c *Conn) halt() error {
	if c.halter == nil || !c.halter.Halting() {
		return nil
	}
	if err := c.halter.Halt(); err != nil {
		return err
	}
	return c.forgetNudge()
}

// forgetNudge takes a deadline away that was to wake the client up.
func (c *Conn) forgetNudge() error {
	c.armed = time.Time{}
	return c.nc.SetReadDeadline(c.armed)
}

// nudged reports whether a Read's error is only that somebody has called Nudge.
func (c *Conn) nudged(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && c.halter != nil && c.halter.Halting() && !c.lateToAuth() && c.forgetNudge() == nil
}

// Nudge ends the client's wait for its next command, so that its halter is asked. A client that is busy may miss it: repeat it.
// It is of no use to one that still makes its TLS handshake, which it would end.
func (c *Conn) Nudge() {
	if c.Shaken() {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // fails only when it is closed
	}
}

// Unnudge takes back what Nudge has done to a client that its halter has not held.
func (c *Conn) Unnudge() {
	if c.Shaken() {
		_ = c.nc.SetReadDeadline(time.Time{})
	}
}

// Unsent reports whether replies still wait for the client to take them.
func (c *Conn) Unsent() bool {
	busy, _ := c.unsent.state()
	return busy
}

// What follows is for a client that is held, or has not been read from yet.

// Unread is what the client has sent of a command that is not complete. It is valid until the client goes on.
func (c *Conn) Unread() []byte { return c.buf[c.off:] }

// Descriptor calls f with the socket, if the connection is one that another process can go on with: not with TLS, whose state
// cannot be given away.
func (c *Conn) Descriptor(f func(fd uintptr) error) (possible bool, err error) {
	if c.raw == nil {
		return false, nil
	}
	var failed error
	if err := c.raw.Control(func(fd uintptr) { failed = f(fd) }); err != nil {
		return true, err
	}
	return true, failed
}

// Leave closes this process's end of a connection that goes on in another one.
func (c *Conn) Leave() {
	c.closing.Do(func() {
		if r, ok := c.nc.(interface{ Release() }); ok {
			r.Release()
		} else {
			c.closeErr = c.nc.Close()
		}
		if c.onClose != nil {
			c.onClose()
		}
	})
}

// Inherit makes a client of a connection that another process has held, with what that has read of it but not used. peer is the
// client's address where the socket does not know it; nil: it does.
func (l *Listener) Inherit(nc net.Conn, unread []byte, peer net.Addr) *Conn {
	l.open.Add(1)
	if l.cfg.Adopt != nil {
		nc = l.cfg.Adopt(nc)
	}
	c := NewConn(nc, l.cfg.Limits)
	l.configure(c)
	c.buf, c.peer = append([]byte(nil), unread...), peer
	c.onClose = func() { l.open.Add(-1) }
	return c
}

// halting is what a Listener needs to stop accepting for a while.
type halting struct {
	resume chan struct{} // closed when Accept may go on
	there  chan struct{} // closed when Accept waits
}

// Halt stops accepting; when it returns without an error Accept waits, and clients that connect wait in the kernel. ctx bounds
// how long it takes.
func (l *Listener) Halt(ctx context.Context) error {
	h := &halting{resume: make(chan struct{}), there: make(chan struct{})}
	if l.deadline == nil {
		return errors.New("stop accepting: the listener knows no deadlines")
	}
	l.halted.Store(h)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		if err := l.deadline.SetDeadline(time.Unix(1, 0)); err != nil {
			l.Resume()
			return err
		}
		select {
		case <-h.there:
			return nil
		case <-again.C: // Accept may have set its own in between
		case <-ctx.Done():
			l.Resume()
			return ctx.Err()
		}
	}
}

// Resume lets Accept go on.
func (l *Listener) Resume() {
	if h := l.halted.Swap(nil); h != nil {
		close(h.resume)
	}
}

// rest waits while the listener is halted.
func (l *Listener) rest() {
	h := l.halted.Load()
	if h == nil {
		return
	}
	close(h.there)
	select {
	case <-h.resume:
	case <-l.closed:
	}
	l.disarm()
}

// disarm takes the deadline of Accept away.
func (l *Listener) disarm() {
	l.armed = time.Time{}
	_ = l.deadline.SetDeadline(l.armed) // fails only when it is closed
}

// Waiting takes the clients out that wait for their turn. Only while the listener is halted.
func (l *Listener) Waiting() []*Conn {
	conns := l.line.conns
	l.line = line{}
	return conns
}

// Descriptor calls f with the listening socket.
func (l *Listener) Descriptor(f func(fd uintptr) error) error {
	s, ok := l.ln.(syscall.Conn)
	if !ok {
		return fmt.Errorf("hand the listener over: %T has no descriptor", l.ln)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(fd) }); err != nil {
		return err
	}
	return failed
}

// Release closes the listener here; another process goes on with it, so the file of a Unix socket stays.
func (l *Listener) Release() {
	if u, ok := l.ln.(interface{ SetUnlinkOnClose(bool) }); ok {
		u.SetUnlinkOnClose(false)
	}
	_ = l.Close() // it has nothing to lose
}

// Shaken reports whether the client is past the handshake of TLS, or needs none.
func (c *Conn) Shaken() bool { return c.nc == c.sock || c.shaken.Load() }
