//go:build linux

package poll

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// start runs a Poller whose turns go to turn, until the test ends.
func start(t *testing.T, turn func([]Event)) *Poller {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(0, turn)
	}()
	t.Cleanup(func() {
		p.Stop()
		<-done
	})
	return p
}

func ignore([]Event) {}

// pair returns an adopted connection and its other side.
func pair(t *testing.T, p *Poller, network string) (*Conn, net.Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = t.TempDir() + "/s"
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	far, err := net.Dial(network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	near, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Adopt(near)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := near.Write([]byte("x")); err == nil {
		t.Error("the connection that was taken over still works")
	}
	return c, far
}

func TestConnIsANetConn(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			c, far := pair(t, start(t, ignore), network)
			go io.Copy(far, far) // an echo
			big := make([]byte, 8<<20)
			for i := range big {
				big[i] = byte(i * 7)
			}
			sent := make(chan error, 1)
			go func() {
				_, err := c.Write(big)
				sent <- err
			}()
			got := make([]byte, len(big))
			if _, err := io.ReadFull(c, got); err != nil {
				t.Fatal(err)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			if string(got) != string(big) {
				t.Error("other bytes came back")
			}
			far.(interface{ CloseWrite() error }).CloseWrite()
			if n, err := c.Read(got); n != 0 || err != io.EOF {
				t.Errorf("behind the end: %d, %v", n, err)
			}
		})
	}
}

func TestDeadlinesEndWaits(t *testing.T) {
	c, _ := pair(t, start(t, ignore), "tcp")
	c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	c.SetReadDeadline(time.Time{})
	ended := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		ended <- err
	}()
	c.SetReadDeadline(time.Unix(1, 0)) // while it waits, or before
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read whose deadline came: %v", err)
	}
	c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := c.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write that nobody reads: %v", err)
	}
}

func TestCloseEndsWaits(t *testing.T) {
	c, far := pair(t, start(t, ignore), "tcp")
	ended := make(chan error, 2)
	go func() {
		_, err := c.Read(make([]byte, 1))
		ended <- err
	}()
	go func() {
		_, err := c.Write(make([]byte, 64<<20))
		ended <- err
	}()
	c.Close()
	for range 2 {
		if err := <-ended; !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("a wait ended with %v", err)
		}
	}
	if _, err := c.TryWrite([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
	io.Copy(io.Discard, far) // the other side hears of it
}

// Descriptors are closed once, and their numbers may be another connection's right after.
func TestDescriptorsAreGivenBack(t *testing.T) {
	p := start(t, ignore)
	count := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(list)
	}
	before := count()
	for range 200 {
		c, far := pair(t, p, "tcp")
		go c.Read(make([]byte, 1))
		c.Close()
		c.Close()
		far.Close()
	}
	for deadline := time.Now().Add(10 * time.Second); count() > before+5 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := count(); n > before+5 {
		t.Errorf("%d descriptors before, %d after", before, n)
	}
}

// A driven connection reports edges to the turns: bytes, the end behind bytes, and kicks; undriven, it wakes its reader again.
func TestDrivenConnections(t *testing.T) {
	type seen struct {
		data string
		err  error
	}
	results := make(chan seen, 100)
	var hup bool
	p := start(t, func(ready []Event) {
		for _, ev := range ready {
			if ev.Kicked && ev.Conn.Tag == nil {
				ev.Conn.Tag = true
				ev.Conn.Drive(true)
			}
			hup = hup || ev.Hup
			for more := true; more; {
				buf := make([]byte, 4)
				n, err := ev.Conn.TryRead(buf)
				if n > 0 || err != nil {
					results <- seen{string(buf[:n]), err}
				}
				if err != nil {
					ev.Conn.Drive(false)
				}
				more = err == nil && (n == len(buf) || hup)
			}
		}
	})
	c, far := pair(t, p, "tcp")
	p.Kick(c)
	far.Write([]byte("abcdef"))
	if a, b := <-results, <-results; a.data != "abcd" || b.data != "ef" {
		t.Fatalf("read %v, %v", a, b)
	}
	far.Write([]byte("gh")) // bytes and the end at once: one edge may tell both
	far.Close()
	if got := <-results; got.data != "gh" {
		t.Fatalf("read %v", got)
	}
	if got := <-results; got.err != io.EOF {
		t.Fatalf("read %v", got)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read once it is not driven any more: %v", err)
	}
}

// TestQuiet: bytes for a quiet connection wake nobody, and are reported when it is quiet no more.
func TestQuiet(t *testing.T) {
	reported := make(chan *Conn, 100)
	p := start(t, func(ready []Event) {
		for _, ev := range ready {
			if ev.Kicked {
				ev.Conn.Drive(true)
			}
			reported <- ev.Conn
		}
	})
	c, far := pair(t, p, "tcp")
	other, otherFar := pair(t, p, "tcp")
	for _, d := range []*Conn{c, other} {
		p.Kick(d)
		<-reported
	}
	c.Quiet(true)
	for len(reported) > 0 {
		<-reported
	}
	for range 10 {
		for _, nc := range []net.Conn{far, otherFar} {
			if _, err := nc.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		if got := <-reported; got != other {
			t.Fatal("bytes for a quiet connection were reported")
		}
	}
	c.Quiet(false)
	for got := range reported {
		if got == c {
			return
		}
	}
}
