package poll

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is a socket in a Poller. Its methods are those of a net.Conn.
//
// A driven connection belongs to the Poller's turns: nobody else may read from it, and whoever drives it reads with TryRead.
type Conn struct {
	p             *Poller
	fd            int
	local, remote net.Addr

	// Tag is for whoever drives the connection; set it before it is driven.
	Tag any

	driven             bool // only the Poller's goroutine reads and writes it
	readable, writable signal
	closed             chan struct{}
	closing            sync.Once
	uses               atomic.Int64 // system calls under way, and 1 while the connection is open
	watches            sync.Once    // writes are watched, too
	watchErr           error
	events             sync.Mutex // guards watched, quiet and what epoll knows of them
	watched, quiet     bool

	readBy, writeBy atomic.Int64 // deadlines, unix nanoseconds; 0: none
}

func newConn(p *Poller, fd int, local, remote net.Addr) *Conn {
	c := &Conn{p: p, fd: fd, local: local, remote: remote, closed: make(chan struct{})}
	c.readable.ch, c.writable.ch = make(chan struct{}, 1), make(chan struct{}, 1)
	c.uses.Store(1)
	return c
}

// signal is a flag that can be waited for.
type signal struct{ ch chan struct{} }

func (s signal) set() {
	select {
	case s.ch <- struct{}{}:
	default:
	}
}

// Poller returns the connection's Poller.
func (c *Conn) Poller() *Poller { return c.p }

// Drive takes the connection into the Poller's turns, or gives it back to readers that wait. Only for the Poller's goroutine. An
// edge from before is not reported again: try to read after either.
func (c *Conn) Drive(on bool) {
	c.driven = on
	if !on {
		c.readable.set()
	}
}

