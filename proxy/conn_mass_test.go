package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"credproxy/internal/resp"
	"credproxy/proxy"
)

func TestTenThousandCommandsInOneWrite(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	const n = 10_000
	var batch []byte
	for i := range n {
		switch i % 4 {
		case 0:
			batch = resp.AppendCommand(batch, "SET", fmt.Sprintf("s:p%d:k", i%100), fmt.Sprint(i))
		case 1:
			batch = resp.AppendCommand(batch, "GET", fmt.Sprintf("s:p%d:k", (i-1)%100))
		case 2:
			batch = append(batch, fmt.Sprintf("ECHO inline-%d\r\n", i)...)
		case 3:
			batch = resp.AppendCommand(batch, "NOSUCH", fmt.Sprint(i))
		}
	}
	sent := make(chan error, 1)
	go func() { _, err := c.nc.Write(batch); sent <- err }()
	for i := range n {
		want := ""
		switch i % 4 {
		case 0:
			want = "+OK\r\n"
		case 1:
			want = bulkReply(fmt.Sprint(i - 1))
		case 2:
			want = bulkReply(fmt.Sprintf("inline-%d", i))
		case 3:
			want = fmt.Sprintf("-ERR unknown command 'NOSUCH', with args beginning with: '%d' \r\n", i)
		}
		c.wantReply(want)
	}
	must(t, <-sent)
}

func TestLargeValues(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	for _, size := range []int{100_000, 300_000, 1_300_000} {
		value := string(payload(size, size))
		key, id := fmt.Sprintf("s:l%d:k", size), fmt.Sprintf("any/l%d", size)
		c.want("+OK\r\n", "SET", key, value)
		c.want(":1\r\n", "HSET", fmt.Sprintf("s:l%d:h", size), "big\xff", value)
		for _, evicted := range []bool{false, true} {
			if evicted {
				e.evict(id)
			}
			if c.ask("GET", key) != bulkReply(value) || c.ask("HGET", fmt.Sprintf("s:l%d:h", size), "big\xff") != bulkReply(value) {
				t.Errorf("%d bytes differ, evicted %t", size, evicted)
			}
		}
	}
}

