package resp

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// Some clients write a whole pipeline before they read its first reply. Redis keeps all replies meanwhile; were they written
// straight through, both sides would wait for each other. So what a client does not take at once is kept for it, within
// bounds, and the next commands are read. A client beyond the bounds has to read before it is served again.
const (
	// maxUnsent is how much is kept for one client, maxUnsentAll for all of the process, in bytes.
	maxUnsent    = 8 << 20
	maxUnsentAll = 16 << 20
	unsentChunk  = 64 << 10
)

var (
	unsentAll    atomic.Int64
	unsentChunks = sync.Pool{New: func() any { return new([unsentChunk]byte) }}
)

// outbox is what a connection has still to send. While it holds anything a goroutine of the connection sends it.
type outbox struct {
	// The attempt under way to send without waiting, by whoever holds the caller's write lock.
	push   func(fd uintptr) bool // writeSocket, as a value made once
	now    []byte
	sent   int
	nowErr error

	// mu guards everything below it. It is never held over I/O.
	mu     sync.Mutex
	chunks [][]byte
	size   int           // bytes in chunks, and in the one that is being sent
	idle   chan struct{} // closed when the goroutine has ended; nil: none was started
	busy   bool          // the goroutine runs
	err    error         // why it ended before everything was sent
	eased  chan struct{} // closed when less than maxUnread is kept; nil: nobody waits for that
}

// carrier is what a TLS connection writes to. So what is kept are bytes that are encrypted already: a record that was begun can be sent
// in parts, by another goroutine.
type carrier struct {
	net.Conn
	c *Conn
}

func (w carrier) Write(p []byte) (int, error) {
	if !w.c.shaken.Load() { // its own deadlines hold for the handshake
		return w.Conn.Write(p)
	}
	return w.c.put(p)
}

// encrypt puts TLS between the client and the guard. The handshake is made by the first Read.
func (c *Conn) encrypt(cfg *tls.Config) {
	t := tls.Server(carrier{c.sock, c}, cfg)
	c.nc, c.greet, c.raw = t, t, nil
}

// Write sends p to the client, or keeps it to be sent as soon as the client takes it; it waits only when too much is kept. An
// error may also be that of an earlier Write. An empty p costs nothing: redcon flushes after every command, also when
// nothing is to send.
func (c *Conn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.nc != c.sock {
		return c.nc.Write(p)
	}
	return c.put(p)
}

// put is Write below TLS.
func (c *Conn) put(p []byte) (int, error) {
	if c.send == nil || !c.authed.Load() { // strangers get no memory
		return c.writeThrough(p)
	}
	sent := 0
	if busy, err := c.unsent.state(); err != nil {
		return 0, err
	} else if !busy {
		var err error
		if sent, err = c.writeNow(p); err != nil || sent == len(p) {
			return sent, err
		}
	}
	if c.keep(p[sent:]) {
		return len(p), nil
	}
	c.Flush()
	if _, err := c.unsent.state(); err != nil {
		return sent, err
	}
	n, err := c.writeThrough(p[sent:])
	return sent + n, err
}

// writeNow sends what the connection takes without waiting.
func (c *Conn) writeNow(p []byte) (int, error) {
	if err := c.armWrite(); err != nil {
		return 0, err
	}
	o := &c.unsent
	o.now, o.sent, o.nowErr = p, 0, nil
	err := c.send.Write(o.push)
	o.now = nil
	if err == nil {
		err = o.nowErr
	}
	return o.sent, err
}

func (c *Conn) writeSocket(fd uintptr) bool {
	o := &c.unsent
	for o.sent < len(o.now) {
		n, err := syscall.Write(int(fd), o.now[o.sent:min(o.sent+writePiece, len(o.now))])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return true
		case err != nil:
			o.nowErr = err
			return true
		default:
			o.sent += n
		}
	}
	return true
}

func (o *outbox) state() (busy bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.busy, o.err
}

// kept is how much has still to be sent.
func (o *outbox) kept() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size
}

// easing returns how much is kept, and what is closed when that is less than maxUnread: nil if it is.
func (o *outbox) easing() (eased <-chan struct{}, size int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.size < maxUnread {
		return nil, o.size
	}
	if o.eased == nil {
		o.eased = make(chan struct{})
	}
	return o.eased, o.size
}

// keep takes p into the outbox; false: there is no room for it.
func (c *Conn) keep(p []byte) bool {
	o := &c.unsent
	if unsentAll.Add(int64(len(p))) > maxUnsentAll {
		unsentAll.Add(-int64(len(p)))
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil || o.size+len(p) > maxUnsent {
		unsentAll.Add(-int64(len(p)))
		return false
	}
	o.size += len(p)
	for len(p) > 0 {
		last := len(o.chunks) - 1
		if last < 0 || len(o.chunks[last]) == unsentChunk {
			o.chunks = append(o.chunks, unsentChunks.Get().(*[unsentChunk]byte)[:0])
			last++
		}
		n := min(unsentChunk-len(o.chunks[last]), len(p))
		o.chunks[last] = append(o.chunks[last], p[:n]...)
		p = p[n:]
	}
	if !o.busy {
		o.busy, o.idle = true, make(chan struct{})
		go c.sendUnsent(o.idle)
	}
	return true
}

// sendUnsent sends what is kept until nothing is left. A client that does not take it in time, or is gone, is disconnected.
func (c *Conn) sendUnsent(idle chan struct{}) {
	defer close(idle)
	o := &c.unsent
	for chunk := o.next(); chunk != nil; chunk = o.next() {
		_, err := c.writeThrough(chunk)
		o.done(chunk, err)
		if err != nil {
			_ = c.hangUp() // the error that counts is kept
		}
	}
}

// next takes the oldest chunk out; nil: there is none, and the goroutine's work is over.
func (o *outbox) next() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.chunks) == 0 {
		o.busy, o.chunks = false, nil
		return nil
	}
	chunk := o.chunks[0]
	o.chunks = o.chunks[1:]
	return chunk
}

// done gives a chunk back; after an error the others too.
func (o *outbox) done(chunk []byte, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(chunk)
	unsentChunks.Put((*[unsentChunk]byte)(chunk[:unsentChunk]))
	if err != nil {
		n, o.chunks, o.err = o.size, nil, err
	}
	o.size -= n
	if o.eased != nil && o.size < maxUnread {
		close(o.eased)
		o.eased = nil
	}
	unsentAll.Add(-int64(n))
}

// Flush waits until all that was written has been sent, or cannot be sent any more.
func (c *Conn) Flush() {
	c.unsent.mu.Lock()
	idle := c.unsent.idle
	c.unsent.mu.Unlock()
	if idle != nil {
		<-idle
	}
}
