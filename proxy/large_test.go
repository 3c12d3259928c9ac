package proxy_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"credproxy/internal/resp"
	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// largeValue is one that is passed on in parts.
var largeValue = strings.Repeat("0123456789abcdef", 3<<20/16)

// TestLargeCommandsAnswerAsRedis: commands with large values, alone and in a pipeline, in transactions and refused ones, get Redis's
// replies and leave what they leave in Redis, also as the first touch of an evicted session.
func TestLargeCommandsAnswerAsRedis(t *testing.T) {
	e := newEnv(t, nil)
	bare := testenv.Redis(t)
	v, w := largeValue[:5<<18], largeValue[:9<<17]
	script := [][]string{
		{"SET", "s:a:k", v}, {"STRLEN", "s:a:k"}, {"SET", "s:a:k", w, "XX", "GET", "EX", "1000"}, {"SET", "s:a:k", v, "NX"}, {"PERSIST", "s:a:k"},
		{"APPEND", "s:a:k", v}, {"GETSET", "s:a:k", v}, {"SETRANGE", "s:a:k", "100", w}, {"GET", "s:a:k"}, {"SETNX", "s:a:k", v},
		{"SET", "s:a:k", v, "NONSENSE"}, {"SET", "s:a:k", v, "EX"}, {"GETSET", "s:a:k"}, {"GETSET", "s:a:k", v, "more"}, {"SETEX", "s:a:e", "0", v},
		{"SETEX", "s:a:e", "1000", v}, {"PSETEX", "s:a:e", "1000000", w}, {"SET", "s:a:gone", v, "PXAT", "1"}, {"EXISTS", "s:a:gone"},
		{"HSET", "s:a:h", "f", v, "g", w, "h", "1"}, {"HGET", "s:a:h", "g"}, {"HSET", "s:a:h", "f", v, "g"}, {"HSETNX", "s:a:h", "f", v},
		{"HMSET", "s:a:h", "i", v}, {"HLEN", "s:a:h"}, {"RPUSH", "s:a:l", "x", v, w}, {"LPUSH", "s:a:l", v}, {"LPUSHX", "s:a:none", v}, {"LLEN", "s:a:l"},
		{"RPUSH", "s:a:k", v}, {"SADD", "s:a:s", v, "x", v}, {"SADD", "s:a:s", v}, {"SCARD", "s:a:s"}, {"PUBLISH", "channel", v},
		{"SET", "none", v}, {"GET", "none"}, {"MSET", "s:a:m", v, "s:b:m", w}, {"MGET", "s:a:m", "s:b:m"}, {"ECHO", v}, {"EVAL", "return #ARGV[1]", "0", v},
		{"MULTI"}, {"SET", "s:a:k", w}, {"SET", "s:a:k"}, {"EXEC"}, {"MULTI"}, {"SET", "s:a:k", v}, {"STRLEN", "s:a:k"}, {"EXEC"},
		{"WATCH", "s:a:k"}, {"SET", "s:a:k", v}, {"MULTI"}, {"PING"}, {"EXEC"}, {"CLIENT", "REPLY", "SKIP"}, {"STRLEN", "s:a:k"},
		{"MSET", "s:a:m", v, "s:b:m"}, {"MSET", "s:a:m", "x", "s:b:m", v, "s:a:n", "", "other", w}, {"MGET", "s:a:m", "s:a:n", "other"},
		{"MSETNX", "s:a:m", v, "s:c:m", v}, {"MSETNX", "s:d:m", v, "s:c:m", v}, {"EXISTS", "s:c:m", "s:d:m"},
		{"EVAL", "redis.call('SET', KEYS[1], ARGV[1] .. 'x') return redis.call('STRLEN', KEYS[2])", "2", "s:a:k", "s:b:m", v}, {"STRLEN", "s:a:k"},
		{"EVAL", "redis.call('SET', KEYS[1], 'x') return redis.call('NOSUCH')", "1", "s:a:k", v}, {"GET", "s:a:k"},
		{"EVAL", "return 1", "3", "s:a:k", v}, {"EVAL", "return 1", "x", v}, {"EVALSHA", "0", "0", v}, {"EVAL_RO", "return redis.call('GET', KEYS[1])", "1", "s:a:m", v},
		{"XADD", "s:a:x", "1-1", "f", v, "g", "1"}, {"XADD", "s:a:x", "1-1", "f", v}, {"XLEN", "s:a:x"}, {"ZADD", "s:a:z", "1", v, "2", "x"}, {"ZSCORE", "s:a:z", v},
		{"LSET", "s:a:l", "0", w}, {"LSET", "s:a:l", "99", w}, {"LINSERT", "s:a:l", "BEFORE", "x", v}, {"LINDEX", "s:a:l", "0"}, {"PFADD", "s:a:p", v, "x"}, {"PFCOUNT", "s:a:p"},
		{"MSET", "credproxy", v, "s:a:m", "x"}, {"MULTI"}, {"GET", "s:a:l"}, {"GET", "s:b:m"}, {"LRANGE", "s:a:l", "0", "-1"}, {"SET", "s:a:k", "y"}, {"EXEC"}, {"GET", "s:a:k"},
		{"MULTI"}, {"SELECT", "1"}, {"SET", "s:a:k", "in 1"}, {"SELECT", "0"}, {"GET", "s:b:m"}, {"EXEC"}, {"GET", "s:a:k"},
		{"NOSUCH", v}, {"SET", "s:a:f", v}, {"SET", strings.Repeat("n", 5<<18), "v"},
	}
	for _, proto := range []string{"2", "3"} {
		t.Run("RESP"+proto, func(t *testing.T) {
			must(t, e.direct.FlushAll(context.Background()).Err())
			must(t, redisClient(t, bare.Addr(), "").FlushAll(context.Background()).Err())
			e.admin("CLEAR")
			through, direct := e.wire(), dialWire(t, bare.Addr())
			for _, c := range []*wire{through, direct} {
				c.send("HELLO", proto)
				c.reply()
			}
			for i, args := range script {
				batch, replies := [][]string{args, {"ECHO", fmt.Sprint("behind ", i)}}, 2
				if args[0] == "CLIENT" { // swallows the next command's reply, too
					batch, replies = [][]string{args, {"SET", "s:a:k", w}, {"ECHO", "behind"}}, 1
				}
				through.writeAll(batch)
				direct.writeAll(batch)
				for range replies {
					got, want := through.next(), direct.next()
					if got != want {
						t.Fatalf("%.40q: %.100q, want %.100q", args[:min(2, len(args))], got, want)
					}
				}
				if i%8 == 7 && !slices.ContainsFunc(script[max(0, i-6):i+1], func(a []string) bool { return a[0] == "MULTI" || a[0] == "WATCH" }) {
					e.admin("SYNC")
					e.client.Do(context.Background(), "CREDPROXY", "EVICT", "any/a") // not if it is busy
				}
			}
		})
	}
}

