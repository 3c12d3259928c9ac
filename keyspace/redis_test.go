package keyspace

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// server is a real redis-server and one connection to it.
type server struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// startRedis starts a redis-server for the time of the test.
func startRedis(t *testing.T) *server {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed: this test compares with a real one")
	}
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	waitReady(t, out)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	return &server{t, conn, bufio.NewReader(conn)}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// waitReady reads the server's log up to the line that says it takes connections, and leaves a reader behind so that the
// server never blocks on a full pipe.
func waitReady(t *testing.T, log io.Reader) {
	t.Helper()
	ready := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(log)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "Ready to accept connections") {
				ready <- true
			}
		}
		close(ready)
	}()
	select {
	case ok := <-ready:
		if !ok {
			t.Fatal("redis-server ended before it was ready")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("redis-server is not ready after 30 s")
	}
}

// replyError is an error reply.
type replyError string

// do sends one command and returns its reply: string, int64, nil, []any or replyError.
func (s *server) do(args ...string) any {
	s.t.Helper()
	s.send(args...)
	return s.read()
}

func (s *server) send(args ...string) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(s.conn, b.String()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) read() any {
	line, err := s.in.ReadString('\n')
	if err != nil {
		s.t.Fatal(err)
	}
	kind, rest := line[0], strings.TrimSpace(line[1:])
	switch kind {
	case '+':
		return rest
	case '-':
		return replyError(rest)
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	switch {
	case kind == ':':
		return n
	case n < 0:
		return nil
	case kind == '$':
		b := make([]byte, n+2)
		if _, err := io.ReadFull(s.in, b); err != nil {
			s.t.Fatal(err)
		}
		return string(b[:n])
	}
	all := make([]any, n)
	for i := range all {
		all[i] = s.read()
	}
	return all
}

// texts converts an array of strings.
func texts(reply any) (all []string) {
	for _, r := range reply.([]any) {
		all = append(all, r.(string))
	}
	return all
}

func byteArgs(args []string) [][]byte {
	b := make([][]byte, len(args))
	for i, a := range args {
		b[i] = []byte(a)
	}
	return b
}
