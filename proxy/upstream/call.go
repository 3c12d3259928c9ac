package upstream

import "errors"

// ErrLost is the error of a call whose connection broke before all its replies were in: whether Redis ran the commands is
// unknown.
var ErrLost = errors.New("connection lost before the reply, the outcome is unknown")

// Call is one write to Redis and the replies to it. A Call may be reused after Wait has returned.
type Call struct {
	// Replies holds the raw replies one after the other, but for large ones; valid until the call is used again.
	Replies []byte
	// Ends[i] is the offset in Replies at which reply i ends.
	Ends []int
	// Hold, if set, keeps the reader from everything behind the last reply until it is closed, or the connection is: nothing
	// that Redis sends later can overtake this reply on its way to the client. Only for private connections.
	Hold <-chan struct{}

	box      *[]byte // of the pool that Replies is from, nil if it is the call's own
	ample    bool    // replies were too large for a buffer of the call's own
	large    []largeReply
	failed   bool   // a reply is an error
	next     bound  // of the next request
	bound    bound  // of this one
	dropped  int    // index of the first reply that was not kept, -1 if all were
	stream   Stream // gets a reply that is too large to be kept
	streamed int    // bytes that it has got
	want     int    // replies still to come; with a sentinel: unused
	sentinel []byte // relay every frame to the connection's push handler until this text comes back
	err      error
	done     chan struct{}
	then     func() // called instead of signalling done: see Conn.Queue
}

// largeReply is a reply that is kept as it was read, as copying it would cost.
type largeReply struct {
	index int
	frame []byte
}

// bound says which replies need not be kept: those from index from on that do not fit into room bytes with all before them.
type bound struct{ from, room int }

// Stream gets the bytes of one reply as they come. It runs on the reader's goroutine of a private connection, so while it waits Redis
// waits, too. An error ends the connection.
type Stream func(part []byte) error

// Bound is for the next request only: its replies from index from on are not kept once all of them have more than room bytes. See Dropped.
func (c *Call) Bound(from, room int) { c.next = bound{from, room} }

// Dropped returns the index of the first reply that was not kept, as it was beyond the bound; those behind it were not kept either. It is
// -1 if all replies are here.
func (c *Call) Dropped() int { return c.dropped }

// Streamed returns how many bytes of the reply have gone to the call's stream; 0: Replies has it.
func (c *Call) Streamed() int { return c.streamed }

// drops reports whether the reply that comes next, of at least n bytes, is not kept.
func (c *Call) drops(n int) bool {
	return c.dropped >= 0 || c.bound.room > 0 && len(c.Ends) >= c.bound.from && c.Size()+n > c.bound.room
}

// drop counts a reply that is not kept.
func (c *Call) drop() {
	if c.dropped < 0 {
		c.dropped = len(c.Ends)
	}
	c.Ends = append(c.Ends, len(c.Replies))
}

// Size is how many bytes all replies have.
func (c *Call) Size() int {
	n := len(c.Replies)
	for _, l := range c.large {
		n += len(l.frame)
	}
	return n
}

// Largest is the size of the largest reply that Replies does not hold, in bytes; 0 if there is none.
func (c *Call) Largest() int {
	n := 0
	for _, l := range c.large {
		n = max(n, len(l.frame))
	}
	return n
}

// Failed reports whether a reply is an error of the simple kind, which begins with a minus.
func (c *Call) Failed() bool { return c.failed }

// Whole reports whether Replies holds every reply.
func (c *Call) Whole() bool { return len(c.large) == 0 }

// Reset forgets the replies.
func (c *Call) Reset() {
	clear(c.large)
	c.Replies, c.Ends, c.large, c.failed = c.Replies[:0], c.Ends[:0], c.large[:0], false
	c.dropped, c.streamed = -1, 0
}

// NewCall returns an empty call.
func NewCall() *Call { return &Call{done: make(chan struct{}, 1), dropped: -1} }

// Reply returns the raw bytes of reply i.
func (c *Call) Reply(i int) []byte {
	for _, l := range c.large {
		if l.index == i {
			return l.frame
		}
	}
	start := 0
	if i > 0 {
		start = c.Ends[i-1]
	}
	return c.Replies[start:c.Ends[i]]
}

// Wait returns when every reply is in or the connection has failed. On error, Ends says which replies did come.
func (c *Call) Wait() error {
	<-c.done
	return c.err
}

// Done is signalled once when Wait would return; whoever receives from it must not call Wait but Err.
func (c *Call) Done() <-chan struct{} { return c.done }

// Err returns how the call ended.
func (c *Call) Err() error { return c.err }

func (c *Call) reset(want int) {
	c.Free()
	c.Reset()
	c.want, c.sentinel, c.err, c.Hold, c.then, c.stream = want, nil, nil, nil, nil, nil
	c.bound, c.next = c.next, bound{}
}

// Fail makes the call one that was never sent, because of err.
func (c *Call) Fail(err error) {
	c.Reset()
	c.err = err
}

func (c *Call) finish(err error) {
	c.err = err
	if c.then != nil {
		c.then()
		return
	}
	c.done <- struct{}{}
}
