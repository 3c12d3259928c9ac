package proxy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"credproxy/internal/testenv"
)

// message renders a frame of a subscriber in one protocol.
func message(proto string, parts ...string) string {
	head := "*"
	if proto == "3" {
		head = ">"
	}
	text := fmt.Sprintf("%s%d\r\n", head, len(parts))
	for _, p := range parts {
		if strings.HasPrefix(p, ":") {
			text += p + "\r\n"
		} else {
			text += bulkReply(p)
		}
	}
	return text
}

func TestSubscriptions(t *testing.T) {
	e := newEnv(t, nil)
	for _, proto := range []string{"2", "3"} {
		t.Run("RESP"+proto, func(t *testing.T) {
			s, p := dialWire(t, e.server.Addr().String()), dialWire(t, e.server.Addr().String())
			s.ask("HELLO", proto)
			s.want(message(proto, "subscribe", "news", ":1"), "SUBSCRIBE", "news", "sport")
			s.wantReply(message(proto, "subscribe", "sport", ":2"))
			s.want(message(proto, "psubscribe", "bot.*", ":3"), "PSUBSCRIBE", "bot.*")
			p.want(":1\r\n", "PUBLISH", "news", "hello")
			s.wantReply(message(proto, "message", "news", "hello"))
			p.want(":1\r\n", "PUBLISH", "bot.7", "\x00\r\n")
			s.wantReply(message(proto, "pmessage", "bot.*", "bot.7", "\x00\r\n"))
			p.want(":0\r\n", "PUBLISH", "nobody", "x")
			for i := range 500 {
				p.send("PUBLISH", "sport", fmt.Sprint(i))
			}
			for i := range 500 {
				p.wantReply(":1\r\n")
				s.wantReply(message(proto, "message", "sport", fmt.Sprint(i)))
			}
			if proto == "3" { // commands go on
				s.want("+OK\r\n", "SET", "s:sub:k", "v")
				s.want("$1\r\nv\r\n", "GET", "s:sub:k")
				s.want("+PONG\r\n", "PING")
				s.want(":0\r\n", "PUBLISH", "elsewhere", "x")
			} else {
				s.wantPrefix("-ERR Can't execute 'get': only (P|S)SUBSCRIBE", "GET", "s:sub:k")
				s.want("*2\r\n$4\r\npong\r\n$0\r\n\r\n", "PING")
				s.want("*2\r\n$4\r\npong\r\n$2\r\nhi\r\n", "PING", "hi")
			}
			s.want(message(proto, "unsubscribe", "news", ":2"), "UNSUBSCRIBE", "news")
			s.want(message(proto, "unsubscribe", "never", ":2"), "UNSUBSCRIBE", "never")
			s.want(message(proto, "unsubscribe", "sport", ":1"), "UNSUBSCRIBE")
			s.want(message(proto, "punsubscribe", "bot.*", ":0"), "PUNSUBSCRIBE")
			p.want(":0\r\n", "PUBLISH", "news", "nobody hears it")
			s.wantPrefix("+", "PING") // an ordinary client again
			s.want("+OK\r\n", "SET", "s:sub:k", "v")
		})
	}
}

// RESP3 lets a subscriber send commands: their replies and its messages come in an order in which nothing is torn.
func TestCommandsBetweenMessages(t *testing.T) {
	e := newEnv(t, nil)
	s, p := e.wire(), e.wire()
	s.ask("HELLO", "3")
	s.want(message("3", "subscribe", "ch", ":1"), "SUBSCRIBE", "ch")
	const n = 300
	done := make(chan error, 1)
	go func() {
		for i := range n {
			if reply, err := p.do("PUBLISH", "ch", fmt.Sprint(i)); err != nil || reply != ":1\r\n" {
				done <- fmt.Errorf("publish: %q, %w", reply, err)
				return
			}
		}
		done <- nil
	}()
	for i := range n {
		s.send("SET", "s:own:k", fmt.Sprint(i))
		s.send("GET", "s:own:k")
	}
	messages, replies := 0, 0
	for messages < n || replies < 2*n {
		switch got := s.reply(); {
		case got == message("3", "message", "ch", fmt.Sprint(messages)):
			messages++
		case replies%2 == 0 && got == "+OK\r\n", replies%2 == 1 && got == bulkReply(fmt.Sprint(replies/2)):
			replies++
		default:
			t.Fatalf("after %d messages and %d replies: %q", messages, replies, got)
		}
	}
	must(t, <-done)
}

func TestTracking(t *testing.T) {
	e := newEnv(t, nil)
	c, other := e.wire(), e.wire()
	c.ask("HELLO", "3")
	c.want("+OK\r\n", "CLIENT", "TRACKING", "ON")
	other.want("+OK\r\n", "SET", "s:t:k", "1")
	c.want("$1\r\n1\r\n", "GET", "s:t:k")
	other.want("+OK\r\n", "SET", "s:t:k", "2")
	c.wantReply(">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\ns:t:k\r\n")
	c.want("$1\r\n2\r\n", "GET", "s:t:k")
	e.evict("any/t") // the cached copy is not wrong, but what Redis says is passed on
	c.wantReply(">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\ns:t:k\r\n")
	c.want("$1\r\n2\r\n", "GET", "s:t:k")
	c.want("+OK\r\n", "CLIENT", "TRACKING", "OFF")
	other.want("+OK\r\n", "SET", "s:t:k", "3")
	c.want("$1\r\n3\r\n", "GET", "s:t:k")
}

// waitBlocked waits until Redis has n blocked clients.
func (e *env) waitBlocked(n int) {
	e.t.Helper()
	testenv.Eventually(e.t, wirePatience, "clients blocked", func() bool {
		return strings.Contains(e.direct.Info(context.Background(), "clients").Val(), fmt.Sprintf("blocked_clients:%d\r\n", n))
	})
}

func TestBlockingPops(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	for _, test := range []struct {
		what  string
		block []string
		push  []string
		reply string
	}{
		{"list", []string{"BLPOP", "s:q:l", "0"}, []string{"RPUSH", "s:q:l", "x"}, bulksReply("s:q:l", "x")},
		{"second key", []string{"BRPOP", "s:q:none", "s:q2:l", "0"}, []string{"RPUSH", "s:q2:l", "y"}, bulksReply("s:q2:l", "y")},
		{"move", []string{"BLMOVE", "s:q:l", "s:q:to", "LEFT", "LEFT", "0"}, []string{"RPUSH", "s:q:l", "z"}, bulkReply("z")},
		{"sorted set", []string{"BZPOPMIN", "s:q:z", "0"}, []string{"ZADD", "s:q:z", "1", "m"}, bulksReply("s:q:z", "m", "1")},
		{"in a transaction", []string{"BLPOP", "s:q:l", "0"}, []string{"EVAL", "return redis.call('RPUSH', KEYS[1], 'e')", "1", "s:q:l"},
			bulksReply("s:q:l", "e")},
	} {
		t.Run(test.what, func(t *testing.T) {
			b := dialWire(t, e.server.Addr().String())
			b.send(test.block...)
			e.waitBlocked(1)
			c.want(":1\r\n", test.push...)
			b.wantReply(test.reply)
			b.want("+PONG\r\n", "PING")
		})
	}
	b := e.wire()
	b.want("*-1\r\n", "BLPOP", "s:q:l", "0.01")
	b.want("+OK\r\n", "MULTI")
	b.want("+QUEUED\r\n", "BLPOP", "s:q:l", "0")
	b.want("*1\r\n*-1\r\n", "EXEC")
}

// Who hangs up while it waits takes nothing with it.
func TestHangingUpLosesNoElement(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	for i := range 20 {
		b := e.wire()
		b.send("BLPOP", "s:q:l", "0")
		e.waitBlocked(1)
		must(t, b.nc.Close())
		e.waitBlocked(0)
		c.want(":1\r\n", "RPUSH", "s:q:l", fmt.Sprint(i))
		c.want(bulkReply(fmt.Sprint(i)), "LPOP", "s:q:l")
	}
}
