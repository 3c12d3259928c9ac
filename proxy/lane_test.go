package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"credproxy/internal/resp"
	"credproxy/internal/testenv"
	"credproxy/proxy"
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

// Reads of a resident session, and writes to one that has changes to save already, cost the proxy no allocation.
func TestLaneDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes pools forget, so allocations cannot be counted")
	}
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Sync.Interval = time.Hour })
	e.fillStrings("a")
	large := strings.Repeat("x", 20<<10)
	e.wire().ask("SET", "s:a:5", large)
	for _, c := range []struct{ name, request, reply string }{
		{"GET", "*2\r\n$3\r\nGET\r\n$5\r\ns:a:2\r\n", "$7\r\nvalue 2\r\n"},
		{"SET", "*3\r\n$3\r\nSET\r\n$5\r\ns:a:3\r\n$1\r\nx\r\n", "+OK\r\n"},
		{"HSET", "*4\r\n$4\r\nHSET\r\n$5\r\ns:a:h\r\n$1\r\nf\r\n$1\r\nx\r\n", ":0\r\n"},
		{"SET of 20 KB", string(resp.AppendCommand(nil, "SET", "s:a:4", large)), "+OK\r\n"},
		{"GET of 20 KB", string(resp.AppendCommand(nil, "GET", "s:a:5")), string(resp.AppendBulkString(nil, large))},
	} {
		e.wire().ask("HSET", "s:a:h", "f", "v")
		for _, depth := range []int{1, 16} {
			per, bytes := e.mallocs(c.request, c.reply, depth)
			if per > 0.1 || bytes > 500 { // what runs beside (timers, the sampler) allocates now and then
				t.Errorf("%s, %d deep: %.2f allocations a command, of %.0f bytes", c.name, depth, per, bytes)
			}
		}
	}
}

// mallocs is how many allocations a command takes, and of how many bytes, in pipelines of that depth.
func (e *env) mallocs(request, reply string, depth int) (per, bytes float64) {
	e.t.Helper()
	c := e.wire()
	req, got := []byte(strings.Repeat(request, depth)), make([]byte, depth*len(reply))
	trip := func() {
		if _, err := c.nc.Write(req); err != nil {
			e.t.Fatal(err)
		}
		if _, err := io.ReadFull(c.nc, got); err != nil {
			e.t.Fatal(err)
		}
	}
	for range 200 {
		trip() // buffers find their size
	}
	if want := strings.Repeat(reply, depth); string(got) != want {
		e.t.Fatalf("got %.80q, want %.80q", got, want)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const trips = 2000
	for range trips {
		trip()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(trips*depth), float64(after.TotalAlloc-before.TotalAlloc) / float64(trips*depth)
}

// A client that does not read leaves its lane for its goroutine, which makes it wait: the lane would serve it at full speed.
func TestLaneLeavesWhoDoesNotRead(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	c.want("+PONG\r\n", "PING") // it rides
	batch := bytes.Repeat(resp.AppendCommand(nil, "PING"), 5000)
	go func() {
		for {
			if _, err := c.nc.Write(batch); err != nil {
				return // the test is over
			}
		}
	}()
	stacks := make([]byte, 4<<20)
	testenv.Eventually(t, 2*time.Minute, "a wait for the client to read", func() bool {
		return bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("resp.(*Conn).waitUnread("))
	})
}
