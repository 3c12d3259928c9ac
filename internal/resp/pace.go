package resp

import "time"

// What is legal and of no use to anybody must not keep a processor busy: frames that ask for nothing, and a command that comes a few
// bytes at a time, each with a wake-up and a system call. Who goes on with that is read less often. What arrives meanwhile is read
// together, so nothing is lost but time, and somebody who types, or has a bad line, does not come near.
const (
	maxEmpty  = 64 << 10 // bytes of empty frames that are taken at full speed
	forgiven  = 1 << 10  // of these, what one command makes good
	smallRead = 64       // bytes of a read that was hardly worth it
	maxSmall  = 32       // such reads for one command that are made at full speed

	// maxUnread is how much is kept for a client that does not read before its next commands have to wait; see waitUnread.
	maxUnread    = 512 << 10
	unreadBatch  = 1 << 10 // bytes of commands that it gets done at once
	unreadRate   = 4 << 20 // bytes of replies per second that are kept for it
	longestDelay = 250 * time.Millisecond
	// shortestDelay is what is waited at least; less is added up: a busy machine is late with every timer.
	shortestDelay = 10 * time.Millisecond

	firstPause   = 1 * time.Millisecond
	longestPause = 256 * time.Millisecond
)

// pacer knows how much of what a client has sent was of no use.
type pacer struct {
	empty int           // bytes of empty frames, less what has been forgiven
	small int           // small reads since the last command
	pause time.Duration // the last one that was made; 0: none lately
}

// command notes a command.
func (p *pacer) command() {
	p.small = 0
	if p.empty = max(0, p.empty-forgiven); p.empty == 0 {
		p.pause = 0
	}
}

// read notes a read of n bytes that may have completed nothing.
func (p *pacer) read(n int) {
	if n < smallRead {
		p.small++
	}
}

// trickling reports whether a command has come in too many pieces.
func (p *pacer) trickling() bool { return p.small > maxSmall }

// rest returns how long to pause before the next read. Pauses grow as long as the reason lasts.
func (p *pacer) rest() time.Duration {
	switch {
	case p.empty > maxEmpty:
		p.empty -= maxEmpty
		p.pause = min(max(2*p.pause, firstPause), longestPause)
	case p.trickling():
		p.pause = min(firstPause<<min((p.small-maxSmall)/2, 10), longestPause)
	default:
		return 0
	}
	return p.pause
}

// rest makes the pause, where bytes arrive meanwhile: not for a connection in memory.
func (c *Conn) rest() {
	_, driven := c.nc.(TrySocket)
	_, encrypted := c.nc.(handshaker)
	if d := c.pace.rest(); d > 0 && (c.raw != nil || driven || encrypted) {
		defer c.unheard()()
		time.Sleep(d)
	}
}

// unheard begins a time in which nothing is read: what arrives wakes nobody until the result is called.
func (c *Conn) unheard() (end func()) {
	s, ok := c.sock.(interface{ Quiet(on bool) })
	if !ok {
		return func() {}
	}
	s.Quiet(true)
	return func() { s.Quiet(false) }
}

// room is how many bytes of commands are handed over at once to those who have room for n. Who does not read its replies gets little: what it
// asks for takes turns with what others ask for.
func (c *Conn) room(n int) int {
	if n <= unreadBatch {
		return n
	}
	if busy, _ := c.unsent.state(); busy {
		return unreadBatch
	}
	return n
}

// waitUnread holds a client back that goes on to send without reading: nine times as long as its last commands took, and as long as their
// replies would take a slow line. It is served still, as some write a long pipeline before they read, but it leaves nearly all of the
// time to those who take their replies. Who only takes them slowly loses nothing: it waits until they are gone.
func (c *Conn) waitUnread() {
	eased, size := c.unsent.easing()
	if eased == nil {
		c.before, c.owed = 0, 0
		return
	}
	grown := max(0, size-c.before)
	c.before = size
	if c.owed += max(9*time.Since(c.handed), time.Duration(grown)*time.Second/unreadRate); c.owed < shortestDelay {
		return
	}
	timer := time.NewTimer(min(c.owed, longestDelay))
	c.owed = 0
	defer timer.Stop()
	defer c.unheard()()
	select {
	case <-eased:
	case <-timer.C:
	}
}
