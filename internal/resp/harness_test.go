package resp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/redcon"
)

// wire is a client's side in memory: it delivers its bytes in packets of the given size and keeps what is written to it.
type wire struct {
	net.Conn // nil: what a test does not use panics
	in       []byte
	packet   int
	reads    int
	sent     bytes.Buffer
}

func (w *wire) Read(p []byte) (int, error) {
	w.reads++
	if len(w.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, w.in[:min(w.packet, len(w.in))])
	w.in = w.in[n:]
	return n, nil
}

func (w *wire) Write(p []byte) (int, error)        { return w.sent.Write(p) }
func (w *wire) SetReadDeadline(t time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(t time.Time) error { return nil }
func (w *wire) Close() error                       { return nil }

// guarded sends in through a guard that is read with a buffer of room bytes. It returns all that the guard hands over and
// what it told the client.
func guarded(t testing.TB, in []byte, packet, room int, authed bool) (out []byte, told string) {
	t.Helper()
	w := &wire{in: bytes.Clone(in), packet: max(1, packet)}
	c := NewConn(w, DefaultLimits())
	c.SetAuthenticated(authed)
	p := make([]byte, room)
	for {
		n, err := c.Read(p)
		if n > len(p) || (n == 0) == (err == nil) {
			t.Fatalf("Read returned %d, %v", n, err)
		}
		out = append(out, p[:n]...)
		if err == nil {
			continue
		}
		if err != io.EOF {
			t.Fatalf("Read: %v", err)
		}
		return out, w.sent.String()
	}
}

// commands splits canonical bytes with redcon's own parser.
func commands(t testing.TB, canonical []byte) []redcon.Command {
	t.Helper()
	if len(canonical) == 0 {
		return nil
	}
	var cmds []redcon.Command
	rd := redcon.NewReader(bytes.NewReader(canonical))
	total := 0
	for total < len(canonical) {
		cmd, err := rd.ReadCommand()
		if err != nil {
			t.Fatalf("redcon refuses %q: %v", canonical, err)
		}
		total += len(cmd.Raw)
		cmds = append(cmds, cmd)
	}
	return cmds
}

// startRedis runs a redis-server of the test's own and returns its address.
func startRedis(t testing.TB, args ...string) string {
	t.Helper()
	for range 5 { // the free port may be taken by someone else before the server has it
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := ln.Addr().String()
		_, port, _ := net.SplitHostPort(addr)
		ln.Close()
		cmd := exec.Command("redis-server", append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "",
			"--loglevel", "warning", "--dir", t.TempDir()}, args...)...)
		if err := cmd.Start(); err != nil {
			t.Fatalf("start redis-server: %v", err)
		}
		exited := make(chan struct{})
		go func() { _ = cmd.Wait(); close(exited) }()
		t.Cleanup(func() { _ = cmd.Process.Kill(); <-exited })
		if answers(addr, exited) {
			return addr
		}
	}
	t.Fatal("redis-server does not start")
	return ""
}

// answers polls until the server takes connections.
func answers(addr string, exited <-chan struct{}) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case <-exited:
			return false
		case <-deadline:
			return false
		case <-tick.C:
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				continue
			}
			_, _ = nc.Write([]byte("PING\r\n"))
			line, err := bufio.NewReader(nc).ReadString('\n')
			nc.Close()
			if err == nil && (line == "+PONG\r\n" || strings.HasPrefix(line, "-NOAUTH")) {
				return true
			}
		}
	}
}

// upstream is a test relay's connection to Redis.
type upstream struct {
	net.Conn
	buf []byte
}

// do sends a command and returns the raw reply.
func (u *upstream) do(raw []byte) ([]byte, error) {
	if _, err := u.Write(raw); err != nil {
		return nil, err
	}
	var f Framer
	var reply []byte
	for {
		n, done, err := f.Next(u.buf)
		reply = append(reply, u.buf[:n]...)
		u.buf = u.buf[n:]
		if done || err != nil {
			return reply, err
		}
		p := make([]byte, 16<<10)
		m, err := u.Read(p)
		if err != nil {
			return nil, err
		}
		u.buf = p[:m]
	}
}

// serve runs a redcon server behind a guard and returns its address.
func serve(t testing.TB, cfg ListenerConfig, handler func(redcon.Conn, redcon.Command),
	accept func(redcon.Conn) bool, closed func(redcon.Conn, error)) (string, *Listener) {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := NewListener(tcp, cfg)
	srv := redcon.NewServer(tcp.Addr().String(), handler, accept, closed)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		ln.Close()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return tcp.Addr().String(), ln
}

// relay serves clients by passing their commands to Redis one by one. authed: clients need no password.
func relay(t testing.TB, redis string, authed bool) string {
	handler := func(conn redcon.Conn, cmd redcon.Command) {
		name := strings.ToLower(string(cmd.Args[0]))
		reply, err := conn.Context().(*upstream).do(cmd.Raw)
		if err != nil {
			conn.Close()
			return
		}
		conn.WriteRaw(reply)
		switch {
		case name == "quit":
			conn.Close()
		case name == "auth" && string(reply) == "+OK\r\n":
			conn.NetConn().(*Conn).SetAuthenticated(true)
		}
	}
	accept := func(conn redcon.Conn) bool {
		nc, err := net.Dial("tcp", redis)
		if err != nil {
			return false
		}
		conn.SetContext(&upstream{Conn: nc})
		conn.NetConn().(*Conn).SetAuthenticated(authed)
		return true
	}
	closed := func(conn redcon.Conn, err error) { conn.Context().(*upstream).Close() }
	// Redis 7 has no limit of its own on arguments, see DefaultLimits.
	addr, _ := serve(t, ListenerConfig{Limits: Limits{MaxArgs: math.MaxInt32}}, handler, accept, closed)
	return addr
}

// exchange sends in, closes the sending side and returns everything that comes back.
func exchange(t testing.TB, addr string, in []byte) []byte {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = nc.Write(in) // the server may close before it has all
		_ = nc.(*net.TCPConn).CloseWrite()
	}()
	out, err := io.ReadAll(nc)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("%s neither answers nor closes after %.200q; got %.200q", addr, in, out)
	}
	<-sent
	return out // a reset after the last reply is an end like any other
}

func bulks(args ...string) string { return string(AppendCommand(nil, args...)) }

// eventually polls cond for up to 10 s.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("timed out: %s", what)
		case <-tick.C:
		}
	}
}
