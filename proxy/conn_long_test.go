package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"credproxy/internal/resp"
)

// A client that has said all it wants to say and closes its side still gets every reply.
func TestHalfClosedClientsGetTheirReplies(t *testing.T) {
	e := newEnv(t, nil)
	const n = 20_000
	value := strings.Repeat("v", 1000)
	var batch, want []byte
	batch = resp.AppendCommand(batch, "SET", "s:half:k", value)
	want = append(want, "+OK\r\n"...)
	for i := range n {
		if i%2 == 0 {
			batch = resp.AppendCommand(batch, "GET", "s:half:k")
			want = resp.AppendBulkString(want, value)
		} else {
			batch = resp.AppendCommand(batch, "ECHO", fmt.Sprint(i))
			want = resp.AppendBulkString(want, fmt.Sprint(i))
		}
	}
	nc, err := net.Dial("tcp", e.server.Addr().String())
	must(t, err)
	defer nc.Close()
	must(t, nc.SetDeadline(time.Now().Add(4*wirePatience)))
	sent := make(chan error, 1)
	go func() {
		_, err := nc.Write(batch)
		if err == nil {
			err = nc.(*net.TCPConn).CloseWrite()
		}
		sent <- err
	}()
	got, err := io.ReadAll(nc)
	must(t, err)
	must(t, <-sent)
	if string(got) != string(want) {
		t.Errorf("%d bytes of replies, want %d", len(got), len(want))
	}
}

// Some clients write a whole pipeline before they read the first reply. Redis takes any such pipeline; so does the proxy, as
// long as the replies are not too large to be kept for a client that does not read them.
func TestMillionCommandsWrittenBeforeTheFirstRead(t *testing.T) {
	e := newEnv(t, nil)
	const n = 1_000_000
	nc, err := net.Dial("tcp", e.server.Addr().String())
	must(t, err)
	defer nc.Close()
	must(t, nc.SetDeadline(time.Now().Add(4*wirePatience)))
	out := bufio.NewWriterSize(nc, 1<<20)
	for i := range n {
		_, err := out.Write(resp.AppendCommand(nil, "SET", fmt.Sprintf("s:m%d:k", i%50), fmt.Sprint(i)))
		must(t, err)
	}
	must(t, out.Flush())
	replies, want := bufio.NewReaderSize(nc, 1<<20), "+OK\r\n"
	buf := make([]byte, len(want))
	for i := range n {
		if _, err := io.ReadFull(replies, buf); err != nil || string(buf) != want {
			t.Fatalf("reply %d: %q, %v", i, buf, err)
		}
	}
}
