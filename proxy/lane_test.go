package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"credproxy/internal/resp"
)

// fill loads a session of 100 short strings.
func (e *env) fillStrings(session string) {
	e.t.Helper()
	pipe := e.client.Pipeline()
	for i := range 100 {
		pipe.Set(context.Background(), fmt.Sprintf("s:%s:%d", session, i), fmt.Sprintf("value %d", i), 0)
	}
	_, err := pipe.Exec(context.Background())
	must(e.t, err)
	e.client.Do(context.Background(), "CREDPROXY", "SYNC")
}

// Commands of all kinds in one write: those that a lane serves, and those that it leaves to the client's goroutine in between.
func TestLaneAndGoroutineKeepTheOrder(t *testing.T) {
	e := newEnv(t, nil)
	e.fillStrings("a")
	c := e.wire()
	large := strings.Repeat("x", 100_000)
	for round := range 30 {
		var req []byte
		var want strings.Builder
		add := func(reply string, args ...string) {
			req = resp.AppendCommand(req, args...)
			want.WriteString(reply)
		}
		bulk := func(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }
		for i := range 40 {
			key := fmt.Sprintf("s:a:%d", i)
			add(bulk(fmt.Sprintf("value %d", i)), "GET", key)
			switch (i + round) % 10 {
			case 0:
				add("+PONG\r\n", "PING")
			case 1:
				add(":1\r\n", "DEL", key)
				add("$-1\r\n", "GET", key)
				add("+OK\r\n", "SET", key, fmt.Sprintf("value %d", i))
			case 2:
				add("+OK\r\n", "MULTI")
				add("+QUEUED\r\n", "GET", key)
				add("*1\r\n"+bulk(fmt.Sprintf("value %d", i)), "EXEC")
			case 3:
				add("+OK\r\n", "SET", "s:a:large", large)
				add(bulk(large), "GET", "s:a:large")
			case 4:
				add("-ERR unknown command 'NOSUCH', with args beginning with: 'x' \r\n", "NOSUCH", "x")
			case 5:
				add("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", "HGET", key, "f")
			case 6:
				req = append(req, "ECHO inline\r\n"...)
				want.WriteString("$6\r\ninline\r\n")
			case 7:
				req = append(req, "*0\r\n"...)
			case 8:
				add("+OK\r\n", "SELECT", "1")
				add("$-1\r\n", "GET", key)
				add("+OK\r\n", "SELECT", "0")
			}
		}
		go c.nc.Write(req)
		got := make([]byte, want.Len())
		if _, err := io.ReadFull(c.in, got); err != nil {
			t.Fatal(err)
		}
		if string(got) != want.String() {
			t.Fatalf("round %d: other replies, or in another order", round)
		}
		if round%3 == 0 {
			e.evict("any/a")
		}
	}
}

// A client that closes its side still gets the replies to all that it has sent, and then the end.
func TestLaneServesWhoHasClosedTheirSide(t *testing.T) {
	e := newEnv(t, nil)
	e.fillStrings("a")
	for n := range 30 {
		c := e.wire()
		c.want("$7\r\nvalue 1\r\n", "GET", "s:a:1") // it rides
		c.write(strings.Repeat("*2\r\n$3\r\nGET\r\n$5\r\ns:a:2\r\n", n))
		c.nc.(*net.TCPConn).CloseWrite()
		got, err := io.ReadAll(c.in)
		must(t, err)
		if want := strings.Repeat("$7\r\nvalue 2\r\n", n); string(got) != want {
			t.Fatalf("%d commands: got %.100q", n, got)
		}
	}
}

// A client that goes away in mid-flight leaves no session busy: it can be evicted.
func TestLaneForgetsWhoIsGone(t *testing.T) {
	e := newEnv(t, nil)
	e.fillStrings("a")
	for n := range 100 {
		c := e.wire()
		c.write(strings.Repeat("*2\r\n$3\r\nGET\r\n$5\r\ns:a:2\r\n", 1+n*3))
		if n%2 == 0 {
			c.nc.(*net.TCPConn).SetLinger(0)
		}
		c.nc.Close()
	}
	killer, victim := e.wire(), e.wire()
	victim.want("$7\r\nvalue 1\r\n", "GET", "s:a:1")
	killer.send("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	killer.reply()
	if rest, err := io.ReadAll(victim.in); err != nil || len(rest) > 0 {
		t.Errorf("a client that was killed got %q, %v", rest, err)
	}
	e.evict("any/a")
}

// A reader that is served from a resident session costs the proxy no allocation.
func TestLaneDoesNotAllocate(t *testing.T) {
	e := newEnv(t, nil)
	e.fillStrings("a")
	for _, depth := range []int{1, 16} {
		c := e.wire()
		req := []byte(strings.Repeat("*2\r\n$3\r\nGET\r\n$5\r\ns:a:2\r\n", depth))
		reply := make([]byte, depth*len("$7\r\nvalue 2\r\n"))
		trip := func() {
			if _, err := c.nc.Write(req); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c.nc, reply); err != nil {
				t.Fatal(err)
			}
		}
		for range 1000 {
			trip() // buffers find their size
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		const trips = 20_000
		for range trips {
			trip()
		}
		runtime.ReadMemStats(&after)
		// What runs beside (timers, the sampler) allocates now and then.
		if per := float64(after.Mallocs-before.Mallocs) / float64(trips*depth); per > 0.1 {
			t.Errorf("%d deep: %.2f allocations a command", depth, per)
		}
	}
}
