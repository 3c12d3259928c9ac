package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// relay stands between the proxy and Redis and passes everything on, byte for byte, until it is told to cut: then the proxy gets
// the beginning of a reply, and the connection is gone. Redis itself never does that on a machine where nothing is slow.
type relay struct {
	ln     net.Listener
	target string // where Redis listens
	tally  *tally

	mu     sync.Mutex // guards what follows
	change *sync.Cond // of links
	links  map[*link]struct{}
	closed bool
	work   sync.WaitGroup
}

// link is one connection of the proxy with the one to Redis that belongs to it.
type link struct {
	proxy, redis net.Conn
	cut          chan cut // buffered, full when the next piece of a reply is to be the last
}

// cut says how a connection ends: where (a number from 0 to 1, of what arrives together), and whether by a reset.
type cut struct {
	at    float64
	reset bool
}

func startRelay(target string, t *tally) (*relay, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the proxy's connections to Redis: %w", err)
	}
	r := &relay{ln: ln, target: target, tally: t, links: map[*link]struct{}{}}
	r.change = sync.NewCond(&r.mu)
	r.work.Go(r.accept)
	return r, nil
}

func (r *relay) addr() string { return r.ln.Addr().String() }

func (r *relay) accept() {
	for {
		conn, err := r.ln.Accept()
		if err != nil {
			return // closed
		}
		up, err := net.Dial("tcp4", r.target)
		if err != nil {
			reset(conn) // Redis is away
			continue
		}
		l := &link{proxy: conn, redis: up, cut: make(chan cut, 1)}
		if !r.add(l) {
			l.close()
			return
		}
		r.work.Go(func() { r.serve(l) })
	}
}

func (r *relay) add(l *link) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.links[l] = struct{}{}
	}
	return !r.closed
}

// serve passes both ways until either end is gone; then the other one goes too, once it has got what was sent before.
func (r *relay) serve(l *link) {
	var requests sync.WaitGroup
	requests.Go(func() {
		_, _ = io.Copy(l.redis, l.proxy)
		l.close()
	})
	r.replies(l)
	l.close()
	requests.Wait()
	r.mu.Lock()
	delete(r.links, l)
	r.change.Broadcast()
	r.mu.Unlock()
}

// replies passes on what Redis says.
func (r *relay) replies(l *link) {
	buf := make([]byte, 64<<10)
	for {
		n, err := l.redis.Read(buf)
		if n > 0 {
			select {
			case c := <-l.cut:
				r.end(l, buf[:n], c)
				return
			default:
			}
			if _, err := l.proxy.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// end passes on the beginning of what Redis has said, up to a place within a reply: replies end with a line feed, and nowhere else
// is it certain that none ends.
func (r *relay) end(l *link, said []byte, c cut) {
	n := int(c.at * float64(len(said)))
	for n > 0 && said[n-1] == '\n' {
		n--
	}
	_, _ = l.proxy.Write(said[:n])
	if c.reset {
		reset(l.proxy)
	}
	if n > 0 {
		r.tally.add("connections cut within a reply", 1)
	} else {
		r.tally.add("connections cut before a reply", 1)
	}
}

// cutAll cuts every connection within the next reply that comes over it.
func (r *relay) cutAll(rng *rand.Rand) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := range r.links {
		select {
		case l.cut <- cut{at: rng.Float64(), reset: rng.IntN(2) == 0}:
		default: // an idle connection has one to come already
		}
	}
}

// quietWait bounds the wait for a dead proxy's connections. It is over at once unless Redis stands still and its buffers are full.
const quietWait = 2 * time.Second

// quiet returns when no connection is left: the proxy is dead, and what it has sent is where Redis will find it first.
func (r *relay) quiet() {
	over := time.AfterFunc(quietWait, r.change.Broadcast)
	defer over.Stop()
	end := time.Now().Add(quietWait)
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.links) > 0 && time.Now().Before(end) {
		r.change.Wait()
	}
}

func (r *relay) close() error {
	err := r.ln.Close()
	r.mu.Lock()
	r.closed = true
	for l := range r.links {
		l.close()
	}
	r.mu.Unlock()
	r.work.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (l *link) close() {
	l.proxy.Close()
	l.redis.Close()
}

// reset closes a connection so that the other end sees a reset rather than an orderly end.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // else it ends in order
	}
	c.Close()
}
