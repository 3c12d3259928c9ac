package upstream

import (
	"bytes"
	"fmt"
	"net"
	"runtime"
	"sync"

	"credproxy/internal/poll"
	"credproxy/internal/resp"
)

// Conn is one pipelined connection to Redis, used by one client (private) or by many (shared).
type Conn struct {
	nc  net.Conn
	run Run
	id  int64

	// mu guards everything below it. It is never held over I/O.
	mu      sync.Mutex
	pending []byte  // requests that the writer has not taken yet
	spare   []byte  // the writer's buffer of the round before, for reuse
	queue   []*Call // calls in the order of their requests; the reader takes from head
	head    int
	writing bool          // the writer has taken what it has not written yet
	written chan struct{} // closed when everything is written; nil: nobody waits for that
	push    func(frame []byte)
	relay   bool // every frame goes to push
	err     error

	driven *poll.Conn    // nc, when a poller's turns do the reading and writing: see driven.go
	lead   delivery      // of a driven connection
	reaped bool          // of a driven connection: its calls have been failed
	wake   chan struct{} // tells the writer that pending is not empty
	closed chan struct{}
	wg     sync.WaitGroup // writer and reader
	gone   func()         // called once, when every call has been failed
	buried sync.Once
}

const (
	readBuffer = 64 << 10 // size of one read from Redis, in bytes
	// yieldFrom is after how many bytes of one read or write the thread lets others have the processor: a value of 1.3 MB is twenty of
	// these, and the small commands of everybody else wait for no more than one.
	yieldFrom = 32 << 10
)

// newConn makes a connection of a socket whose handshake is over.
func newConn(nc net.Conn, g greeting, gone func(*Conn)) *Conn {
	c := &Conn{nc: nc, run: g.run, id: g.client, wake: make(chan struct{}, 1), closed: make(chan struct{})}
	c.gone = func() { gone(c) }
	return c
}

// begin starts the reader and the writer.
func (c *Conn) begin() {
	c.wg.Add(2)
	go c.write()
	go c.read()
}

// Run returns the run of Redis that this connection is connected to.
func (c *Conn) Run() Run { return c.run }

// ClientID is the number under which Redis knows the connection, 0 if it has not said.
func (c *Conn) ClientID() int64 { return c.id }

// Err returns why the connection cannot be used any more, nil while it can.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// OnPush sets who gets the frames that belong to no call: pushes, messages, MONITOR lines. The frame is valid during the
// call only; push runs on the reader's goroutine, so a slow one holds this connection up and no other.
func (c *Conn) OnPush(push func(frame []byte)) {
	c.mu.Lock()
	c.push = push
	c.mu.Unlock()
}

// Relay makes every further frame a push (MONITOR, and RESP2 subscriptions, whose messages look like replies).
func (c *Conn) Relay(on bool) {
	c.mu.Lock()
	c.relay = on
	c.mu.Unlock()
}

// SendHolding is Send for one command whose reply nothing may overtake: see Call.Hold.
func (c *Conn) SendHolding(call *Call, req []byte, hold <-chan struct{}) error {
	call.reset(1)
	call.Hold = hold
	return c.enqueue(call, req)
}

// Send queues a request that Redis answers with n replies. The bytes of req are copied. An error means that nothing was or
// will be written; otherwise the caller must Wait on the call.
func (c *Conn) Send(call *Call, n int, req []byte) error {
	call.reset(n)
	return c.enqueue(call, req)
}

// SendStreaming is Send for one command whose reply goes to stream if it is not in one piece. Only for private connections.
func (c *Conn) SendStreaming(call *Call, req []byte, stream Stream) error {
	call.reset(1)
	call.stream = stream
	return c.enqueue(call, req)
}

// SendUntil queues a request followed by PING sentinel; every frame up to the answer of that PING goes to the push
// handler. It is how commands with an unknown number of replies (UNSUBSCRIBE) are waited for.
func (c *Conn) SendUntil(call *Call, sentinel string, req []byte) error {
	call.reset(0)
	call.sentinel = []byte(sentinel)
	return c.enqueue(call, resp.AppendCommand(bytes.Clone(req), "PING", sentinel))
}

// Write queues bytes for which no reply is waited for (a relaying connection).
func (c *Conn) Write(req []byte) error { return c.enqueue(nil, req) }

