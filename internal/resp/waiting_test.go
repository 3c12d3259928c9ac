package resp

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// visitors is a listener in memory, with deadlines.
type visitors struct {
	net.Listener
	conns  chan net.Conn
	by     time.Time
	closed chan struct{}
}

func newVisitors() *visitors {
	return &visitors{conns: make(chan net.Conn, 100), closed: make(chan struct{})}
}

func (v *visitors) SetDeadline(at time.Time) error { v.by = at; return nil }

func (v *visitors) Close() error { close(v.closed); return nil }

func (v *visitors) Accept() (net.Conn, error) {
	var due <-chan time.Time
	if !v.by.IsZero() {
		due = time.After(time.Until(v.by))
	}
	select {
	case nc := <-v.conns:
		return nc, nil
	case <-due:
		return nil, os.ErrDeadlineExceeded
	case <-v.closed:
		return nil, net.ErrClosed
	}
}

func (v *visitors) visit() net.Conn {
	server, client := net.Pipe()
	v.conns <- server
	return client
}

// take accepts clients until nothing happens any more for d of their time.
func take(l *Listener, d time.Duration) (conns []*Conn, at []time.Time) {
	end := time.AfterFunc(d, func() { l.Close() })
	defer end.Stop()
	for {
		nc, err := l.Accept()
		if err != nil {
			return conns, at
		}
		conns, at = append(conns, nc.(*Conn)), append(at, time.Now())
	}
}

// TestStormWaits: connections that come to little are let in one every millisecond once the allowance is used up.
func TestStormWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVisitors()
		l := NewListener(v, ListenerConfig{})
		l.debts.Charge(&net.UnixAddr{}, connAllowance+time.Second)
		began := time.Now()
		var clients []net.Conn
		for range 50 {
			clients = append(clients, v.visit())
		}
		conns, at := take(l, 10*time.Second)
		if len(conns) != 50 || at[0].Sub(began) < time.Second || at[49].Sub(at[0]) < 49*trifleCost {
			t.Fatalf("%d were let in between %v and %v", len(conns), at[0].Sub(began), at[len(at)-1].Sub(began))
		}
		if l.Count() != 50 {
			t.Errorf("Count = %d", l.Count())
		}
		for i, c := range conns {
			c.Close()
			clients[i].Close()
		}
		if l.Count() != 0 {
			t.Errorf("Count = %d when all are gone", l.Count())
		}
	})
}

// TestCrowdThatStaysIsFree: any number may connect at once, as after a restart; only those that leave at once are charged.
func TestCrowdThatStaysIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVisitors()
		l := NewListener(v, ListenerConfig{})
		came := accepted(l)
		began := time.Now()
		enter := func() *Conn { v.visit(); return <-came }
		var stay []*Conn
		for range 5000 {
			stay = append(stay, enter())
		}
		if d := time.Since(began); d != 0 {
			t.Fatalf("a crowd waits %v", d)
		}
		time.Sleep(2 * brief)
		for _, c := range stay {
			c.Close()
		}
		began = time.Now()
		for range 1000 {
			enter().Close()
		}
		if d := time.Since(began); d < 800*time.Millisecond || d > 1200*time.Millisecond {
			t.Errorf("1000 that leave at once take %v, want about a second", d)
		}
		l.Close()
	})
}

// TestWaitingEndsWithListener: who waits is disconnected.
func TestWaitingEndsWithListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVisitors()
		l := NewListener(v, ListenerConfig{})
		l.debts.Charge(&net.UnixAddr{}, connAllowance+4*time.Second)
		client := v.visit()
		if conns, _ := take(l, time.Second); len(conns) != 0 {
			t.Fatal("was let in before its turn")
		}
		if _, err := client.Read(make([]byte, 1)); err != io.EOF || l.Count() != 0 {
			t.Errorf("%v, Count = %d", err, l.Count())
		}
	})
}

// TestAuthTimeout: a stranger has so long, whatever it sends; who has authenticated has all the time, a stranger again begins anew.
func TestAuthTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		c := NewConn(server, DefaultLimits())
		c.AuthTimeout = 10 * time.Second
		began := time.Now()
		var talking sync.WaitGroup
		talking.Go(func() {
			for err := error(nil); err == nil; time.Sleep(time.Second) {
				_, err = client.Write([]byte(bulks("PING")))
			}
		})
		read := func() (err error) {
			for p := make([]byte, 100); err == nil; {
				if _, err = c.Read(p); time.Since(began) > time.Minute {
					return nil
				}
			}
			return err
		}
		if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		c.SetAuthenticated(true)
		if err := read(); err != nil {
			t.Errorf("authenticated: %v after %v", err, time.Since(began))
		}
		c.SetAuthenticated(false)
		again := time.Now()
		began = again
		if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(again) != 10*time.Second {
			t.Errorf("a stranger again: %v after %v", err, time.Since(again))
		}
		c.Close()
		client.Close()
		talking.Wait()
	})
}
