package resp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func listen(t *testing.T, network, addr string, cfg ListenerConfig) *Listener {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	l := NewListener(ln, cfg)
	t.Cleanup(func() { l.Close() })
	return l
}

func dial(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	nc, err := net.Dial(l.Addr().Network(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	return nc
}

// accepted runs the accept loop; its connections come out of the channel.
func accepted(l *Listener) <-chan *Conn {
	ch := make(chan *Conn, 100)
	go func() {
		defer close(ch)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			ch <- nc.(*Conn)
		}
	}()
	return ch
}

func TestMaxClients(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0", ListenerConfig{MaxClients: 2})
	conns := accepted(l)
	dial(t, l)
	dial(t, l)
	first := <-conns
	<-conns
	got, err := io.ReadAll(dial(t, l))
	if string(got) != "-ERR max number of clients reached\r\n" || err != nil {
		t.Errorf("the third client gets %q, %v", got, err)
	}
	if l.Count() != 2 {
		t.Errorf("Count = %d", l.Count())
	}
	first.Close()
	first.Close()
	if l.Count() != 1 {
		t.Errorf("Count = %d after a client was closed twice", l.Count())
	}
	dial(t, l)
	<-conns
}

func TestRefuse(t *testing.T) {
	text := make(chan string, 2)
	l := listen(t, "unix", filepath.Join(t.TempDir(), "s"), ListenerConfig{Refuse: func(net.Conn) string { return <-text }})
	conns := accepted(l)
	text <- "-DENIED no password"
	if got, err := io.ReadAll(dial(t, l)); string(got) != "-DENIED no password\r\n" || err != nil {
		t.Errorf("refused with %q, %v", got, err)
	}
	text <- ""
	client := dial(t, l)
	c := <-conns
	send(t, client, "PING\r\n")
	expect(t, c, bulks("PING"))
	if l.Count() != 1 {
		t.Errorf("Count = %d", l.Count())
	}
}

func TestListenerConfig(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0", ListenerConfig{IdleTimeout: 7, Limits: Limits{MaxArgs: 3}})
	for _, tc := range []struct{ set, want time.Duration }{{0, defaultWriteTimeout}, {5, 5}, {-1, 0}} {
		l.cfg.WriteTimeout = tc.set
		dial(t, l)
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if c := nc.(*Conn); c.WriteTimeout != tc.want || c.IdleTimeout != 7 || c.lim.MaxArgs != 3 {
			t.Errorf("WriteTimeout %v gives %+v", tc.set, c)
		}
		nc.Close()
	}
}

// stubborn is a listener whose Accept fails, or hands out a client that never reads.
type stubborn struct {
	net.Listener
	errs   []error
	calls  []time.Time
	client net.Conn
}

func (s *stubborn) Accept() (net.Conn, error) {
	s.calls = append(s.calls, time.Now())
	if len(s.errs) == 0 {
		return s.client, nil
	}
	err := s.errs[0]
	s.errs = s.errs[1:]
	return nil, err
}

func (s *stubborn) Close() error { return nil }

func TestAcceptBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		defer client.Close()
		s := &stubborn{client: server}
		for range 12 {
			s.errs = append(s.errs, &net.OpError{Op: "accept", Err: syscall.ENOBUFS})
		}
		var told []error
		l := NewListener(s, ListenerConfig{OnAcceptError: func(err error) { told = append(told, err) }})
		nc, err := l.Accept()
		if err != nil || len(told) != 12 || !errors.Is(told[0], syscall.ENOBUFS) {
			t.Fatalf("Accept: %v; told %v", err, told)
		}
		nc.Close()
		var pauses []time.Duration
		for i := 1; i < len(s.calls); i++ {
			pauses = append(pauses, s.calls[i].Sub(s.calls[i-1]))
		}
		if pauses[0] != 5*time.Millisecond || pauses[1] != 10*time.Millisecond || pauses[11] != time.Second {
			t.Errorf("pauses %v", pauses)
		}
	})
}

func TestCloseEndsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stubborn{errs: make([]error, 1000)}
		for i := range s.errs {
			s.errs[i] = syscall.ENOBUFS
		}
		l := NewListener(s, ListenerConfig{})
		result := make(chan error)
		go func() { _, err := l.Accept(); result <- err }()
		time.Sleep(10 * time.Second)
		l.Close()
		l.Close()
		if err := <-result; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}
	})
}

// TestRefusalDoesNotBlock: clients that do not take their refusal hold up neither the accept loop nor, for long, anything
// else.
func TestRefusalDoesNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewListener(&stubborn{}, ListenerConfig{MaxClients: 1})
		first, _ := net.Pipe()
		c := l.admit(first)
		start := time.Now()
		var deaf []net.Conn
		for range 2 * maxRefusals {
			server, client := net.Pipe()
			if l.admit(server) != nil {
				t.Fatal("admitted")
			}
			deaf = append(deaf, client)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("the accept loop was held up for %v", d)
		}
		time.Sleep(2 * refuseTimeout)
		for _, client := range deaf {
			if _, err := client.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("a deaf client is still connected: %v", err)
			}
		}
		c.Close()
	})
}

// TestTLS: a guard on something that is not a socket, with a read-ahead in between.
func TestTLS(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := NewListener(tls.NewListener(tcp, &tls.Config{Certificates: []tls.Certificate{certificate(t)}}), ListenerConfig{})
	defer l.Close()
	conns := accepted(l)
	in := bulks("SET", "k", string(make([]byte, 100000))) + "PING\r\n"
	go func() {
		client, err := tls.Dial("tcp", tcp.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer client.Close()
		_, _ = client.Write([]byte(in))
		_, _ = client.Read(make([]byte, 1))
	}()
	c := <-conns
	defer c.Close()
	c.SetAuthenticated(true)
	expect(t, c, bulks("SET", "k", string(make([]byte, 100000)))+bulks("PING"))
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
