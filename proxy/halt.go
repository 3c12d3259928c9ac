package proxy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// halter holds clients between two of their commands (resp.Halter), so that another process can go on with them.
type halter struct {
	on atomic.Bool

	mu     sync.Mutex           // guards what follows
	strict bool                 // clients with a transaction are held, too
	held   map[*client]struct{} // who waits
	over   chan struct{}        // closed when those who wait may go on, or have to leave
	left   bool                 // they have to leave
	since  time.Time            // when the first was held
}

// errLeft ends the Read of a client that is this process's no more.
var errLeft = errors.New("the client has been handed over")

func (h *halter) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.strict, h.left, h.held, h.over, h.since = false, false, map[*client]struct{}{}, make(chan struct{}), time.Now()
	h.on.Store(true)
}

// end lets everybody go on, or leave.
func (h *halter) end(leave bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.on.Load() && !h.left {
		h.left = leave
		h.on.Store(leave) // who has not been held leaves with the next command
		close(h.over)
	}
}

// hold notes that a client waits, and for what; nil: it may go on.
func (h *halter) hold(c *client) (over <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.on.Load() || !h.strict && (c.tx != nil || c.watching) {
		return nil
	}
	h.held[c] = struct{}{}
	return h.over
}

func (h *halter) holds(c *client) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.held[c]
	return ok
}

func (h *halter) hasLeft() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.left
}

func (h *halter) beStrict() {
	h.mu.Lock()
	h.strict = true
	h.mu.Unlock()
}

// Halting is for the guard.
func (c *client) Halting() bool { return c.s.halter.on.Load() }

// Halt holds the client until the proxy goes on with it, or another one does. The guard calls it between two commands.
func (c *client) Halt() error {
	for c.conn.Unsent() && c.Halting() { // what it has not taken yet is in this process's memory
		time.Sleep(haltPoll)
	}
	over := c.s.halter.hold(c)
	if over == nil {
		return nil
	}
	<-over
	if !c.s.halter.hasLeft() {
		return nil
	}
	if c.pipe != nil {
		c.pipe.run(c.conn.NetConn())
	}
	return errLeft
}

const (
	haltPoll = time.Millisecond
	// txPatience is how long clients in the middle of a transaction keep the others waiting.
	txPatience = 500 * time.Millisecond
)

// holdClients returns when every client is held, but those that cannot be handed over anyway: who makes a TLS handshake, or does
// not read its replies. ctx bounds it.
func (s *Server) holdClients(ctx context.Context) error {
	strict := time.Now().Add(txPatience)
	for wait := haltPoll; ; wait = min(2*wait, nudgeEvery) {
		busy := 0
		for _, c := range s.clients.list() {
			if !s.halter.holds(c) {
				busy++
				c.conn.Nudge()
			}
		}
		if busy == 0 {
			return nil
		}
		if late := time.Since(strict); late > 0 {
			s.halter.beStrict()
			if late > txPatience && s.stillBusy() == nil {
				return nil
			}
		}
		if err := pause(ctx, wait, os.ErrDeadlineExceeded); err != nil {
			return s.stillBusy()
		}
	}
}

func (c *client) isBlocked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.info.blockedOn != 0
}

// stillBusy is an error about clients whose commands take too long, nil if there are none.
func (s *Server) stillBusy() error {
	busy := 0
	for _, c := range s.clients.list() {
		if !s.halter.holds(c) && !c.conn.Unsent() && c.conn.Shaken() && !c.isBlocked() {
			busy++
		}
	}
	if busy > 0 {
		return fmt.Errorf("commands of %d clients take longer than the others may be kept waiting", busy)
	}
	return nil
}
