package resp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// defaultWriteTimeout is the WriteTimeout of a new Conn.
const defaultWriteTimeout = 60 * time.Second

// Conn is a client's connection whose Read hands over only complete, canonical commands; see the package's invariants.
//
// Read, Hangup and SetAuthenticated belong to the goroutine that handles the client (they may move to another one, but
// never run at the same time), Write to whoever holds the caller's write lock. Close and the deadline methods are safe
// at any time; a deadline set from outside does not outlast the next Read, when IdleTimeout is set, or Hangup.
type Conn struct {
	// IdleTimeout ends a Read that gets no byte from the client for so long; 0: never. It may be up to a sixteenth
	// shorter. The goroutine that reads may change it between Reads (Redis lets subscribers idle).
	IdleTimeout time.Duration
	// AuthTimeout ends a Read of a client that has not authenticated so long after it has connected (or was made a stranger
	// again), whatever it sends meanwhile; 0: never. Set before the first Read.
	AuthTimeout time.Duration
	// WriteTimeout ends a Write when the client takes no 256 KB for so long; 0: never. It may be up to a quarter
	// shorter. Set before the first Write. NewConn sets 60 s.
	WriteTimeout time.Duration

	nc   net.Conn
	raw  syscall.RawConn // nil when nc is not a socket (TLS)
	sock net.Conn        // what is written to in the end: nc, or what carries it
	send syscall.RawConn // of sock; nil when that is not a socket
	lim  Limits

	greet            handshaker // the handshake that is still to be made; nil: none
	handshakeTimeout time.Duration
	shaken           atomic.Bool // the handshake is over

	authed   atomic.Bool
	stranger time.Time    // since when the client has not been authenticated
	since    time.Time    // when it came
	served   atomic.Int32 // commands that were handed over, as far as two
	trouble  atomic.Int64 // what its bad end costs its source, nanoseconds

	// The client's bytes: buf[off:ready] are commands to hand over, buf[ready:done] is one more that did not fit beside
	// them, buf[done:] is under scan.
	buf              []byte
	off, ready, done int
	chunk            int // size of its next first buffer, 0 unless its last command was larger than socketChunk
	scan             scanner
	out              []byte // rewritten inline commands, handed over before buf[off:ready]
	pace             pacer
	handed           time.Time     // when commands were last handed over while replies were still to be sent; zero: they were taken
	before           int           // how much was kept for it when it last had to wait
	owed             time.Duration // that it has still to wait
	refused          bool          // the scan met its end; scan.text is the reason
	reader           trimmer
	readErr          error // how the client's stream ended

	// Large commands: they are taken; redcon has been given a stand-in; its command is being taken in parts; it is to be collected.
	takesLarge, standing, parted, declined bool

	halter   Halter                        // nil: nobody holds the client
	peer     net.Addr                      // the client's address, where the socket does not know it; nil: it does
	ride     func() (rode bool, err error) // lends the connection out; nil: never
	try      TrySocket                     // nc, when it can be lent out
	pull     func(fd uintptr) bool         // readSocket, as a value made once
	pullErr  error                         // its result
	armed    time.Time                     // read deadline that is set; zero: none
	writeBy  atomic.Int64                  // write deadline that is set, unix nanoseconds
	unsent   outbox
	closing  sync.Once
	closeErr error
	onClose  func()
}

// NewConn returns a guard around nc. The client counts as unauthenticated until SetAuthenticated says otherwise.
func NewConn(nc net.Conn, lim Limits) *Conn {
	c := &Conn{WriteTimeout: defaultWriteTimeout, nc: nc, sock: nc, lim: lim.withDefaults(), handshakeTimeout: defaultHandshakeTimeout}
	c.since = time.Now()
	c.stranger = c.since
	c.greet, _ = nc.(handshaker)
	if s, ok := nc.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			c.raw, c.send, c.pull, c.unsent.push = raw, raw, c.readSocket, c.writeSocket
		}
	}
	return c
}

// SetAuthenticated lifts (or restores) the limits for unauthenticated clients, from the next header on. While they hold,
// a Read returns one command at most, so that what follows an AUTH is judged after the AUTH was.
func (c *Conn) SetAuthenticated(ok bool) {
	if was := c.authed.Swap(ok); was && !ok {
		c.stranger = time.Now()
	}
}

// Read returns complete commands, as many as have arrived and fit into p; a command that is larger than p is returned in
// pieces, by Reads that do not block, after all of it has arrived. It blocks while no command is complete.
//
// Errors: io.EOF when the client has closed its side, or has sent what Redis refuses: then the client has got Redis's
// error text. A TLS handshake that failed is a *HandshakeError. The network's own errors come as they are, an idle
// client's as one that wraps os.ErrDeadlineExceeded.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.reader.see(p)
	if !c.handed.IsZero() {
		c.waitUnread()
		c.handed = time.Time{}
	}
	for {
		if n := c.handOver(p); n > 0 {
			c.reader.handed(n)
			if busy, _ := c.unsent.state(); busy {
				c.handed = time.Now()
			}
			return n, nil
		}
		if err := c.halt(); err != nil {
			return 0, err
		}
		c.gather(c.room(len(p)))
		switch {
		case len(c.out) > 0 || c.ready > c.off:
		case c.refused:
			err := c.refuse()
			c.Flush()
			return 0, err
		case c.isLarge():
			c.out, c.standing = []byte(standIn), true
		case c.readErr != nil:
			c.Flush() // a client that has only closed its side still reads
			return 0, c.readErr
		default:
			c.rest()
			if err := c.await(); err != nil && !c.nudged(err) {
				return 0, err
			}
		}
	}
}