// TestLargeCommandCutOff: what a client does not send to its end has never been there, whoever ends it, and what is none is refused
// in Redis's words. The session can be evicted afterwards.
func TestLargeCommandCutOff(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	c.want("+OK\r\n", "SET", "s:a:k", "before")
	e.settled()
	e.evict("any/a")
	const options = "$2\r\nEX\r\n$3\r\n100\r\n"
	set := strings.TrimSuffix(string(resp.AppendCommand(nil, "SET", "s:a:k", largeValue, "EX", "100")), options)
	half, rest := set[:2<<20], set[2<<20:]
	for name, end := range map[string]func(*wire){
		"hangs up":    func(c *wire) { must(t, c.nc.Close()) },
		"half closed": func(c *wire) { must(t, c.nc.(*net.TCPConn).CloseWrite()); c.wantClosed() },
		"killed": func(c *wire) {
			must(t, e.client.Do(context.Background(), "CLIENT", "KILL", "ADDR", c.nc.LocalAddr().String()).Err())
		},
		"bad frame": func(c *wire) {
			c.write(rest + "xyz\r\n")
			c.wantReply("-ERR Protocol error: expected '$', got 'x'\r\n")
			c.wantClosed()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := e.wire()
			c.t = t
			c.write(half)
			e.waitState("any/a", "resident") // it has passed the gate
			end(c)
			e.wire().want(bulkReply("before"), "GET", "s:a:k")
			testenv.Eventually(t, wirePatience, "nobody is busy with the session", func() bool {
				n, err := e.client.Do(context.Background(), "CREDPROXY", "EVICT", "any/a").Int64()
				return err == nil && n == 1
			})
		})
	}
}