func (c *Conn) enqueue(call *Call, req []byte) error {
	c.mu.Lock()
	if c.err != nil {
		err := c.err
		c.mu.Unlock()
		return err
	}
	if call != nil {
		c.queue = append(c.queue, call)
	}
	idle := len(c.pending) == 0
	c.pending = append(c.pending, req...)
	c.mu.Unlock()
	if idle && c.driven != nil {
		c.driven.Poller().Kick(c.driven)
	} else if idle {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// Pass sends bytes for which no reply is waited for, and returns when Redis has taken them; an error is the connection's end. It is for who
// sends more than should be kept here, and is the only one who sends: the bytes go from where they are, after what was queued before. Not for
// driven connections.
func (c *Conn) Pass(req []byte) error {
	if err := c.drain(); err != nil {
		return err
	}
	if _, err := c.nc.Write(req); err != nil {
		c.fail(fmt.Errorf("write to Redis: %w", err))
		return c.Err()
	}
	if len(req) >= yieldFrom {
		poll.Yield()
	}
	return nil
}

// drain returns when the writer has sent everything that was queued.
func (c *Conn) drain() error {
	c.mu.Lock()
	if c.err != nil || !c.writing && len(c.pending) == 0 {
		defer c.mu.Unlock()
		return c.err
	}
	if c.written == nil {
		c.written = make(chan struct{})
	}
	written := c.written
	c.mu.Unlock()
	select {
	case <-written:
		return nil
	case <-c.closed:
		return c.Err()
	}
}

// maxKeptPending is how large a write buffer may stay with an idle connection, in bytes.
const maxKeptPending = 256 << 10

// write sends what has been queued. It yields first, so that every client that is ready to run adds its command to the same
// system call: that one call is what costs most on this path.
func (c *Conn) write() {
	defer c.wg.Done()
	for {
		select {
		case <-c.closed:
			return
		case <-c.wake:
		}
		runtime.Gosched()
		for {
			c.mu.Lock()
			buf := c.pending
			c.pending = c.spare[:0]
			c.spare = nil
			c.writing = len(buf) > 0
			if !c.writing && c.written != nil {
				close(c.written)
				c.written = nil
			}
			c.mu.Unlock()
			if len(buf) == 0 {
				c.keepSpare(buf)
				break
			}
			if _, err := c.nc.Write(buf); err != nil {
				c.fail(fmt.Errorf("write to Redis: %w", err))
				return
			}
			if len(buf) >= yieldFrom {
				poll.Yield()
			}
			c.keepSpare(buf)
		}
	}
}

func (c *Conn) keepSpare(buf []byte) {
	if cap(buf) > maxKeptPending {
		return
	}
	c.mu.Lock()
	if c.spare == nil {
		c.spare = buf[:0]
	}
	c.mu.Unlock()
}

// read frames replies and hands them to the calls that wait for them. Only the reader ends calls: while it copies a reply into
// a call's buffer nobody else can have given the call back to its owner.
func (c *Conn) read() {
	defer c.wg.Done()
	defer c.failWaiting()
	d := delivery{conn: c}
	buf := make([]byte, readBuffer)
	for {
		n, err := c.nc.Read(buf)
		if n > 0 {
			if ferr := d.take(buf[:n]); ferr != nil {
				c.fail(ferr)
				return
			}
		}
		if n >= yieldFrom {
			poll.Yield()
		}
		if err != nil {
			c.fail(fmt.Errorf("read from Redis: %w", err))
			return
		}
	}
}

// fail closes the connection; the reader then fails every call on it. Only the first error counts.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	c.pending = nil
	close(c.closed)
	c.mu.Unlock()
	c.nc.Close()
}

// failWaiting fails the calls that the reader leaves behind. The connection has failed, so no call joins them.
func (c *Conn) failWaiting() {
	c.mu.Lock()
	waiting, err := c.queue[c.head:], c.err
	c.queue, c.head = nil, 0
	c.mu.Unlock()
	for _, call := range waiting {
		call.finish(fmt.Errorf("%w: %w", ErrLost, err))
	}
	c.gone()
}

// Close closes the connection, fails what waits on it and returns when its goroutines have ended. It must not be called
// from the push handler.
func (c *Conn) Close() {
	c.fail(net.ErrClosed)
	c.wg.Wait()
}

// Abandon closes the connection without waiting for its goroutines.
func (c *Conn) Abandon() { c.fail(net.ErrClosed) }

// Bury calls end, which makes Redis let go of a failed connection, for the first who asks; all return when end has returned.
func (c *Conn) Bury(end func()) { c.buried.Do(end) }

// Closed is closed when the connection has failed or was closed.
func (c *Conn) Closed() <-chan struct{} { return c.closed }

// front returns the call whose reply comes next, nil if none waits, and the push handler.
func (c *Conn) front() (call *Call, push func([]byte), relay bool) {
	c.mu.Lock()
	if c.head < len(c.queue) {
		call = c.queue[c.head]
	}
	push, relay = c.push, c.relay
	c.mu.Unlock()
	return call, push, relay
}

// pop removes the front call.
func (c *Conn) pop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue[c.head] = nil
	c.head++
	switch {
	case c.head == len(c.queue):
		c.queue, c.head = c.queue[:0], 0
	case c.head >= 1024 && c.head*2 >= len(c.queue):
		n := copy(c.queue, c.queue[c.head:])
		clear(c.queue[n:])
		c.queue, c.head = c.queue[:n], 0
	}
}
