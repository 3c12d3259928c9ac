package handover

import (
	"bytes"
	"io"
	"net"
	"syscall"
	"testing"
)

// pair returns both ends of a link in this process.
func pair(t *testing.T) (a, b *Link) {
	t.Helper()
	a, other, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	fd, err := syscall.Dup(int(other.Fd())) // open takes it over, as other has its own
	if err != nil {
		t.Fatal(err)
	}
	if b, err = open(fd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

type note struct{ Text string }

// Messages that follow one another at once keep their descriptors and their bytes apart.
func TestMessagesKeepTheirSockets(t *testing.T) {
	a, b := pair(t)
	large := bytes.Repeat([]byte("x"), 3<<20)
	sent := make(chan error, 1)
	go func() {
		defer a.Close()
		sent <- func() error {
			for i := range 20 {
				one, two, err := SocketPair()
				if err != nil {
					return err
				}
				if _, err := one.Write([]byte{byte(i)}); err != nil {
					return err
				}
				if err := a.Send(note{"with"}, large[:i*1000], int(two.Fd())); err != nil {
					return err
				}
				if err := a.Send(note{"without"}, nil); err != nil {
					return err
				}
				one.Close()
				two.Close()
			}
			return a.Send(note{"last"}, large)
		}()
	}()
	for i := range 20 {
		m := receive(t, b, "with")
		if len(m.Files) != 1 || len(m.Blob) != i*1000 {
			t.Fatalf("message %d: %d sockets, %d bytes", i, len(m.Files), len(m.Blob))
		}
		c, err := net.FileConn(m.Files[0])
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); err != nil || len(got) != 1 || got[0] != byte(i) {
			t.Fatalf("socket %d brings %v, %v", i, got, err)
		}
		c.Close()
		m.closeFiles()
		if m := receive(t, b, "without"); len(m.Files) != 0 {
			t.Fatalf("message %d has got another's socket", i)
		}
	}
	if m := receive(t, b, "last"); !bytes.Equal(m.Blob, large) {
		t.Error("the large message is not what was sent")
	}
	if _, err := b.Receive(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func receive(t *testing.T, l *Link, want string) *Message {
	t.Helper()
	m, err := l.Receive()
	if err != nil {
		t.Fatal(err)
	}
	var n note
	if err := m.Decode(&n); err != nil || n.Text != want {
		t.Fatalf("got %q, %v, want %q", n.Text, err, want)
	}
	return m
}

func TestNoPredecessor(t *testing.T) {
	if l, err := Inherited(); l != nil || err != nil {
		t.Errorf("a process that nobody has started as a successor: %v, %v", l, err)
	}
}
