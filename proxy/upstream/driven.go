package upstream

import (
	"fmt"

	"credproxy/internal/poll"
)

// A driven connection has no goroutines: the turns of a poller read and write it, together with the clients whose commands it
// carries. Everything else about it is as with the others; only its calls end in a turn.

// drive hands the connection's socket over to a poller.
func (c *Conn) drive(p *poll.Poller) error {
	pc, err := p.Adopt(c.nc)
	if err != nil {
		return fmt.Errorf("take over a connection to Redis: %w", err)
	}
	pc.Tag = c
	c.nc, c.driven = pc, pc
	c.lead.conn = c
	c.wg.Add(1)
	p.Kick(pc) // its first turn drives it
	return nil
}

// Socket is the socket of a driven connection.
func (c *Conn) Socket() *poll.Conn { return c.driven }

// Queue is Send for the turns of the poller: nothing is written before Write is called, and when every reply is in, or the connection
// has failed, then is called, in a turn. The caller must not Wait on the call.
func (c *Conn) Queue(call *Call, n int, req []byte, then func()) error {
	call.reset(n)
	call.then = then
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.queue = append(c.queue, call)
	c.pending = append(c.pending, req...)
	return nil
}

// Queued returns how many bytes wait to be written.
func (c *Conn) Queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending)
}

// ReadTurn takes what Redis has sent, by way of buf. more: there may be more of it.
func (c *Conn) ReadTurn(buf []byte) (more bool) {
	n, err := c.driven.TryRead(buf)
	if n > 0 {
		if err := c.lead.take(buf[:n]); err != nil {
			c.fail(err)
			return false
		}
	}
	if err != nil {
		c.fail(fmt.Errorf("read from Redis: %w", err))
	}
	return n == len(buf)
}

// WriteTurn sends what is queued; false: Redis takes no more now, try again when it is writable.
func (c *Conn) WriteTurn() bool {
	for {
		c.mu.Lock()
		buf := c.pending
		c.pending, c.spare = c.spare[:0], nil
		c.mu.Unlock()
		if len(buf) == 0 {
			c.keepSpare(buf)
			return true
		}
		n, err := c.driven.TryWrite(buf)
		if err != nil {
			c.fail(fmt.Errorf("write to Redis: %w", err))
			return true
		}
		if n < len(buf) {
			c.putBack(buf[n:])
			return false
		}
		c.keepSpare(buf)
	}
}

// putBack queues the rest of a write in front of what has come meanwhile.
func (c *Conn) putBack(rest []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.pending = append(rest, c.pending...)
	}
}

// Reap ends a driven connection that has failed: its calls are failed, and whoever waits for its end is let go. It is called in
// a turn; false: it was done before.
func (c *Conn) Reap() bool {
	if c.reaped {
		return false
	}
	c.reaped = true
	c.failWaiting()
	c.wg.Done()
	return true
}
