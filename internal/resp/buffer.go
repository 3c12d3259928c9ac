package resp

import (
	"io"
	"os"
	"syscall"
)

const (
	socketChunk = 16 << 10 // first buffer of a socket's bytes, shared by all that have none (Redis reads as much)
	plainChunk  = 4 << 10  // the same for a connection that is not a socket; it is kept while the client idles
)

// fill appends bytes of the client to buf; it blocks until there are some. Errors are those of the connection, io.EOF at
// its end.
func (c *Conn) fill() error {
	if c.raw != nil {
		if err := c.raw.Read(c.pull); err != nil {
			return err
		}
		return c.pullErr
	}
	c.makeRoom()
	n, err := c.nc.Read(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+n]
	if n > 0 {
		return nil // a lasting error comes again
	}
	return err
}

// readSocket makes one attempt to read; false means that there is nothing yet. It gets its buffer only when the
// descriptor is worth a try and gives an empty one back before the wait: ten thousand idle clients hold no buffers.
func (c *Conn) readSocket(fd uintptr) bool {
	c.makeRoom()
	for {
		n, err := syscall.Read(int(fd), c.buf[len(c.buf):cap(c.buf)])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			if c.off == len(c.buf) {
				c.dropBuffer()
			}
			return false
		case err != nil:
			c.pullErr = os.NewSyscallError("read", err)
		case n == 0:
			c.pullErr = io.EOF
		default:
			c.buf, c.pullErr = c.buf[:len(c.buf)+n], nil
		}
		return true
	}
}

// makeRoom leaves room for at least one byte behind buf. Space grows to at most twice what has arrived.
func (c *Conn) makeRoom() {
	if c.off == len(c.buf) {
		c.emptyBuffer()
	}
	if free := cap(c.buf) - len(c.buf); c.off > 0 && free < cap(c.buf)/4 {
		n := copy(c.buf, c.buf[c.off:])
		c.buf = c.buf[:n]
		c.ready -= c.off
		c.done -= c.off
		c.off = 0
	}
	size := 2 * cap(c.buf)
	switch {
	case c.off == 0 && c.chunk > cap(c.buf):
		size = c.chunk
	case len(c.buf) < cap(c.buf):
		return
	default:
		if need := c.scan.missing(len(c.buf) - c.done); need > 0 {
			size = min(size, len(c.buf)+need) // the end of this argument: no room is left over
		}
	}
	grown := newBuffer(size)[:len(c.buf)]
	copy(grown, c.buf)
	giveBack(c.buf)
	c.buf = grown
}

// emptyBuffer starts over with a first buffer, all bytes having been handed over.
func (c *Conn) emptyBuffer() {
	first := plainChunk
	if c.raw != nil {
		first = socketChunk
	}
	switch {
	case c.parted:
		first = hugeChunk
	case c.chunk > 0:
		first = c.chunk
	}
	if cap(c.buf) != first {
		c.dropBuffer()
		c.buf = newBuffer(first)
	}
	c.buf = c.buf[:0]
	c.off, c.ready, c.done = 0, 0, 0
}

// dropBuffer gives the empty buffer away.
func (c *Conn) dropBuffer() {
	giveBack(c.buf)
	c.buf = nil
	c.off, c.ready, c.done = 0, 0, 0
}