// handOver moves ready bytes to p.
func (c *Conn) handOver(p []byte) int {
	if len(c.out) > 0 {
		n := copy(p, c.out)
		if c.out = c.out[n:]; len(c.out) == 0 {
			c.out = nil
		}
		return n
	}
	n := copy(p, c.buf[c.off:c.ready])
	c.off += n
	return n
}

// gather scans for commands until room bytes of them are ready. What cannot be handed over together with the commands
// before it is left for the next call, with a scan from its first byte. On entry nothing is ready.
func (c *Conn) gather(room int) {
	c.ready = c.done // the command that did not fit last time
	for !c.refused && c.mayGather(room) {
		n, v := c.scan.next(c.buf[c.done:], &c.lim, c.authed.Load())
		switch {
		case v == more:
			return
		case v == broken:
			c.refused = true
			return
		case v == command:
			c.done += n
			c.count()
			c.reader.command(n)
			if c.ready > c.off && c.done-c.off > room {
				return
			}
			c.ready = c.done
		case c.ready > c.off: // only commands can follow commands without a gap
			return
		case v == inline && !c.rewrite(n, room):
			return
		default:
			c.done += n
			c.off, c.ready = c.done, c.done
			c.pace.empty += n
		}
	}
}

// mayGather reports whether one more command may be judged before those that are ready have been handled.
func (c *Conn) mayGather(room int) bool {
	pending := len(c.out) + c.ready - c.off
	return pending == 0 || pending < room && c.authed.Load()
}

// rewrite turns the inline line of n bytes at done into a canonical command, unless it has to wait for its turn.
func (c *Conn) rewrite(n, room int) bool {
	out, http, ok := appendInline(c.out, c.buf[c.done:c.done+n])
	switch {
	case len(c.out) > 0 && (http || !ok || len(out) > room):
		return false
	case http:
		c.refused = true
		return false
	case !ok:
		c.refused = true
		c.scan.text = errQuotes
		return false
	}
	if len(out) > len(c.out) {
		c.count()
	}
	c.out = out
	return true
}

// count notes a command.
func (c *Conn) count() {
	c.declined = false
	c.pace.command()
	if c.served.Load() < 2 {
		c.served.Add(1)
	}
}

// refuse tells the client why it is closed, and ends the stream.
func (c *Conn) refuse() error {
	c.trouble.Store(int64(brokenCost))
	if c.readErr == nil && c.scan.text != "" {
		// The client is closed whether it takes the text or not.
		_, _ = c.Write([]byte("-ERR Protocol error: " + c.scan.text + "\r\n"))
	}
	c.readErr = io.EOF
	return io.EOF
}

// await blocks for bytes from the client. An error is one that a later Read may not see.
func (c *Conn) await() error {
	if c.greet != nil {
		if c.readErr = c.handshake(); c.readErr != nil {
			c.blameHandshake()
			return c.readErr
		}
	}
	trim := c.reader.hoards && c.off == len(c.buf)
	if !trim && c.mayRide() && c.disarmRead() == nil {
		if rode, err := c.ride(); rode {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				c.readErr = err
			}
			return err
		}
	}
	if err := c.armRead(trim); err != nil {
		return fmt.Errorf("set read deadline: %w", err)
	}
	had := len(c.buf) - c.off
	err := c.fill()
	switch {
	case err == nil:
		c.pace.read(len(c.buf) - c.off - had)
	case errors.Is(err, os.ErrDeadlineExceeded) && trim && !c.lateToAuth():
		c.out = c.reader.lines()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("wait for command: %w", err)
	default:
		c.readErr = err
	}
	return nil
}

// Close closes the connection; what Flush would wait for is lost. Only the first call does anything; all return its result.
func (c *Conn) Close() error {
	err := c.hangUp()
	c.Flush() // its goroutine ends now
	return err
}

func (c *Conn) hangUp() error {
	c.closing.Do(func() {
		c.closeErr = c.nc.Close()
		if c.onClose != nil {
			c.onClose()
		}
	})
	return c.closeErr
}

// NetConn returns the connection that is guarded. Reading from it loses commands.
func (c *Conn) NetConn() net.Conn { return c.nc }

// LocalAddr returns the address of this side.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr returns the client's address.
func (c *Conn) RemoteAddr() net.Addr {
	if c.peer != nil {
		return c.peer
	}
	return c.nc.RemoteAddr()
}

var _ net.Conn = (*Conn)(nil)
