package resp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pair returns a guard on a TCP socket and its client.
func pair(t testing.TB) (*Conn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := NewConn(nc, DefaultLimits())
	c.SetAuthenticated(true)
	t.Cleanup(func() { c.Close(); client.Close() })
	return c, client.(*net.TCPConn)
}

func send(t testing.TB, nc net.Conn, s string) {
	t.Helper()
	if _, err := nc.Write([]byte(s)); err != nil {
		t.Error(err) // not Fatal: also called from goroutines
	}
}

func expect(t testing.TB, c *Conn, want string) {
	t.Helper()
	p := make([]byte, 1<<20)
	var got []byte
	for len(got) < len(want) {
		n, err := c.Read(p)
		got = append(got, p[:n]...)
		if err != nil {
			t.Fatalf("Read: %v after %.100q", err, got)
		}
	}
	if string(got) != want {
		t.Fatalf("%.100q, want %.100q", got, want)
	}
}

func TestHalfClose(t *testing.T) {
	c, client := pair(t)
	send(t, client, bulks("PING")+"PING\r\n"+bulks("PING")+"*1\r\n$4\r\nPI")
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	expect(t, c, bulks("PING")+bulks("PING")+bulks("PING"))
	for range 2 {
		if n, err := c.Read(make([]byte, 10)); n != 0 || err != io.EOF {
			t.Errorf("Read = %d, %v", n, err)
		}
	}
	send(t, c, "+PONG\r\n") // the other direction is still open
	p := make([]byte, 7)
	if _, err := io.ReadFull(client, p); err != nil || string(p) != "+PONG\r\n" {
		t.Errorf("%q, %v", p, err)
	}
}

// TestErrorComesAfterReplies: the text about a bad frame is sent by the Read that follows the good commands, not before.
func TestErrorComesAfterReplies(t *testing.T) {
	c, client := pair(t)
	send(t, client, bulks("PING")+"*x\r\n")
	expect(t, c, bulks("PING"))
	send(t, c, "+PONG\r\n")
	if n, err := c.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Errorf("Read = %d, %v", n, err)
	}
	c.Close()
	got, _ := io.ReadAll(client)
	if want := "+PONG\r\n" + protoErr + errMultibulkLength + "\r\n"; string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestReadDeadlineOutside(t *testing.T) {
	c, client := pair(t)
	send(t, client, "*1\r\n$4\r\nPI")
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := c.Read(make([]byte, 10)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Read = %d, %v", n, err)
	}
	_ = c.SetReadDeadline(time.Time{})
	send(t, client, "NG\r\n")
	expect(t, c, bulks("PING")) // nothing was lost
}

func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		defer client.Close()
		c := NewConn(server, DefaultLimits())
		defer c.Close()
		c.IdleTimeout = 32 * time.Second
		p := make([]byte, 100)
		go func() {
			for i := range bulks("PING") { // a slow sender is not idle
				time.Sleep(20 * time.Second)
				send(t, client, bulks("PING")[i:i+1])
			}
		}()
		if n, err := c.Read(p); string(p[:n]) != bulks("PING") || err != nil {
			t.Fatalf("Read = %q, %v", p[:n], err)
		}
		time.Sleep(100 * time.Second) // the handler's own time does not count
		start := time.Now()
		n, err := c.Read(p)
		if d := time.Since(start); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || d < 30*time.Second || d > 32*time.Second {
			t.Errorf("Read = %d, %v after %v", n, err, d)
		}
		c.IdleTimeout = 0 // a subscriber
		go func() {
			time.Sleep(time.Hour)
			send(t, client, "PING\r\n")
		}()
		if n, err := c.Read(p); string(p[:n]) != bulks("PING") || err != nil {
			t.Errorf("Read = %q, %v", p[:n], err)
		}
	})
}

func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		defer client.Close()
		c := NewConn(server, DefaultLimits())
		defer c.Close()
		if n, err := c.Write(nil); n != 0 || err != nil { // would block on a pipe if it were sent
			t.Errorf("Write(nil) = %d, %v", n, err)
		}
		reply := make([]byte, 3*writePiece+1)
		go func() { // takes a piece each 40 s, and then no more
			for range 3 {
				time.Sleep(40 * time.Second)
				_, _ = io.ReadFull(client, make([]byte, writePiece))
			}
		}()
		start := time.Now()
		n, err := c.Write(reply)
		if d := time.Since(start); n != 3*writePiece || !errors.Is(err, os.ErrDeadlineExceeded) || d < 160*time.Second || d > 185*time.Second {
			t.Errorf("Write = %d, %v after %v", n, err, d)
		}
	})
}

