package upstream

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"credproxy/internal/poll"
)

// Upstream hands out data connections to one Redis.
type Upstream struct {
	dialer *Dialer
	runs   *Runs
	askRun func() (Run, error)

	// mu guards everything below it. It is never held over I/O.
	mu      sync.Mutex
	shared  map[place]*slot
	private map[Identity][]*Conn // idle ones
	live    map[*Conn]struct{}   // every connection that has not failed, also those in clients' hands
	reached time.Time            // when Redis was connected to last
	closed  bool
}

// place names a shared connection: that of everybody, or that of one poller's turns.
type place struct {
	Identity
	poller *poll.Poller // nil: everybody's
}

// slot holds one shared connection: empty, being dialled, or filled.
type slot struct {
	conn    *Conn
	dialing chan struct{} // closed when the attempt under way is over
	err     error         // of the last attempt
	failed  time.Time     // when that was
	backoff time.Duration // no further attempt for so long, unless Redis is known to be back
}

const (
	firstBackoff = 20 * time.Millisecond
	lastBackoff  = time.Second
	// maxIdlePrivate is how many private connections of one identity are kept for the next client that needs one.
	maxIdlePrivate = 64
)

var errClosed = errors.New("the proxy is shutting down")

// New returns an Upstream for the Redis that dialer connects to. askRun asks over the proxy's own connection which run
// answers there.
func New(dialer *Dialer, runs *Runs, askRun func() (Run, error)) *Upstream {
	return &Upstream{
		dialer: dialer, runs: runs, askRun: askRun,
		shared:  map[place]*slot{},
		private: map[Identity][]*Conn{},
		live:    map[*Conn]struct{}{},
	}
}

// start begins the life of a connection whose handshake is over, in p's turns or with goroutines of its own (nil).
func (u *Upstream) start(nc net.Conn, g greeting, p *poll.Poller) (*Conn, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		nc.Close()
		return nil, errClosed
	}
	c := newConn(nc, g, u.forget)
	if p == nil {
		c.begin()
	} else if err := c.drive(p); err != nil {
		nc.Close()
		return nil, err
	}
	u.live[c] = struct{}{}
	u.reached = time.Now()
	return c, nil
}

func (u *Upstream) forget(c *Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.live, c)
}

// Shared returns the connection that all clients of one identity share, dialling it if need be. While Redis is away,
// attempts are spaced out and callers in between get the error of the last one at once; when one identity has found Redis
// again, the others try at once.
func (u *Upstream) Shared(ctx context.Context, id Identity) (*Conn, error) {
	return u.at(ctx, place{Identity: id})
}

// Driven is Shared for the clients that p drives: the connection is one more that p drives, Tag of its socket is the Conn.
func (u *Upstream) Driven(ctx context.Context, id Identity, p *poll.Poller) (*Conn, error) {
	return u.at(ctx, place{id, p})
}

func (u *Upstream) at(ctx context.Context, at place) (*Conn, error) {
	for {
		u.mu.Lock()
		if u.closed {
			u.mu.Unlock()
			return nil, errClosed
		}
		s := u.shared[at]
		if s == nil {
			s = &slot{}
			u.shared[at] = s
		}
		if s.conn != nil && s.conn.Err() == nil && s.conn.run == u.runs.Current() {
			conn := s.conn
			u.mu.Unlock()
			return conn, nil
		}
		if wait := s.dialing; wait != nil {
			u.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if s.err != nil && time.Since(s.failed) < s.backoff && u.reached.Before(s.failed) {
			err := s.err
			u.mu.Unlock()
			return nil, err
		}
		old := s.conn
		s.conn, s.dialing = nil, make(chan struct{})
		u.mu.Unlock()
		if old != nil {
			old.Abandon()
		}
		return u.fill(s, at)
	}
}

// fill dials for a slot. It does not take a caller's context: the attempt serves everybody who waits for the slot.
func (u *Upstream) fill(s *slot, at place) (*Conn, error) {
	nc, g, err := u.dial(context.Background(), at.Identity)
	var conn *Conn
	if err == nil {
		conn, err = u.start(nc, g, at.poller)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	close(s.dialing)
	s.dialing = nil
	if err != nil {
		s.backoff = min(max(s.backoff*2, firstBackoff), lastBackoff)
		s.err, s.failed = err, time.Now()
		var refused *RefusedError
		if errors.As(err, &refused) {
			delete(u.shared, at) // bad database or password: nothing to keep
		}
		return nil, err
	}
	s.conn, s.err, s.backoff = conn, nil, 0
	return conn, nil
}

// Private returns a connection of the caller's own, from the idle ones or fresh. It goes back with Release, or is closed.
func (u *Upstream) Private(ctx context.Context, id Identity) (*Conn, error) {
	for {
		u.mu.Lock()
		if u.closed {
			u.mu.Unlock()
			return nil, errClosed
		}
		idle := u.private[id]
		if len(idle) == 0 {
			u.mu.Unlock()
			return u.fresh(ctx, id)
		}
		conn := idle[len(idle)-1]
		u.private[id] = idle[:len(idle)-1]
		u.mu.Unlock()
		if conn.Err() == nil && conn.run == u.runs.Current() {
			return conn, nil
		}
		conn.Abandon()
	}
}

func (u *Upstream) fresh(ctx context.Context, id Identity) (*Conn, error) {
	nc, g, err := u.dial(ctx, id)
	if err != nil {
		return nil, err
	}
	return u.start(nc, g, nil)
}

// Login opens a fresh private connection for id; a wrong password is a *RefusedError. It is how a client's AUTH is judged:
// by Redis itself, every time.
func (u *Upstream) Login(ctx context.Context, id Identity) (*Conn, error) { return u.fresh(ctx, id) }

// Release takes back a private connection that has no state left: no transaction, no watched key, no subscription.
func (u *Upstream) Release(id Identity, conn *Conn) {
	conn.OnPush(nil)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed || conn.Err() != nil || len(u.private[id]) >= maxIdlePrivate {
		conn.Abandon()
		return
	}
	u.private[id] = append(u.private[id], conn)
}

// Close closes every connection, also those in clients' hands (their calls fail), and refuses new ones.
func (u *Upstream) Close() {
	u.mu.Lock()
	u.closed = true
	conns := slices.Collect(maps.Keys(u.live))
	u.shared, u.private = map[place]*slot{}, map[Identity][]*Conn{}
	u.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}
