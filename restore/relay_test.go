package restore

import (
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// relay stands between a Store and Postgres and can hold back what clients send, as a network or a frozen server would:
// it arrives later, also when the client has long gone.
type relay struct {
	t        testing.TB
	listener net.Listener
	target   string

	mu    sync.Mutex
	conns map[*relayed]struct{}
	work  sync.WaitGroup
}

// relayed is one connection through the relay.
type relayed struct {
	client, server net.Conn
	mu             sync.Mutex
	gate           chan struct{} // not nil: what the client sends waits until it is closed
	waiting        chan struct{} // closed when something waits
	ended          chan struct{} // closed when Postgres has closed its side
}

// startRelay returns a relay and the DSN of the same database through it.
func startRelay(t testing.TB, dsn string) (*relay, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatalf("parse dsn: %v", err)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{t: t, listener: listener, target: u.Host, conns: make(map[*relayed]struct{})}
	r.work.Go(r.accept)
	t.Cleanup(r.close)
	u.Host = listener.Addr().String()
	return r, u.String()
}

func (r *relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.DialTimeout("tcp4", r.target, 5*time.Second)
		if err != nil {
			_ = client.Close()
			continue
		}
		c := &relayed{client: client, server: server, ended: make(chan struct{})}
		r.mu.Lock()
		r.conns[c] = struct{}{}
		r.mu.Unlock()
		r.work.Go(c.toServer)
		r.work.Go(func() {
			c.toClient()
			r.mu.Lock()
			delete(r.conns, c)
			r.mu.Unlock()
		})
	}
}

func (c *relayed) toServer() {
	buf := make([]byte, 64<<10)
	for {
		n, err := c.client.Read(buf)
		c.mu.Lock()
		gate, waiting := c.gate, c.waiting
		if gate != nil && n > 0 {
			select {
			case <-waiting:
			default:
				close(waiting)
			}
		}
		c.mu.Unlock()
		if gate != nil {
			<-gate
		}
		if n > 0 {
			if _, err := c.server.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			_ = c.server.(*net.TCPConn).CloseWrite() // Postgres carries out what it got before it sees this
			return
		}
	}
}

func (c *relayed) toClient() {
	defer close(c.ended)
	defer c.client.Close()
	defer c.server.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.server.Read(buf)
		if err != nil {
			return
		}
		_, _ = c.client.Write(buf[:n]) // the client may have gone; Postgres must not notice
	}
}

// hold holds back what is sent on the one connection that there is; new connections are free.
func (r *relay) hold() *relayed {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.conns) != 1 {
		r.t.Fatalf("%d connections, want one to hold", len(r.conns))
	}
	for c := range r.conns {
		c.mu.Lock()
		c.gate, c.waiting = make(chan struct{}), make(chan struct{})
		c.mu.Unlock()
		return c
	}
	return nil
}

// release lets everything through that was held back.
func (c *relayed) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gate != nil {
		close(c.gate)
		c.gate = nil
	}
}

func (r *relay) close() {
	_ = r.listener.Close()
	r.mu.Lock()
	for c := range r.conns {
		c.release()
		_ = c.client.Close()
		_ = c.server.Close()
	}
	r.mu.Unlock()
	r.work.Wait()
}