func TestHangup(t *testing.T) {
	c, client := pair(t)
	c.IdleTimeout = 16 * time.Second
	send(t, client, bulks("BLPOP", "a", "0"))
	expect(t, c, bulks("BLPOP", "a", "0"))

	// The command returns: no hangup, nothing lost, no deadline left.
	ctx, cancel := context.WithCancel(context.Background())
	ahead := bulks("SET", "k", strings.Repeat("v", 100000))
	result := make(chan bool)
	go func() { result <- c.Hangup(ctx) }()
	send(t, client, ahead[:50000])
	cancel()
	if <-result {
		t.Fatal("a hangup of a client that is there")
	}
	if c.Hangup(ctx) {
		t.Fatal("a hangup after the end of the watch")
	}
	send(t, client, ahead[50000:])
	expect(t, c, ahead)

	// The client goes: the watch ends, and what it sent before is still handed over.
	go func() { result <- c.Hangup(context.Background()) }()
	send(t, client, "PING\r\n")
	client.Close()
	if !<-result {
		t.Fatal("no hangup")
	}
	if !c.Hangup(context.Background()) {
		t.Fatal("a second watch of a dead client")
	}
	expect(t, c, bulks("PING"))
	if n, err := c.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Errorf("Read = %d, %v", n, err)
	}
}

// TestHangupIgnoresIdleness: an idle timeout that was set before does not end the watch.
func TestHangupIgnoresIdleness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		defer client.Close()
		c := NewConn(server, DefaultLimits())
		defer c.Close()
		c.IdleTimeout = time.Second
		go send(t, client, "PING\r\n")
		if n, err := c.Read(make([]byte, 100)); n == 0 || err != nil {
			t.Fatal(n, err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		start := time.Now()
		if c.Hangup(ctx) || time.Since(start) != time.Hour {
			t.Errorf("the watch ended after %v", time.Since(start))
		}
		go send(t, client, "PING\r\n")
		if n, err := c.Read(make([]byte, 100)); n == 0 || err != nil {
			t.Errorf("Read after the watch: %d, %v", n, err)
		}
	})
}

// TestHangupIsBounded: a client that floods while it is blocked fills 1 MB (and its socket), no more.
func TestHangupIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		defer client.Close()
		c := NewConn(server, DefaultLimits())
		defer c.Close()
		c.SetAuthenticated(true)
		in := strings.Repeat(bulks("PING"), 1<<18) // 3.6 MB
		go send(t, client, in)
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		start := time.Now()
		if c.Hangup(ctx) || time.Since(start) != time.Hour {
			t.Fatalf("the watch ended after %v", time.Since(start))
		}
		if len(c.buf) < hangupBuffer || cap(c.buf) > 2*hangupBuffer {
			t.Errorf("%d bytes held in %d", len(c.buf), cap(c.buf))
		}
		expect(t, c, in)
	})
}

func TestHangupOnClose(t *testing.T) {
	c, _ := pair(t)
	result := make(chan bool)
	go func() { result <- c.Hangup(context.Background()) }()
	c.Close()
	if !<-result {
		t.Error("no hangup on a connection that was closed")
	}
	if err := c.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// TestTrim: a reader that keeps a large array behind a short slice gets blank lines that make redcon drop it, once.
func TestTrim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		defer client.Close()
		c := NewConn(server, DefaultLimits())
		defer c.Close()
		c.SetAuthenticated(true)
		big := bulks("SET", "k", strings.Repeat("v", 50000))
		go send(t, client, big)
		p := make([]byte, 1<<17)
		if n, err := c.Read(p); n != len(big) || err != nil {
			t.Fatal(n, err)
		}
		go send(t, client, "*0\r\nPING\r\n")
		if n, err := c.Read(p[:redconBuffer]); n != len(bulks("PING")) || err != nil {
			t.Fatal(n, err)
		}
		start := time.Now()
		n, err := c.Read(p[:100:100])
		if n != 100 || err != nil || time.Since(start) != trimAfter {
			t.Fatalf("Read = %d, %v after %v", n, err, time.Since(start))
		}
		n, err = c.Read(p[:redconBuffer:redconBuffer])
		if n != redconBuffer-100-len(bulks("PING"))+1 || err != nil || string(p[n-2:n]) != "\r\n" {
			t.Fatalf("Read = %d, %v", n, err)
		}
		if len(bytes.Trim(trimLines, "\r\n")) > 0 || len(trimLines) != redconBuffer+1 || trimLines[redconBuffer-1] != '\r' {
			t.Errorf("%d bytes of trimming", len(trimLines))
		}
		go func() {
			time.Sleep(time.Hour)
			send(t, client, "PING\r\n")
		}()
		if n, err := c.Read(p[:redconBuffer]); string(p[:n]) != bulks("PING") || err != nil {
			t.Errorf("Read = %.20q, %v", p[:n], err)
		}
	})
}

// TestIdleHoldsNoBuffer: a socket's guard has no buffer while it waits for a command.
func TestIdleHoldsNoBuffer(t *testing.T) {
	c, client := pair(t)
	send(t, client, bulks("PING"))
	expect(t, c, bulks("PING"))
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if c.buf != nil || c.out != nil {
		t.Errorf("%d bytes held", cap(c.buf))
	}
}

func TestAddresses(t *testing.T) {
	c, client := pair(t)
	if c.RemoteAddr().String() != client.LocalAddr().String() || c.LocalAddr().String() != client.RemoteAddr().String() {
		t.Errorf("%v, %v", c.LocalAddr(), c.RemoteAddr())
	}
	if _, ok := c.NetConn().(*net.TCPConn); !ok {
		t.Errorf("NetConn is a %T", c.NetConn())
	}
}
