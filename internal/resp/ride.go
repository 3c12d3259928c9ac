package resp

import "net"

// A client whose connection sits in a poller is not waited for by its goroutine: the goroutine lends the connection out (it rides),
// and whoever drives it takes commands from the guard's buffer and writes replies, until something comes up that
// is the goroutine's. While a connection rides, the methods in this file are the borrower's, and nobody else's are called but
// Close, the deadlines and Addr.

// TrySocket is what a connection that can ride offers.
type TrySocket interface {
	net.Conn
	TryRead(p []byte) (int, error)
	TryWrite(p []byte) (int, error)
}

// maxRide is from how many missing bytes on a command is the goroutine's, in bytes: large ones are copied and waited for there.
const maxRide = 96 << 10

// Ride lends the connection out instead of waiting for bytes. f returns false when it does not want it, and otherwise when
// the connection is the goroutine's again; its error ends the Read as one of the network's would. Set before the first Read.
func (c *Conn) Ride(f func() (rode bool, err error)) {
	if s, ok := c.nc.(TrySocket); ok {
		c.try, c.ride = s, f
	}
}

// mayRide reports whether nothing but the next bytes is waited for.
func (c *Conn) mayRide() bool {
	if c.ride == nil || c.readErr != nil || c.refused || len(c.out) > 0 || c.off != c.done || !c.authed.Load() || c.pace.trickling() {
		return false
	}
	busy, err := c.unsent.state()
	return !busy && err == nil && c.scan.missing(len(c.buf)-c.done) <= maxRide
}

// Find is what a look into the buffer of a riding connection found.
type Find uint8

// What Next finds.
const (
	Nothing Find = iota // no whole command: Pull more
	Command             // a command
	Other               // what the goroutine has to deal with, or a command too large
)

// Next returns the next whole command in the buffer, canonical, and args with its arguments appended. All of them are valid until the next
// Pull or Rest.
func (c *Conn) Next(args [][]byte) (raw []byte, _ [][]byte, _ Find) {
	if c.done == len(c.buf) {
		return nil, args, Nothing
	}
	from := c.done
	if c.scan.fresh() {
		var n int
		if n, args = wholeCommand(c.buf[from:], &c.lim, args); n > 0 {
			return c.take(n), args, Command
		}
	}
	n, v := c.scan.next(c.buf[from:], &c.lim, true)
	switch v {
	case command:
		raw = c.take(n)
		return raw, AppendArgs(args, raw), Command
	case more:
		if c.scan.missing(len(c.buf)-from) > maxRide || c.pace.trickling() {
			return nil, args, Other
		}
		return nil, args, Nothing
	}
	c.refused = v == broken
	return nil, args, Other // the goroutine's scan finds the same
}

// take moves on behind a command of n bytes.
func (c *Conn) take(n int) (raw []byte) {
	from := c.done
	c.done += n
	c.off, c.ready = c.done, c.done
	switch {
	case n <= socketChunk:
		c.chunk = 0
	case c.chunk == 0:
		c.chunk = wideChunk
	}
	c.count()
	return c.buf[from:c.done:c.done]
}

// Taken returns the last n bytes of the commands that Next has returned since the last Pull, but for one that was given Back.
func (c *Conn) Taken(n int) []byte { return c.buf[c.off-n : c.off : c.off] }

// Again has the next Next return the command once more that Next has just returned.
func (c *Conn) Again(raw []byte) {
	c.done -= len(raw)
	c.off, c.ready = c.done, c.done
}

// Back gives the command that Next has just returned to the goroutine.
func (c *Conn) Back(raw []byte) {
	c.off = c.done - len(raw)
	c.ready = c.done
	c.reader.command(len(raw))
}

// Pull makes one attempt to read. more: there may be more than it has read. Errors are those of the network.
//
// Commands that arrive together are to be sent on together. So who fills a buffer with commands that are larger than socketChunk gets one twice
// as large the next time, and one half as large when a quarter would have done.
func (c *Conn) Pull() (more bool, err error) {
	c.makeRoom()
	room := cap(c.buf) - len(c.buf)
	n, err := c.try.TryRead(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+n]
	c.pace.read(n)
	switch size := cap(c.buf); {
	case c.chunk == 0:
	case n == room && size >= c.chunk:
		c.chunk = min(2*size, packChunk)
	case n < size/4:
		c.chunk = max(wideChunk, c.chunk/2)
	}
	return n == room, err
}

// Rest gives the buffer back if nothing is in it.
func (c *Conn) Rest() {
	if c.off == len(c.buf) && c.buf != nil {
		c.dropBuffer()
	}
}

// Lags reports whether so much is kept for the client that its next commands have to wait: the goroutine's Read sees to that.
func (c *Conn) Lags() bool { return c.unsent.kept() >= maxUnread }

// Put sends p, or keeps what the client does not take at once, as Write does, but never waits: what cannot be kept either is returned
// and has to be written by the goroutine.
func (c *Conn) Put(p []byte) (rest []byte, err error) {
	busy, err := c.unsent.state()
	if err != nil {
		return nil, err
	}
	if !busy {
		n, err := c.try.TryWrite(p)
		if err != nil {
			return nil, err
		}
		if p = p[n:]; len(p) == 0 {
			return nil, nil
		}
	}
	if c.keep(p) {
		return nil, nil
	}
	return p, nil
}
