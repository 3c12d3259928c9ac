package resp

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func tlsConfig(t *testing.T) *tls.Config {
	t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
}

func dialTLS(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	nc, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	return nc
}

// A client that says nothing holds up nobody but itself, counts, and is gone in the end.
func TestSilentClientsWithTLS(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0", ListenerConfig{TLS: tlsConfig(t)})
	conns := accepted(l)
	dial(t, l)
	silent := <-conns
	silent.handshakeTimeout = 50 * time.Millisecond

	go func() {
		c := <-conns
		buf := make([]byte, 100)
		n, _ := c.Read(buf)
		_, _ = c.Write(buf[:n])
	}()
	other := dialTLS(t, l) // needs the server's side of the handshake, while the silent client has not even begun
	if _, err := io.WriteString(other, "*1\r\n$4\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	echo := make([]byte, 14)
	if _, err := io.ReadFull(other, echo); err != nil || string(echo) != "*1\r\n$4\r\nPING\r\n" {
		t.Errorf("the other client gets %q, %v", echo, err)
	}
	if l.Count() != 2 {
		t.Errorf("Count = %d", l.Count())
	}

	_, err := silent.Read(make([]byte, 10))
	var failed *HandshakeError
	if !errors.As(err, &failed) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the silent client's Read: %v", err)
	}
	silent.Close()
	if l.Count() != 1 {
		t.Errorf("Count = %d after it was closed", l.Count())
	}
}

// What speaks no TLS is told apart from what only looks whether the port is open.
func TestNoHandshake(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0", ListenerConfig{TLS: tlsConfig(t)})
	conns := accepted(l)
	plain := dial(t, l)
	if _, err := io.WriteString(plain, "*1\r\n$4\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	var failed *HandshakeError
	if _, err := (<-conns).Read(make([]byte, 10)); !errors.As(err, &failed) {
		t.Errorf("plain bytes: %v", err)
	}
	dial(t, l).Close()
	if _, err := (<-conns).Read(make([]byte, 10)); err != io.EOF {
		t.Errorf("a port check: %v", err)
	}
}

// A refused client that speaks TLS can read why.
func TestRefusedWithTLS(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0", ListenerConfig{TLS: tlsConfig(t), MaxClients: 1})
	conns := accepted(l)
	dial(t, l)
	<-conns
	if got, err := io.ReadAll(dialTLS(t, l)); err != nil || string(got) != errMaxClients {
		t.Errorf("the second client gets %q, %v", got, err)
	}
}

// The deadline of the handshake ends with it, and the idle timeout begins.
func TestIdleAfterHandshake(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0", ListenerConfig{TLS: tlsConfig(t), HandshakeTimeout: 10 * time.Second, IdleTimeout: 20 * time.Millisecond})
	conns := accepted(l)
	read := make(chan error, 1)
	go func() {
		_, err := (<-conns).Read(make([]byte, 10))
		read <- err
	}()
	dialTLS(t, l)
	err := <-read
	var failed *HandshakeError
	if !errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &failed) {
		t.Errorf("an idle client: %v", err)
	}
}

// Read deadlines pass while TLS is half way through a record and between records: nothing is lost by them.
func TestDeadlinesWithTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		slow := &slowWriter{Conn: client}
		tc := tls.Client(slow, &tls.Config{InsecureSkipVerify: true})
		c := NewConn(tls.Server(server, tlsConfig(t)), Limits{})
		c.SetAuthenticated(true)
		defer c.Close()
		command := bulks("SET", "k", string(make([]byte, 40_000)))
		go func() {
			if tc.Handshake() != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, client) }()
			slow.pause = 700 * time.Millisecond // longer than the deadlines below
			for range 2 {
				_, _ = tc.Write([]byte(command))
			}
		}()
		var got []byte
		p := make([]byte, 64<<10)
		timeouts := 0
		for len(got) < 2*len(command) {
			_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			n, err := c.Read(p)
			got = append(got, p[:n]...)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				timeouts++
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if string(got) != command+command || timeouts < 3 {
			t.Errorf("%d bytes, %d deadlines", len(got), timeouts)
		}
	})
}

// slowWriter cuts what it writes into halves, with a pause between them.
type slowWriter struct {
	net.Conn
	pause time.Duration
}

func (w *slowWriter) Write(p []byte) (int, error) {
	if w.pause == 0 {
		return w.Conn.Write(p)
	}
	n, err := w.Conn.Write(p[:len(p)/2])
	if err != nil {
		return n, err
	}
	time.Sleep(w.pause)
	m, err := w.Conn.Write(p[len(p)/2:])
	return n + m, err
}