// Every value carries its owner, and every client reads its own and others': no reply may reach the wrong one.
func TestNoForeignReplies(t *testing.T) {
	e := newEnv(t, smallBudget(6<<20)) // sessions come and go meanwhile
	const clients, rounds = 60, 120
	var wg sync.WaitGroup
	for i := range clients {
		c := e.wire()
		wg.Go(func() {
			for n := range rounds {
				key, value := fmt.Sprintf("s:own%d:k%d", i, n%5), fmt.Sprintf("%d/%d/%s", i, n, strings.Repeat("x", (i*n)%5000))
				batch := resp.AppendCommand(nil, "SET", key, value)
				batch = resp.AppendCommand(batch, "GET", key)
				batch = resp.AppendCommand(batch, "ECHO", value)
				batch = resp.AppendCommand(batch, "STRLEN", key)
				if _, err := c.nc.Write(batch); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				for _, want := range []string{"+OK\r\n", bulkReply(value), bulkReply(value), fmt.Sprintf(":%d\r\n", len(value))} {
					if got, err := c.frame(); err != nil || got != want {
						t.Errorf("client %d, round %d: %.100q, %v, want %.100q", i, n, got, err, want)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// A client that sends what is no RESP gets Redis's error and is closed; what it had sent before is answered, and nobody else
// notices.
func TestMalformedFrames(t *testing.T) {
	e := newEnv(t, nil)
	bystander, blocked := e.wire(), e.wire()
	blocked.send("BLPOP", "s:q:l", "0")
	e.waitBlocked(1)
	for _, bad := range []string{
		"*1\r\n$9223372036854775807\r\n", "*2147483648\r\n", "*1\r\n$-5\r\n", "*1\r\n+PING\r\n", "*x\r\n", "*1\r\n$x\r\n", "\"unbalanced\r\n",
		"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n:5\r\n", strings.Repeat("a", 70_000),
	} {
		want := malformed(t, e.redis.Addr(), bad)
		got := malformed(t, e.server.Addr().String(), bad)
		if got != want {
			t.Errorf("%.60q: %q, want %q", bad, got, want)
		}
		bystander.want("+OK\r\n", "SET", "s:by:k", "v")
		bystander.want("$1\r\nv\r\n", "GET", "s:by:k")
	}
	bystander.want(":1\r\n", "RPUSH", "s:q:l", "x")
	blocked.wantReply(bulksReply("s:q:l", "x"))
}

// malformed sends a good command and a bad frame, and returns all that comes until the server closes.
func malformed(t *testing.T, addr, bad string) string {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	must(t, err)
	defer nc.Close()
	must(t, nc.SetDeadline(time.Now().Add(wirePatience)))
	_, err = io.WriteString(nc, "*1\r\n$4\r\nPING\r\n"+bad)
	must(t, err)
	all, _ := io.ReadAll(nc) // a reset instead of an end is as good
	return string(all)
}

func TestDeniedCommands(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	c.want("+OK\r\n", "SET", "s:a:k", "v")
	c.want("+OK\r\n", "SET", "outside", "v")
	e.settled()
	for _, call := range []string{
		"SHUTDOWN NOSAVE", "DEBUG SLEEP 0", "CONFIG SET maxmemory 1", "CONFIG REWRITE", "REPLICAOF 1.2.3.4 5", "SLAVEOF NO ONE", "MIGRATE h 1 k 0 1",
		"RESTORE s:b:k 0 x", "SYNC", "PSYNC ? -1", "ACL SETUSER x", "MODULE LOAD /x.so", "MONITOR", "CLUSTER INFO", "save", "flushall", "FLUSHALL ASYNC",
		"FLUSHDB", "SWAPDB 0 1",
	} {
		c.wantPrefix("-NOPERM credproxy: "+strings.ToUpper(strings.Fields(call)[0]), strings.Fields(call)...)
	}
	c.want("+OK\r\n", "MULTI")
	c.wantPrefix("-NOPERM credproxy: CONFIG SET", "CONFIG", "SET", "maxmemory", "1")
	c.want("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")
	c.want("+OK\r\n", "MULTI")
	c.wantPrefix("-ERR credproxy: FLUSHALL", "FLUSHALL")
	c.want("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")
	c.wantPrefix("*2\r\n$9\r\nmaxmemory\r\n", "CONFIG", "GET", "maxmemory")
	c.want("*0\r\n", "MODULE", "LIST") // graphical clients ask for it
	c.want("*2\r\n$1\r\nv\r\n$1\r\nv\r\n", "MGET", "s:a:k", "outside")
}

func TestNothingDenied(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Deny = nil })
	c := e.wire()
	c.want("+OK\r\n", "CONFIG", "SET", "hz", "11")
	c.want("*0\r\n", "MODULE", "LIST")
}

// What is flushed comes back neither from Postgres nor with the next proxy.
func TestFlushes(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Flush = proxy.FlushAll })
	c, other := e.wire(), e.wire()
	other.want("+OK\r\n", "SELECT", "3")
	fill := func() {
		fillSessions(c, "f", 20)
		fillSessions(other, "g", 20)
		e.admin("SYNC")
		for i := range 10 {
			e.evict(fmt.Sprintf("any/f%d", i))
			e.evict(fmt.Sprintf("any@3/g%d", i))
		}
		c.want("+OK\r\n", "SET", "s:f15:unsaved", "v")
	}
	gone := func(c *wire, prefix string) {
		t.Helper()
		c.want(":0\r\n", "DBSIZE")
		c.want("*0\r\n", "KEYS", "*")
		for i := range 20 {
			c.want("$-1\r\n", "GET", fmt.Sprintf("s:%s%d:k", prefix, i))
		}
		c.want("$-1\r\n", "GET", "s:f15:unsaved")
	}
	fill()
	c.want("+OK\r\n", "FLUSHDB")
	gone(c, "f")
	wantSessions(other, "g", 20)
	fill()
	c.want("+OK\r\n", "FLUSHALL")
	gone(c, "f")
	gone(other, "g")
	c.want("+OK\r\n", "SET", "s:f3:k", "after the flush")
	e.stop()
	e.start()
	c = e.wire()
	c.want(bulksReply("s:f3:k"), "KEYS", "*")
	e.evict("any/f3")
	c.want(bulkReply("after the flush"), "GET", "s:f3:k")
	if keys := e.direct.Keys(context.Background(), "s:*").Val(); len(keys) != 1 {
		t.Errorf("Redis has %v", keys)
	}
}

func TestSwapDB(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Flush = proxy.FlushAll })
	c, other := e.wire(), e.wire()
	other.want("+OK\r\n", "SELECT", "3")
	fillSessions(c, "zero", 6)
	fillSessions(other, "three", 6)
	e.admin("SYNC")
	for i := range 3 {
		e.evict(fmt.Sprintf("any/zero%d", i))
		e.evict(fmt.Sprintf("any@3/three%d", i))
	}
	c.want("+OK\r\n", "SWAPDB", "0", "3")
	wantSessions(c, "three", 6)
	wantSessions(other, "zero", 6)
	c.want("$-1\r\n", "GET", "s:zero0:k")
	c.want("$-1\r\n", "GET", "s:zero5:k")
	other.want("$-1\r\n", "GET", "s:three1:k")
}
