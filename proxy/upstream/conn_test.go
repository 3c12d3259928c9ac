package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"credproxy/internal/resp"
	"credproxy/internal/testenv"
	"credproxy/proxy/upstream"
)

func TestMain(m *testing.M) { os.Exit(testenv.Run(m)) }

func newUpstream(t *testing.T, addr string) *upstream.Upstream {
	u := upstream.New(&upstream.Dialer{Address: addr}, upstream.NewRuns(nil), nil)
	t.Cleanup(u.Close)
	return u
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var two = upstream.Identity{Proto: 2}

// Many goroutines share one connection; each gets the replies to its own requests, all of them, in order.
func TestSharedRepliesReachTheirCalls(t *testing.T) {
	u := newUpstream(t, testenv.Redis(t).Addr())
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			call := upstream.NewCall()
			for round := range 100 {
				conn, err := u.Shared(context.Background(), two)
				if err != nil {
					t.Error(err)
					return
				}
				var req []byte
				n := 1 + (g+round)%7
				for i := range n {
					req = resp.AppendCommand(req, "ECHO", fmt.Sprintf("%d/%d/%d%s", g, round, i, strings.Repeat("x", g*round%3000)))
				}
				if err = conn.Send(call, n, req); err == nil {
					err = call.Wait()
				}
				for i := 0; i < n && err == nil; i++ {
					if want := fmt.Sprintf("\r\n%d/%d/%d", g, round, i); !bytes.Contains(call.Reply(i), []byte(want)) {
						err = fmt.Errorf("reply %.40q, want %q", call.Reply(i), want)
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// A connection is abandoned while replies stream in. Every call ends once, with the replies that were its own or an error, and is
// good for the next connection.
func TestAbandonWhileRepliesArrive(t *testing.T) {
	u := newUpstream(t, testenv.Redis(t).Addr())
	ctx := context.Background()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for g := range 8 {
		wg.Go(func() {
			call := upstream.NewCall()
			for round := 0; !closed(stop); round++ {
				conn, err := u.Shared(ctx, two)
				if err != nil {
					t.Error(err)
					return
				}
				text := fmt.Sprintf("%d/%d", g, round)
				if conn.Send(call, 2, resp.AppendCommand(resp.AppendCommand(nil, "ECHO", text), "ECHO", text)) != nil {
					continue
				}
				err = call.Wait()
				if err != nil && !errors.Is(err, upstream.ErrLost) || err == nil && len(call.Ends) != 2 {
					t.Errorf("%d replies, %v", len(call.Ends), err)
				}
				for i := range call.Ends {
					if want := string(resp.AppendBulkString(nil, text)); string(call.Reply(i)) != want {
						t.Errorf("reply %q, want %q", call.Reply(i), want)
					}
				}
				select {
				case <-call.Done():
					t.Error("a call has ended twice")
				default:
				}
			}
		})
	}
	for range 300 {
		conn, err := u.Shared(ctx, two)
		must(t, err)
		call := upstream.NewCall()
		if conn.Send(call, 1, resp.AppendCommand(nil, "PING")) == nil {
			_ = call.Wait()
		}
		conn.Abandon()
	}
	close(stop)
	wg.Wait()
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// cutting is a relay to Redis that ends the connection in the middle of the reply that holds the word.
func cutting(t *testing.T, addr, word string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", addr)
			if err != nil {
				client.Close()
				return
			}
			go func() {
				_, _ = io.Copy(server, client)
				server.Close()
			}()
			go func() {
				defer client.Close()
				defer server.Close()
				var all []byte
				buf := make([]byte, 4096)
				for {
					n, err := server.Read(buf)
					if err != nil {
						return
					}
					sent := len(all)
					all = append(all, buf[:n]...)
					if at := bytes.Index(all, []byte(word)); at >= 0 {
						_, _ = client.Write(all[sent:max(at+2, sent)])
						return
					}
					_, _ = client.Write(buf[:n])
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// A reply breaks off in the middle: its call and all behind it fail, those before it have theirs.
func TestLostInTheMiddleOfAReply(t *testing.T) {
	u := newUpstream(t, cutting(t, testenv.Redis(t).Addr(), "half"))
	conn, err := u.Shared(context.Background(), two)
	must(t, err)
	var req []byte
	for _, text := range []string{"one", "half-of-it", "three"} {
		req = resp.AppendCommand(req, "ECHO", text)
	}
	a, b := upstream.NewCall(), upstream.NewCall()
	must(t, conn.Send(a, 3, req))
	must(t, conn.Send(b, 1, resp.AppendCommand(nil, "PING")))
	if err := a.Wait(); !errors.Is(err, upstream.ErrLost) || len(a.Ends) != 1 || string(a.Reply(0)) != "$3\r\none\r\n" {
		t.Errorf("first call: %v, %d replies, %q", err, len(a.Ends), a.Replies)
	}
	if err := b.Wait(); !errors.Is(err, upstream.ErrLost) || len(b.Ends) != 0 {
		t.Errorf("second call: %v, %d replies", err, len(b.Ends))
	}
	if err := conn.Send(b, 1, nil); err == nil || conn.Err() == nil {
		t.Error("the connection is still in use")
	}
	next, err := u.Shared(context.Background(), two)
	must(t, err)
	if next == conn {
		t.Error("the broken connection is handed out again")
	}
}

// Everything up to the sentinel goes to the push handler, in order, and the sentinel to nobody.
func TestSendUntilAndRelay(t *testing.T) {
	addr := testenv.Redis(t).Addr()
	for _, proto := range []int{2, 3} {
		t.Run(fmt.Sprint("RESP", proto), func(t *testing.T) {
			u := newUpstream(t, addr)
			conn, err := u.Private(context.Background(), upstream.Identity{Proto: proto})
			must(t, err)
			defer conn.Close()
			frames := make(chan string, 16)
			conn.OnPush(func(frame []byte) { frames <- string(frame) })
			conn.Relay(true)
			call := upstream.NewCall()
			must(t, conn.SendUntil(call, "the end", resp.AppendCommand(nil, "SUBSCRIBE", "a", "b")))
			must(t, call.Wait())
			if len(frames) != 2 {
				t.Fatalf("%d frames, want the two confirmations", len(frames))
			}
			for range 2 {
				<-frames
			}
			other, err := u.Shared(context.Background(), two)
			must(t, err)
			must(t, other.Send(call, 1, resp.AppendCommand(nil, "PUBLISH", "a", "hello")))
			must(t, call.Wait())
			select {
			case frame := <-frames:
				if !strings.Contains(frame, "hello") {
					t.Errorf("frame %q", frame)
				}
			case <-time.After(10 * time.Second):
				t.Error("the message has not come")
			}
			must(t, conn.SendUntil(call, "the end", resp.AppendCommand(nil, "UNSUBSCRIBE")))
			must(t, call.Wait())
			conn.Relay(false)
			must(t, conn.Send(call, 1, resp.AppendCommand(nil, "PING")))
			must(t, call.Wait())
			if string(call.Reply(0)) != "+PONG\r\n" {
				t.Errorf("reply %q", call.Reply(0))
			}
		})
	}
}

// Close takes connections out of clients' hands, also those on which Redis does not answer.
func TestCloseEndsWaitingCalls(t *testing.T) {
	u := newUpstream(t, testenv.Redis(t).Addr())
	conn, err := u.Private(context.Background(), two)
	must(t, err)
	call := upstream.NewCall()
	must(t, conn.Send(call, 1, resp.AppendCommand(nil, "BLPOP", "nothing", "0")))
	u.Close()
	if err := call.Wait(); !errors.Is(err, upstream.ErrLost) {
		t.Errorf("waiting call: %v", err)
	}
	if _, err := u.Private(context.Background(), two); err == nil {
		t.Error("a connection after the end")
	}
}

// Replies beyond the bound are not kept, from the index on from which that is allowed; those of others on the same connection are.
func TestRepliesBeyondTheBound(t *testing.T) {
	u := newUpstream(t, testenv.Redis(t).Addr())
	conn, err := u.Shared(t.Context(), two)
	must(t, err)
	large := strings.Repeat("0123456789", 30_000)
	echo := func(texts ...string) (req []byte) {
		for _, text := range texts {
			req = resp.AppendCommand(req, "ECHO", text)
		}
		return req
	}
	for name, c := range map[string]struct {
		texts      []string
		from, room int
		kept       int
	}{
		"no bound":                    {[]string{"a", large, large, "b"}, 0, 0, 4},
		"all fit":                     {[]string{"a", large, large, "b"}, 0, 1 << 20, 4},
		"the third does not":          {[]string{"a", large, large, "b"}, 0, 400_000, 2},
		"one alone does not":          {[]string{large, "a"}, 0, 1000, 0},
		"small ones do not":           {[]string{"a", "b", strings.Repeat("c", 100), "d"}, 0, 50, 2},
		"from the fourth on":          {[]string{large, large, large, large}, 3, 1000, 3},
		"from the one that is behind": {[]string{large, large}, 2, 1000, 2},
	} {
		t.Run(name, func(t *testing.T) {
			call, other := upstream.NewCall(), upstream.NewCall()
			call.Bound(c.from, c.room)
			must(t, conn.Send(call, len(c.texts), echo(c.texts...)))
			must(t, conn.Send(other, 2, echo(large, "behind")))
			must(t, call.Wait())
			must(t, other.Wait())
			want := c.kept
			if want == len(c.texts) {
				want = -1
			}
			if call.Dropped() != want || len(call.Ends) != len(c.texts) {
				t.Errorf("dropped from %d on, %d replies", call.Dropped(), len(call.Ends))
			}
			for i := range c.kept {
				if string(call.Reply(i)) != string(resp.AppendBulkString(nil, c.texts[i])) {
					t.Errorf("reply %d: %.40q", i, call.Reply(i))
				}
			}
			if other.Dropped() >= 0 || string(other.Reply(0)) != string(resp.AppendBulkString(nil, large)) || string(other.Reply(1)) != "$6\r\nbehind\r\n" {
				t.Errorf("the other's: dropped from %d on, %.40q", other.Dropped(), other.Reply(1))
			}
		})
	}
}

// A large reply goes to the stream in parts, a small one is kept; a stream that takes no more ends the connection.
func TestStreamedReplies(t *testing.T) {
	u := newUpstream(t, testenv.Redis(t).Addr())
	conn, err := u.Private(t.Context(), two)
	must(t, err)
	call := upstream.NewCall()
	large := strings.Repeat("0123456789", 100_000)
	for _, text := range []string{"small", large, "small", large} {
		var got []byte
		must(t, conn.SendStreaming(call, resp.AppendCommand(nil, "ECHO", text), func(part []byte) error {
			got = append(got, part...)
			return nil
		}))
		must(t, call.Wait())
		if call.Streamed() != len(got) || call.Streamed() > 0 != (text == large) {
			t.Errorf("%d bytes streamed, %d have come", call.Streamed(), len(got))
		}
		if text == "small" {
			got = call.Reply(0)
		}
		if string(got) != string(resp.AppendBulkString(nil, text)) {
			t.Errorf("%d bytes: %.40q", len(got), got)
		}
	}
	must(t, conn.SendStreaming(call, resp.AppendCommand(nil, "ECHO", large), func([]byte) error { return io.ErrShortWrite }))
	if err := call.Wait(); !errors.Is(err, upstream.ErrLost) || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a stream that fails: %v", err)
	}
	if conn.Err() == nil {
		t.Error("the connection lives on")
	}
}
