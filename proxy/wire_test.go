package proxy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"credproxy/internal/resp"
)

// wire is a client that speaks bare RESP, so that a test sees the very bytes of a reply.
type wire struct {
	t  testing.TB
	nc net.Conn
	in *bufio.Reader
}

// wirePatience is the longest a test waits for a reply.
const wirePatience = 30 * time.Second

func dialWire(t testing.TB, addr string) *wire {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	must(t, err)
	t.Cleanup(func() { nc.Close() })
	return dialled(t, nc)
}

// dialled is for a connection that the caller closes.
func dialled(t testing.TB, nc net.Conn) *wire { return &wire{t: t, nc: nc, in: bufio.NewReader(nc)} }

// wire connects one more client to the proxy.
func (e *env) wire() *wire {
	e.t.Helper()
	return dialWire(e.t, e.server.Addr().String())
}

// write sends raw bytes.
func (w *wire) write(raw string) {
	w.t.Helper()
	must(w.t, w.nc.SetWriteDeadline(time.Now().Add(wirePatience)))
	_, err := io.WriteString(w.nc, raw)
	must(w.t, err)
}

// send sends a command without waiting for its reply.
func (w *wire) send(args ...string) {
	w.t.Helper()
	w.write(string(resp.AppendCommand(nil, args...)))
}

// frame reads one whole reply, as it came.
func (w *wire) frame() (string, error) {
	if err := w.nc.SetReadDeadline(time.Now().Add(wirePatience)); err != nil {
		return "", err
	}
	var framer resp.Framer
	var out []byte
	for {
		b, err := w.in.ReadByte()
		if err != nil {
			return string(out), fmt.Errorf("read reply: %w", err)
		}
		out = append(out, b)
		_, done, err := framer.Next(out[len(out)-1:])
		if err != nil || done {
			return string(out), err
		}
	}
}

func (w *wire) reply() string {
	w.t.Helper()
	frame, err := w.frame()
	must(w.t, err)
	return frame
}

// do is ask for goroutines, which must not end the test.
func (w *wire) do(args ...string) (string, error) {
	if _, err := w.nc.Write(resp.AppendCommand(nil, args...)); err != nil {
		return "", err
	}
	return w.frame()
}

// ask sends a command and returns its reply as it came.
func (w *wire) ask(args ...string) string {
	w.t.Helper()
	w.send(args...)
	return w.reply()
}

// want sends a command and checks the bytes of its reply.
func (w *wire) want(reply string, args ...string) {
	w.t.Helper()
	if got := w.ask(args...); got != reply {
		w.t.Fatalf("%.200q: %.300q, want %.300q", args, got, reply)
	}
}

// wantPrefix sends a command and checks how its reply begins.
func (w *wire) wantPrefix(prefix string, args ...string) {
	w.t.Helper()
	if got := w.ask(args...); !strings.HasPrefix(got, prefix) {
		w.t.Fatalf("%.200q: %.300q, want it to begin with %q", args, got, prefix)
	}
}

// wantReply checks the next reply, or message, that comes.
func (w *wire) wantReply(reply string) {
	w.t.Helper()
	if got := w.reply(); got != reply {
		w.t.Fatalf("got %.300q, want %.300q", got, reply)
	}
}

// wantClosed checks that the server closes the connection, and sends nothing more before.
func (w *wire) wantClosed() {
	w.t.Helper()
	if frame, err := w.frame(); !errors.Is(err, io.EOF) || frame != "" {
		w.t.Fatalf("got %.300q, %v; want the connection closed", frame, err)
	}
}

// bulkReply and its like render replies for comparison.
func bulkReply(s string) string { return string(resp.AppendBulkString(nil, s)) }

func arrayReply(elems ...string) string {
	return string(resp.AppendArray(nil, len(elems))) + strings.Join(elems, "")
}

func bulksReply(list ...string) string {
	elems := make([]string, len(list))
	for i, s := range list {
		elems[i] = bulkReply(s)
	}
	return arrayReply(elems...)
}

// parseReply decodes a reply.
func parseReply(t testing.TB, frame string) resp.Value {
	t.Helper()
	v, n, err := resp.Parse([]byte(frame))
	if err != nil || n != len(frame) {
		t.Fatalf("parse %q: %v", frame, err)
	}
	return v
}
