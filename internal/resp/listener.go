package resp

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	minAcceptDelay = 5 * time.Millisecond
	maxAcceptDelay = 1 * time.Second
	refuseTimeout  = 1 * time.Second // how long a refused client may take to accept its reason
	maxRefusals    = 64              // clients being told so at a time; more are closed without a word
	errMaxClients  = "-ERR max number of clients reached\r\n"
)

// ListenerConfig is what a Listener gives its connections.
type ListenerConfig struct {
	Limits       Limits
	MaxClients   int           // connections open at a time; 0 or less: no limit
	IdleTimeout  time.Duration // Conn.IdleTimeout; 0: none
	AuthTimeout  time.Duration // Conn.AuthTimeout; 0: none
	WriteTimeout time.Duration // Conn.WriteTimeout; 0: 60 s, negative: none
	// TLS, if set, is what clients have to speak. The handshake is made by the first Read of a connection, so that no other
	// client waits for it; one that takes longer than HandshakeTimeout is a *HandshakeError.
	TLS              *tls.Config
	HandshakeTimeout time.Duration // 0: 10 s
	// Refuse, if set, may turn a client away: the reply it returns ("-DENIED ...", CR LF is added where it lacks) is sent
	// before the connection is closed. Empty: the client is welcome. It runs in the accept loop and must not block.
	Refuse func(net.Conn) string
	// Adopt, if set, may put something in the place of a welcome client's connection, which then is its owner's no more. Not
	// for TLS.
	Adopt func(net.Conn) net.Conn
	// OnAcceptError, if set, is told of every failed accept (out of descriptors, say). The listener goes on by itself: it
	// tells the client and comes back for the next one soon, where that is possible.
	OnAcceptError func(error)
}

// Listener hands out guarded connections, and no more of them than it may.
type Listener struct {
	ln       net.Listener
	cfg      ListenerConfig
	open     atomic.Int64
	refusals chan struct{} // a slot for each client that is being refused
	closed   chan struct{}
	closing  sync.Once
	closeErr error
	debts    *Debts // of connections that came to little
	halted   atomic.Pointer[halting]

	// What follows belongs to Accept.
	line     line
	spare    reserve
	deadline interface{ SetDeadline(time.Time) error } // of ln; nil: it has none, and nobody waits in line
	armed    time.Time                                 // deadline that is set; zero: none
}

// NewListener returns a Listener that takes its connections from ln. Accept is for one goroutine.
func NewListener(ln net.Listener, cfg ListenerConfig) *Listener {
	l := &Listener{
		ln:       ln,
		cfg:      cfg,
		refusals: make(chan struct{}, maxRefusals),
		closed:   make(chan struct{}),
		debts:    NewDebts(connAllowance, maxTurn),
	}
	l.deadline, _ = ln.(interface{ SetDeadline(time.Time) error })
	return l
}

// Accept returns the next client that is not refused, as a *Conn. An error means that the listener is closed
// (net.ErrClosed): redcon's accept loop spins on any other. Failures that may pass are retried after 5 ms, doubling up
// to 1 s, as long as they last.
func (l *Listener) Accept() (net.Conn, error) {
	l.spare.keep()
	delay := minAcceptDelay
	for {
		l.rest()
		if l.isClosed() { // clients who wait now may be another process's
			return nil, l.ended()
		}
		c, err := l.accept()
		switch {
		case err == nil && c != nil:
			return c, nil
		case err == nil:
			delay = minAcceptDelay
			continue
		case errors.Is(err, net.ErrClosed) || l.isClosed():
			return nil, l.ended()
		}
		if l.cfg.OnAcceptError != nil {
			l.cfg.OnAcceptError(err)
		}
		if l.turnAway(err) {
			delay = minAcceptDelay
		}
		if l.pause(delay) {
			delay = min(2*delay, maxAcceptDelay)
		}
	}
}

func (l *Listener) ended() error {
	l.line.closeAll()
	l.spare.release()
	return net.ErrClosed
}

// accept returns a client whose turn it is, nil if there is none at the moment.
func (l *Listener) accept() (*Conn, error) {
	if c := l.seat(); c != nil {
		return c, nil
	}
	l.awake()
	nc, err := l.ln.Accept()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		l.disarm()
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c := l.admit(nc)
	if c == nil || l.mustWait(c) {
		return nil, nil
	}
	return c, nil
}

// admit returns the guard of a welcome client, nil for a client that is refused. The checks come in Redis's order.
func (l *Listener) admit(nc net.Conn) *Conn {
	if n := l.open.Add(1); l.cfg.MaxClients > 0 && n > int64(l.cfg.MaxClients) {
		l.open.Add(-1)
		l.refuse(nc, errMaxClients)
		return nil
	}
	if l.cfg.Refuse != nil {
		if text := l.cfg.Refuse(nc); text != "" {
			l.open.Add(-1)
			l.refuse(nc, text)
			return nil
		}
	}
	if l.cfg.Adopt != nil && l.cfg.TLS == nil {
		nc = l.cfg.Adopt(nc)
	}
	c := NewConn(nc, l.cfg.Limits)
	if l.cfg.TLS != nil {
		c.encrypt(l.cfg.TLS)
	}
	l.configure(c)
	return c
}

func (l *Listener) configure(c *Conn) {
	c.IdleTimeout, c.AuthTimeout = l.cfg.IdleTimeout, l.cfg.AuthTimeout
	if l.cfg.HandshakeTimeout != 0 {
		c.handshakeTimeout = l.cfg.HandshakeTimeout
	}
	if l.cfg.WriteTimeout != 0 {
		c.WriteTimeout = max(0, l.cfg.WriteTimeout)
	}
}

// refuse closes a client, and tells it why without making the accept loop wait (a TLS handshake comes first). A crowd
// gets no explanations.
func (l *Listener) refuse(nc net.Conn, text string) {
	if l.debts.Turn(nc.RemoteAddr(), trifleCost) > 0 {
		_ = nc.Close()
		return
	}
	if l.cfg.TLS != nil {
		nc = tls.Server(nc, l.cfg.TLS)
	}
	l.debts.Charge(nc.RemoteAddr(), trifleCost)
	select {
	case l.refusals <- struct{}{}:
	default:
		_ = nc.Close() // nothing is lost with it
		return
	}
	if !strings.HasSuffix(text, "\r\n") {
		text += "\r\n"
	}
	go func() {
		defer func() { <-l.refusals }()
		if nc.SetDeadline(time.Now().Add(refuseTimeout)) == nil {
			_, _ = nc.Write([]byte(text)) // best effort: the client is refused either way
		}
		_ = nc.Close()
	}()
}

// pause waits d; false means that the listener was closed meanwhile.
func (l *Listener) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.closed:
		return false
	}
}

func (l *Listener) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// Count returns the number of clients that are connected: accepted, not refused, not closed yet.
func (l *Listener) Count() int { return int(l.open.Load()) }

// Close stops accepting. Connections that were handed out stay open.
func (l *Listener) Close() error {
	l.closing.Do(func() {
		close(l.closed)
		l.closeErr = l.ln.Close()
	})
	return l.closeErr
}

// Addr returns the address that is listened on.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }
