package proxy_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// clientID asks for the connection's number.
func (w *wire) clientID() string {
	w.t.Helper()
	return strconv.FormatInt(parseReply(w.t, w.ask("CLIENT", "ID")).Int, 10)
}

func TestClientUnblock(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	for _, block := range []string{"BLPOP s:q:l 0", "XREAD BLOCK 0 STREAMS s:q:x $", "WAIT 9 0", "BZMPOP 0 1 s:q:z MIN"} {
		for _, test := range []struct{ reason, reply string }{
			{"", "timeout"}, {"TIMEOUT", "timeout"}, {"ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"},
		} {
			b := e.wire()
			id := b.clientID()
			b.send(strings.Fields(block)...)
			e.waitBlocked(1)
			if list := c.ask("CLIENT", "LIST", "ID", id); !strings.Contains(list, " flags=b ") {
				t.Errorf("CLIENT LIST while it blocks: %q", list)
			}
			c.want(":1\r\n", strings.Fields("CLIENT UNBLOCK "+id+" "+test.reason)...)
			got := b.reply()
			if test.reply == "timeout" && got != "*-1\r\n" && got != "$-1\r\n" && got != ":0\r\n" || test.reply != "timeout" && got != test.reply {
				t.Errorf("%s, unblocked with %q: %q", block, test.reason, got)
			}
			c.want(":0\r\n", "CLIENT", "UNBLOCK", id)
			b.want("+PONG\r\n", "PING")
			must(t, b.nc.Close())
		}
	}
}

// Connections go from one blocking client to the next; whoever is unblocked is the one that was named.
func TestUnblockMeetsNobodyElse(t *testing.T) {
	e := newEnv(t, nil)
	victim, bystander, c := e.wire(), e.wire(), e.wire()
	id := victim.clientID()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() { // names the victim all the time, also when it does not block
		for {
			select {
			case <-stop:
				return
			default:
			}
			if reply, err := c.do("CLIENT", "UNBLOCK", id, "ERROR"); err != nil || reply != ":0\r\n" && reply != ":1\r\n" {
				t.Errorf("CLIENT UNBLOCK: %q, %v", reply, err)
				return
			}
		}
	})
	for range 300 {
		victim.send("BLPOP", "s:v:none", "0.002")
		bystander.want("*-1\r\n", "BLPOP", "s:b:none", "0.001")
		if got := victim.reply(); got != "*-1\r\n" && !strings.HasPrefix(got, "-UNBLOCKED") {
			t.Fatalf("BLPOP: %q", got)
		}
	}
	close(stop)
	wg.Wait()
}

// RESP2 gets invalidations on another connection, one that has subscribed for them.
func TestTrackingRedirect(t *testing.T) {
	e := newEnv(t, nil)
	for _, proto := range []int{2, 3} {
		t.Run(fmt.Sprintf("RESP%d", proto), func(t *testing.T) {
			listener, c, other := dialProto(t, e.server.Addr().String(), proto), dialProto(t, e.server.Addr().String(), proto), dialWire(t, e.server.Addr().String())
			id := listener.clientID()
			c.wantPrefix("-ERR credproxy: client "+id+" does not listen", "CLIENT", "TRACKING", "ON", "REDIRECT", id)
			listener.wantPrefix(message(fmt.Sprint(proto), "subscribe")[:1], "SUBSCRIBE", "__redis__:invalidate")
			c.want("+OK\r\n", "CLIENT", "TRACKING", "ON", "REDIRECT", id)
			c.want(":"+id+"\r\n", "CLIENT", "GETREDIR")
			if info := c.ask("CLIENT", "TRACKINGINFO"); !strings.Contains(info, "redirect\r\n:"+id+"\r\n") {
				t.Errorf("CLIENT TRACKINGINFO: %q, want the client %s", info, id)
			}
			for _, key := range []string{"s:t:a", "s:t:b"} {
				c.ask("GET", key)
				other.want("+OK\r\n", "SET", key, "v")
				if got := listener.reply(); !strings.Contains(got, key) || !strings.Contains(got, "invalidate") {
					t.Errorf("the listener gets %q, want that %s is invalid", got, key)
				}
			}
			c.want("+OK\r\n", "MULTI")
			c.want("+QUEUED\r\n", "GET", "s:t:a")
			c.want("*1\r\n$1\r\nv\r\n", "EXEC")
			other.want("+OK\r\n", "SET", "s:t:a", "w")
			listener.reply()
			// A connection that took others' invalidations is nobody else's afterwards.
			must(t, listener.nc.Close())
			for range 5 {
				b := dialProto(t, e.server.Addr().String(), proto)
				b.want("+OK\r\n", "MULTI")
				c.ask("GET", "s:t:b")
				other.want("+OK\r\n", "SET", "s:t:b", "v")
				b.want("*0\r\n", "EXEC")
			}
		})
	}
}

