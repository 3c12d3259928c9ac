package proxy

import (
	"context"
	"sync"
	"time"
)

// clients is the registry of connected clients.
type clients struct {
	mu     sync.Mutex // guards all, next and closed
	all    map[int64]*client
	next   int64
	closed bool
	wg     sync.WaitGroup
}

func (cs *clients) init() { cs.all = map[int64]*client{} }

// add registers a client; false: the proxy is shutting down.
func (cs *clients) add(c *client) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed {
		return false
	}
	if c.id == 0 { // the client is new, not one of the process before
		cs.next++
		c.id = cs.next
	}
	cs.all[c.id] = c
	cs.wg.Add(1)
	return true
}

func (cs *clients) remove(c *client) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.all[c.id] == c {
		delete(cs.all, c.id)
		cs.wg.Done()
	}
}

// get returns the client of that number, nil if there is none.
func (cs *clients) get(id int64) *client {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.all[id]
}

func (cs *clients) list() []*client {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	list := make([]*client, 0, len(cs.all))
	for _, c := range cs.all {
		list = append(list, c)
	}
	return list
}

func (cs *clients) count() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.all)
}

// drain ends idle clients and commands that block at once, and the other clients when their batch is over. After half of ctx's
// time it ends them anyway, in the last resort with lost, which takes the connections to Redis from them.
func (cs *clients) drain(ctx context.Context, lost func()) {
	cs.mu.Lock()
	cs.closed = true
	cs.mu.Unlock()
	cs.nudge()
	gone := make(chan struct{})
	go func() {
		cs.wg.Wait()
		close(gone)
	}()
	patience := 5 * time.Second
	if at, ok := ctx.Deadline(); ok {
		patience = time.Until(at) / 2
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	again := time.NewTicker(nudgeEvery)
	defer again.Stop()
	for waiting := true; waiting; {
		select {
		case <-gone:
			return
		case <-again.C:
			cs.nudge() // a client that was giving its large buffer back has taken the first for that
		case <-timer.C:
			waiting = false
		case <-ctx.Done():
			waiting = false
		}
	}
	for _, c := range cs.list() {
		c.cancel()
		c.conn.Close()
	}
	timer.Reset(lastPatience)
	select {
	case <-gone:
		return
	case <-timer.C:
	}
	lost() // they wait for a Redis that does not answer
	<-gone
}

// nudgeEvery is how often a client that should end is told so.
const nudgeEvery = 50 * time.Millisecond

// nudge ends the wait of clients for their next command, and commands that block.
func (cs *clients) nudge() {
	for _, c := range cs.list() {
		c.conn.SetReadDeadline(time.Unix(1, 0))
		c.unblock()
	}
}

// lastPatience is how long clients that were disconnected may take to notice.
const lastPatience = time.Second
