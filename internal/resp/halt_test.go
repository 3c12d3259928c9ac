package resp

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// holder holds a client until it is told to let go.
type holder struct {
	on    atomic.Bool
	held  chan struct{}
	goOn  chan error
	times atomic.Int32
}

func (h *holder) Halting() bool { return h.on.Load() }

func (h *holder) Halt() error {
	h.times.Add(1)
	h.held <- struct{}{}
	return <-h.goOn
}

// halted returns a guard whose client is held in the middle of a command, the client's end, and what Reads have brought.
func halted(t *testing.T) (c *Conn, client net.Conn, h *holder, got <-chan string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); nc.Close() })
	c, h = NewConn(nc, DefaultLimits()), &holder{held: make(chan struct{}), goOn: make(chan error)}
	c.SetAuthenticated(true)
	c.SetHalter(h)
	reads := make(chan string, 10)
	go func() {
		defer close(reads)
		for p := make([]byte, 4096); ; {
			n, err := c.Read(p)
			if err != nil {
				return
			}
			reads <- string(p[:n])
		}
	}()
	if _, err := io.WriteString(client, "*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r"); err != nil {
		t.Fatal(err)
	}
	if first := <-reads; first != "*1\r\n$4\r\nPING\r\n" {
		t.Fatalf("read %q", first)
	}
	h.on.Store(true)
	stop := make(chan struct{})
	var nudging sync.WaitGroup
	nudging.Go(func() {
		for {
			c.Nudge()
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond): // it may have been between two waits
			}
		}
	})
	<-h.held
	close(stop)
	nudging.Wait()
	return c, client, h, reads
}

// A client that was held goes on as if nothing had been, with the rest of its command.
func TestHeldClientGoesOn(t *testing.T) {
	c, client, h, got := halted(t)
	h.on.Store(false)
	h.goOn <- nil
	if _, err := io.WriteString(client, "\nk\r\n"); err != nil {
		t.Fatal(err)
	}
	if text := <-got; text != "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" {
		t.Errorf("after it was held: %q", text)
	}
	c.Close()
	<-got
}

// A client that was held goes on elsewhere: what it has sent is in Unread, and its connection is not closed by Leave.
func TestHeldClientGoesOnElsewhere(t *testing.T) {
	c, client, h, got := halted(t)
	unread := string(c.Unread())
	var other net.Conn
	possible, err := c.Descriptor(func(fd uintptr) error {
		n, err := syscall.Dup(int(fd))
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(n), "client")
		defer f.Close()
		other, err = net.FileConn(f)
		return err
	})
	if !possible || err != nil {
		t.Fatal(possible, err)
	}
	c.Leave()
	h.goOn <- errors.New("it has left")
	if text, more := <-got; more {
		t.Errorf("read here: %q", text)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	next := NewListener(ln, ListenerConfig{})
	defer next.Close()
	heir := next.Inherit(other, []byte(unread), nil)
	heir.SetAuthenticated(true)
	if _, err := io.WriteString(client, "\nk\r\n"); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4096)
	if n, err := heir.Read(p); err != nil || string(p[:n]) != "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" {
		t.Errorf("read there: %q, %v", p[:n], err)
	}
	if _, err := heir.Write([]byte("+OK\r\n")); err != nil {
		t.Error(err)
	}
	if line, err := bufio.NewReader(client).ReadString('\n'); err != nil || line != "+OK\r\n" {
		t.Errorf("the client reads %q, %v", line, err)
	}
	if next.Count() != 1 || heir.Close() != nil || next.Count() != 0 {
		t.Error("the listener has counted wrong")
	}
}

// While a listener is halted clients wait; after Resume it takes them, after Release whoever else has the socket does.
func TestHaltedListener(t *testing.T) {
	for _, release := range []bool{false, true} {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l := NewListener(tcp, ListenerConfig{})
		accepted := make(chan net.Conn, 10)
		var accepting sync.WaitGroup
		accepting.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				accepted <- c
			}
		})
		var second net.Listener // not by File, which would make the socket one that blocks for a moment
		err = l.Descriptor(func(fd uintptr) error {
			n, err := syscall.Dup(int(fd))
			if err != nil {
				return err
			}
			f := os.NewFile(uintptr(n), "listener")
			defer f.Close()
			second, err = net.FileListener(f)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := l.Halt(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		var clients []net.Conn
		for range 5 {
			c, err := net.Dial("tcp", tcp.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			clients = append(clients, c)
		}
		if len(accepted) > 0 {
			t.Error("a halted listener accepts")
		}
		if release {
			l.Release()
			accepting.Wait()
			if len(accepted) > 0 {
				t.Error("a released listener has taken clients that are another's")
			}
			for range clients {
				c, err := second.Accept()
				if err != nil {
					t.Fatal(err)
				}
				c.Close()
			}
		} else {
			l.Resume()
			for range clients {
				(<-accepted).Close()
			}
			l.Close()
			accepting.Wait()
		}
		second.Close()
	}
}