// What invalidates a value never comes before the reply with that value: a client would keep the value for good.
func TestInvalidationsFollowTheReply(t *testing.T) {
	e := newEnv(t, nil)
	c, other := dialProto(t, e.server.Addr().String(), 3), e.wire()
	c.want("+OK\r\n", "CLIENT", "TRACKING", "ON")
	other.want("+OK\r\n", "SET", "s:t:k", "0")
	const invalid = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\ns:t:k\r\n"
	stale := 0
	for i := 1; i <= 500; i++ {
		c.want("+OK\r\n", "MULTI")
		c.want("+QUEUED\r\n", "GET", "s:t:k")
		other.send("SET", "s:t:k", fmt.Sprint(i))
		got := c.ask("EXEC")
		other.wantReply("+OK\r\n")
		switch got {
		case arrayReply(bulkReply(fmt.Sprint(i))): // the next round's write invalidates it
			continue
		case arrayReply(bulkReply(fmt.Sprint(i - 1))):
			stale++
			c.wantReply(invalid)
		case invalid: // of the round before, whose reply was not stale
			if got = c.reply(); got == arrayReply(bulkReply(fmt.Sprint(i-1))) {
				t.Fatalf("round %d: the invalidation came before the value: %q", i, got)
			}
		default:
			t.Fatalf("round %d: %q", i, got)
		}
	}
	t.Logf("%d of 500 values were overwritten before their reply was read", stale)
}

// A monitor sees lines that look like replies. None of them may be taken for the answer to its AUTH.
func TestAuthOfAMonitor(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Deny = nil })
	m, c := e.wire(), e.wire()
	m.want("+OK\r\n", "MONITOR")
	for range 50 {
		c.send("SET", "s:a:k", "v")
		m.send("AUTH", "nosuch", "wrong")
		c.wantReply("+OK\r\n")
		for {
			got := m.reply()
			if strings.HasPrefix(got, "-WRONGPASS ") {
				break
			}
			if got == "+OK\r\n" {
				t.Fatal("AUTH with a wrong password is accepted")
			}
		}
	}
	m.send("RESET")
	for m.reply() != "+RESET\r\n" {
	}
	m.want("$7\r\ndefault\r\n", "ACL", "WHOAMI")
}

// A database with one key and many of the proxy's own: RANDOMKEY finds the one, always.
func TestRandomKeyAmongOwnKeys(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	fillSessions(c, "r", 60)
	testenv.Eventually(t, wirePatience, "the proxy has many keys of its own", func() bool {
		return len(e.direct.Keys(context.Background(), "credproxy:*").Val()) > 30
	})
	c.want("+OK\r\n", "SET", "lonely", "v")
	for i := range 60 {
		c.want(":1\r\n", "DEL", fmt.Sprintf("s:r%d:k", i))
	}
	for range 50 {
		c.want(bulkReply("lonely"), "RANDOMKEY")
		c.want("+OK\r\n", "MULTI")
		c.want("+QUEUED\r\n", "RANDOMKEY")
		c.want(arrayReply(bulkReply("lonely")), "EXEC")
	}
	c.want(":1\r\n", "DEL", "lonely")
	c.want("$-1\r\n", "RANDOMKEY")
}