// TestLargeCommandWithoutRedis: a client whose Redis goes while it sends is told when it has sent everything, and goes on.
func TestLargeCommandWithoutRedis(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	set := string(resp.AppendCommand(nil, "SET", "k", largeValue))
	c.write(set[:2<<20])
	testenv.Eventually(t, wirePatience, "the command is on its way", func() bool {
		list := e.direct.ClientList(context.Background()).Val()
		for _, line := range strings.Split(list, "\n") {
			if !strings.Contains(line, " qbuf=0 ") && !strings.Contains(line, "cmd=client") && strings.Contains(line, " argv-mem=") && hasLargeQuery(line) {
				id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " ")
				return e.direct.Do(context.Background(), "CLIENT", "KILL", "ID", id).Err() == nil
			}
		}
		return false
	})
	c.write(set[2<<20:])
	if reply := c.reply(); !strings.HasPrefix(reply, "-ERR credproxy: ") {
		t.Fatalf("SET: %q", reply)
	}
	c.want("$-1\r\n", "GET", "k")
	c.want("+OK\r\n", "SET", "k", largeValue)
}

// hasLargeQuery finds, in a line of CLIENT LIST, whether a command is being read that has large arguments.
func hasLargeQuery(line string) bool {
	var total int
	if _, rest, ok := strings.Cut(line, " tot-mem="); ok {
		fmt.Sscan(rest, &total)
	}
	return total > 1<<20
}

// TestManyLargeCommands: a client for whom there is no place in the middle of a large command is served all the same.
func TestManyLargeCommands(t *testing.T) {
	e := newEnv(t, nil)
	e.server.TakeStreams(proxy.MaxStreams - 1)
	set := string(resp.AppendCommand(nil, "SET", "k", largeValue))
	first, second := e.wire(), e.wire()
	for _, c := range []*wire{first, second} {
		c.write(set[:2<<20])
	}
	for _, c := range []*wire{second, first} {
		c.write(set[2<<20:])
		c.wantReply("+OK\r\n")
		c.want(fmt.Sprintf(":%d\r\n", len(largeValue)), "STRLEN", "k")
	}
}

// TestLateCommandCutOff: a large command whose keys come at any place passes no gate before all of it has come, and leaves nothing if it never
// does.
func TestLateCommandCutOff(t *testing.T) {
	e := newEnv(t, nil)
	e.wire().want("+OK\r\n", "SET", "s:a:k", "before")
	e.evictLarge("any/a")
	mset := string(resp.AppendCommand(nil, "MSET", "other", largeValue, "s:a:k", largeValue))
	for name, end := range map[string]func(*wire){
		"hangs up": func(c *wire) { must(t, c.nc.Close()) },
		"bad frame": func(c *wire) {
			c.write("xyz\r\n")
			c.wantReply("-ERR Protocol error: expected '$', got 'x'\r\n")
			c.wantClosed()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := e.wire()
			c.t = t
			cut := len(mset) / 2
			if name == "bad frame" {
				cut = strings.Index(mset, "$5\r\ns:a:k")
			}
			c.write(mset[:cut])
			testenv.Eventually(t, wirePatience, "the command is on its way", func() bool {
				return slices.ContainsFunc(strings.Split(e.direct.ClientList(context.Background()).Val(), "\n"), hasLargeQuery)
			})
			end(c)
			testenv.Eventually(t, wirePatience, "Redis has forgotten the command", func() bool {
				return !slices.ContainsFunc(strings.Split(e.direct.ClientList(context.Background()).Val(), "\n"), hasLargeQuery)
			})
			if n := e.direct.Exists(context.Background(), "other", "s:a:k").Val(); n != 0 {
				t.Errorf("%d keys are in Redis", n)
			}
		})
	}
	e.wire().want(bulkReply("before"), "GET", "s:a:k")
}

// TestLateCommandIsMarked: a process that takes over finds the keys that such a command has written.
func TestLateCommandIsMarked(t *testing.T) {
	e := newEnv(t, func(c *proxy.Config) { c.Sync.Interval = time.Hour })
	c := e.wire()
	c.want("+OK\r\n", "MSET", "s:a:k", largeValue, "s:b:k", "x", "other", "y")
	c.want(":1\r\n", "EVAL", "redis.call('SET', KEYS[1], ARGV[1]) return 1", "1", "s:c:k", largeValue)
	marks := e.direct.HKeys(context.Background(), "credproxy:2:dirty").Val()
	slices.Sort(marks)
	if want := []string{"s:a:k", "s:b:k", "s:c:k"}; !slices.Equal(marks, want) {
		t.Errorf("marked are %q, want %q", marks, want)
	}
}