// use keeps the descriptor from being closed, and another connection's from taking its number; false: it is closed.
func (c *Conn) use() bool {
	for {
		n := c.uses.Load()
		if n == 0 {
			return false
		}
		if c.uses.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (c *Conn) unuse() {
	if c.uses.Add(-1) == 0 {
		c.p.forget(c)
		syscall.Close(c.fd)
	}
}

// Close closes the connection; whoever waits on it gets net.ErrClosed. Only the first call does anything.
func (c *Conn) Close() error {
	c.closing.Do(func() {
		close(c.closed)
		if c.use() { // the end of what is under way: the descriptor is closed when its last user lets go
			_ = syscall.Shutdown(c.fd, syscall.SHUT_RDWR)
			c.unuse()
		}
		c.unuse()
		c.p.Kick(c)
	})
	return nil
}

// Release closes this process's descriptor and leaves the connection alone: another process goes on with it.
func (c *Conn) Release() {
	c.closing.Do(func() {
		close(c.closed)
		if c.use() {
			c.p.ignore(c) // the socket outlives the descriptor, and would go on reporting
			c.unuse()
		}
		c.unuse()
		c.p.Kick(c)
	})
}

// IsClosed reports whether Close or Release was called.
func (c *Conn) IsClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// TryRead reads what is there; 0 without an error: nothing is. io.EOF is the end of the stream.
func (c *Conn) TryRead(p []byte) (int, error) {
	if !c.use() {
		return 0, net.ErrClosed
	}
	defer c.unuse()
	for {
		n, err := rawRead(c.fd, p)
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return 0, nil
		case err != 0:
			return 0, os.NewSyscallError("read", err)
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// TryWrite writes as much as the socket takes; less than all without an error: it takes no more now.
func (c *Conn) TryWrite(p []byte) (int, error) {
	if !c.use() {
		return 0, net.ErrClosed
	}
	defer c.unuse()
	sent := 0
	for sent < len(p) {
		n, err := rawWrite(c.fd, p[sent:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return sent, nil
		case err != 0:
			return sent, os.NewSyscallError("write", err)
		default:
			sent += n
		}
	}
	return sent, nil
}

// Read waits for bytes.
func (c *Conn) Read(p []byte) (int, error) {
	for {
		if err := expired(&c.readBy); err != nil {
			return 0, err
		}
		if n, err := c.TryRead(p); n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
		if err := c.wait(c.readable, &c.readBy); err != nil {
			return 0, err
		}
	}
}

// Write waits until the socket has taken all of p.
func (c *Conn) Write(p []byte) (int, error) {
	sent := 0
	for {
		if err := expired(&c.writeBy); err != nil {
			return sent, err
		}
		n, err := c.TryWrite(p[sent:])
		if sent += n; sent == len(p) || err != nil {
			return sent, err
		}
		if err := c.WatchWrites(); err != nil {
			return sent, err
		}
		if err := c.wait(c.writable, &c.writeBy); err != nil {
			return sent, err
		}
	}
}

// WatchWrites has an edge reported whenever the socket takes bytes again, from now on: at once if it does by now.
func (c *Conn) WatchWrites() error {
	c.watches.Do(func() {
		if !c.use() {
			c.watchErr = net.ErrClosed
			return
		}
		defer c.unuse()
		c.events.Lock()
		defer c.events.Unlock()
		c.watched = true
		c.watchErr = c.p.watch(c)
	})
	return c.watchErr
}

// Quiet (on) keeps arriving bytes from waking the Poller, for who is not going to read for a while. When it ends, what has arrived is
// reported.
func (c *Conn) Quiet(on bool) {
	if !c.use() {
		return
	}
	defer c.unuse()
	c.events.Lock()
	defer c.events.Unlock()
	c.quiet = on
	_ = c.p.watch(c) // the socket is there: nothing can fail
}

func expired(by *atomic.Int64) error {
	if at := by.Load(); at != 0 && time.Now().UnixNano() >= at {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// wait returns when the signal is set; a deadline that changes sets it, too.
func (c *Conn) wait(s signal, by *atomic.Int64) error {
	var late <-chan time.Time
	if at := by.Load(); at != 0 {
		timer := time.NewTimer(time.Until(time.Unix(0, at)))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-s.ch:
		return nil
	case <-late:
		return expired(by) // nil if it was put off meanwhile
	case <-c.closed:
		return net.ErrClosed
	}
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline bounds reads that wait. One that has passed kicks a driven connection.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.readBy.Store(nanos(t))
	c.readable.set()
	if c.Expired() {
		c.p.Kick(c)
	}
	return c.alive()
}

// Expired reports whether the read deadline has passed.
func (c *Conn) Expired() bool { return expired(&c.readBy) != nil }

// SetWriteDeadline bounds writes that wait.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeBy.Store(nanos(t))
	c.writable.set()
	return c.alive()
}

func (c *Conn) alive() error {
	if c.IsClosed() {
		return net.ErrClosed
	}
	return nil
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(1, t.UnixNano())
}

// LocalAddr returns the address of this side.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the other side.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SyscallConn gives access to the descriptor; Read and Write of what it returns wait as those of the connection do.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return raw{c}, nil }

type raw struct{ c *Conn }

func (r raw) Control(f func(fd uintptr)) error {
	if !r.c.use() {
		return net.ErrClosed
	}
	defer r.c.unuse()
	f(uintptr(r.c.fd))
	return nil
}

func (r raw) Read(f func(fd uintptr) bool) error {
	return r.until(f, r.c.readable, &r.c.readBy)
}

func (r raw) Write(f func(fd uintptr) bool) error {
	return r.until(f, r.c.writable, &r.c.writeBy)
}

func (r raw) until(f func(fd uintptr) bool, s signal, by *atomic.Int64) error {
	for {
		if err := expired(by); err != nil {
			return err
		}
		done := false
		if err := r.Control(func(fd uintptr) { done = f(fd) }); err != nil || done {
			return err
		}
		if err := r.c.wait(s, by); err != nil {
			return err
		}
	}
}

var (
	_ net.Conn     = (*Conn)(nil)
	_ syscall.Conn = (*Conn)(nil)
)
