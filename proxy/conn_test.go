package proxy_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// idPattern is what differs between two servers in a greeting: the client's number.
var idPattern = regexp.MustCompile(`id\r\n:\d+\r\n`)

func withoutID(reply string) string { return idPattern.ReplaceAllString(reply, "id\r\n:N\r\n") }

// connectionScripts are what clients say about their connection; every line is a command on the same connection. The replies must
// be those of Redis, byte for byte.
var connectionScripts = map[string][]string{
	"greeting":         {"HELLO", "HELLO 2", "HELLO 3", "PING", "HELLO", "HELLO 2", "PING"},
	"greeting options": {"HELLO 3 SETNAME bot", "CLIENT GETNAME", "HELLO 2 AUTH default any SETNAME other", "CLIENT GETNAME"},
	"bad greetings": {"HELLO 1", "HELLO 4", "HELLO x", "HELLO 3 NOPE", "HELLO 3 AUTH a", "HELLO 3 SETNAME", "HELLO 3 AUTH nobody pw",
		"HELLO 99999999999999999999", "CLIENT GETNAME", "GET k"},
	"names": {"CLIENT GETNAME", "CLIENT SETNAME a", "CLIENT GETNAME", "CLIENT SETNAME \x01", "CLIENT GETNAME", "CLIENT SETNAME",
		"CLIENT GETNAME x"},
	"databases": {"SELECT 3", "SET k v", "SELECT 0", "GET k", "SELECT 16", "SELECT -1", "SELECT x", "SELECT", "SELECT 99999999999",
		"SELECT 3", "GET k", "DEL k"},
	"no password set": {"AUTH x", "AUTH default x", "AUTH nobody x", "AUTH", "AUTH a b c"},
	"reset":           {"SELECT 2", "CLIENT SETNAME n", "HELLO 3", "MULTI", "RESET", "CLIENT GETNAME", "EXEC", "SET s:reset v", "PING"},
	"quit":            {"SET k v", "QUIT"},
	"transactions": {"MULTI", "MULTI", "SET k 1", "INCR k", "WATCH k", "EXEC", "EXEC", "DISCARD", "MULTI", "DISCARD", "DISCARD", "UNWATCH",
		"MULTI", "NOSUCHCOMMAND", "SET k 2", "EXEC", "GET k", "MULTI", "SET", "EXEC", "MULTI", "LPUSH k x", "GET k", "EXEC", "MULTI", "EXEC",
		"EXEC x", "MULTI x", "DISCARD x", "WATCH"},
	"transaction on a session": {"SET s:a:k 1", "WATCH s:a:k", "MULTI", "INCR s:a:k", "GET s:a:k", "DEL s:a:k", "EXEC", "GET s:a:k"},
	"select in a transaction":  {"MULTI", "SELECT 5", "SET k five", "EXEC", "GET k", "SELECT 0", "GET k", "MULTI", "SELECT 5", "DISCARD", "GET k"},
	"unknown commands":         {"NOSUCH", "NOSUCH a b", "CLIENT NOSUCH", "CONFIG NOSUCH", "OBJECT NOSUCH k", "GET", "GET a b", "CLIENT"},
	"subscriber's limits":      {"SUBSCRIBE a", "GET k", "SET k v", "PING", "PING text", "MULTI", "UNSUBSCRIBE a", "GET k"},
}

func TestConnectionCommandsAnswerAsRedisDoes(t *testing.T) {
	e := newEnv(t, nil)
	for name, script := range connectionScripts {
		t.Run(name, func(t *testing.T) {
			must(t, e.direct.FlushAll(context.Background()).Err())
			want := replay(dialWire(t, e.redis.Addr()), script)
			must(t, e.direct.FlushAll(context.Background()).Err())
			got := replay(dialWire(t, e.server.Addr().String()), script)
			for i, line := range script {
				if got[i] != want[i] {
					t.Errorf("%q: %q, want %q", line, got[i], want[i])
				}
			}
		})
	}
}

// replay sends the commands one after the other and returns the replies.
func replay(c *wire, script []string) (replies []string) {
	for _, line := range script {
		reply, err := c.do(strings.Fields(line)...)
		if err != nil {
			reply = "connection closed"
		}
		replies = append(replies, withoutID(reply))
	}
	return replies
}

func TestAuthentication(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Upstream.Password = "secret" }, "--requirepass", "secret")
	must(t, e.direct.ACLSetUser(context.Background(), "bot", "on", ">botpw", "~s:*", "+@all", "-@dangerous").Err())
	must(t, e.direct.ACLSetUser(context.Background(), "asleep", "off", ">pw").Err())
	for name, script := range map[string][]string{
		"nothing before AUTH": {"GET k", "SET k v", "MULTI", "EXEC", "DISCARD", "WATCH k", "SUBSCRIBE a", "CLIENT ID", "SELECT 1", "PING", "NOSUCH", "INFO",
			"CLIENT SETNAME x", "GET", "HELLO 3", "AUTH wrong", "GET k", "AUTH secret", "GET k"},
		"wrong passwords": {"AUTH", "AUTH a b c", "AUTH default wrong", "AUTH nobody secret", "AUTH asleep pw", "HELLO 3 AUTH default wrong", "PING"},
		"with HELLO":      {"HELLO 3 AUTH default secret", "GET k", "HELLO 3 AUTH bot wrong", "GET k", "HELLO 2 AUTH bot botpw", "GET k", "GET s:a:k"},
		"a user's rights": {"AUTH bot botpw", "SET s:a:k v", "GET s:a:k", "SET other v", "GET other", "KEYS *", "ACL WHOAMI", "AUTH secret", "ACL WHOAMI",
			"DEL s:a:k", "RESET", "GET s:a:k"},
	} {
		t.Run(name, func(t *testing.T) {
			want := replay(dialWire(t, e.redis.Addr()), script)
			got := replay(dialWire(t, e.server.Addr().String()), script)
			for i, line := range script {
				if got[i] != want[i] {
					t.Errorf("%q: %q, want %q", line, got[i], want[i])
				}
			}
		})
	}
	c := e.wire()
	c.want("-NOAUTH Authentication required.\r\n", "CREDPROXY", "STATS")
	c.want("+OK\r\n", "AUTH", "bot", "botpw")
	c.want("+OK\r\n", "SET", "s:mine:k", "v") // its mark is written by the proxy, whatever the user may write
	e.admin("SYNC")
	e.evict("any/mine")
	c.want("$1\r\nv\r\n", "GET", "s:mine:k")
}

func TestClientListAndKill(t *testing.T) {
	e := newEnv(t, nil)
	a, b := e.wire(), e.wire()
	a.want("+OK\r\n", "CLIENT", "SETNAME", "alpha")
	b.want("+OK\r\n", "CLIENT", "SETNAME", "beta")
	b.want("+OK\r\n", "SELECT", "4")
	idOf := func(c *wire) string { return fmt.Sprint(parseReply(t, c.ask("CLIENT", "ID")).Int) }
	if idOf(a) == idOf(b) {
		t.Fatalf("two clients have the id %s", idOf(a))
	}
	lines := strings.Split(string(parseReply(t, a.ask("CLIENT", "LIST")).Str), "\n")
	line := func(name string) string {
		for _, l := range lines {
			if strings.Contains(l, " name="+name+" ") {
				return l
			}
		}
		return ""
	}
	if l := line("beta"); !strings.HasPrefix(l, "id="+idOf(b)+" addr="+b.nc.LocalAddr().String()+" ") || !strings.Contains(l, " db=4 ") {
		t.Errorf("CLIENT LIST: %q", lines)
	}
	if own := string(parseReply(t, a.ask("CLIENT", "INFO")).Str); !strings.HasPrefix(own, "id="+idOf(a)+" ") || !strings.Contains(own, " name=alpha ") {
		t.Errorf("CLIENT INFO: %q", own)
	}
	if only := string(parseReply(t, a.ask("CLIENT", "LIST", "ID", idOf(b))).Str); strings.Count(only, "\n") != 1 || !strings.Contains(only, "beta") {
		t.Errorf("CLIENT LIST ID: %q", only)
	}
	a.want("-ERR No such client\r\n", "CLIENT", "KILL", "1.2.3.4:5")
	a.want("-ERR syntax error\r\n", "CLIENT", "KILL", "NOSUCH", "x")
	a.want(":0\r\n", "CLIENT", "KILL", "ID", "999999")
	a.want(":1\r\n", "CLIENT", "KILL", "ID", idOf(b))
	b.wantClosed()
	c := e.wire()
	c.want("+PONG\r\n", "PING")
	a.want("+OK\r\n", "CLIENT", "KILL", c.nc.LocalAddr().String())
	c.wantClosed()
	a.want("+OK\r\n", "CLIENT", "KILL", a.nc.LocalAddr().String())
	a.wantClosed()
	testenv.Eventually(t, wirePatience, "clients gone", func() bool { return e.stat("clients") == 1 })
}

func TestClientReply(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	c.send("CLIENT", "REPLY", "OFF")
	c.send("SET", "s:a:k", "silent")
	c.send("GET", "s:a:k")
	c.send("NOSUCH")
	c.want("+OK\r\n", "CLIENT", "REPLY", "ON")
	c.want("$6\r\nsilent\r\n", "GET", "s:a:k")
	c.send("CLIENT", "REPLY", "SKIP")
	c.send("SET", "s:a:k", "skipped")
	c.want("$7\r\nskipped\r\n", "GET", "s:a:k")
	c.want("-ERR syntax error\r\n", "CLIENT", "REPLY", "MAYBE")
}

// WATCH sees what others do through the connection that they share, and what the side door does.
func TestWatchAcrossClients(t *testing.T) {
	e := newEnv(t, nil)
	a, b := e.wire(), e.wire()
	for _, test := range []struct {
		what   string
		change func()
		reply  string
	}{
		{"nothing", func() {}, "*1\r\n+OK\r\n"},
		{"another client's write", func() { b.want(":2\r\n", "INCR", "s:w:k") }, "*-1\r\n"},
		{"another client's write of another key", func() { b.want("+OK\r\n", "SET", "s:w:other", "x") }, "*1\r\n+OK\r\n"},
		{"a write of the watching client", func() { a.want(":2\r\n", "INCR", "s:w:k") }, "*-1\r\n"},
		{"another client's removal", func() { b.want(":1\r\n", "DEL", "s:w:k") }, "*-1\r\n"},
		{"the side door", func() { must(t, e.direct.Set(context.Background(), "s:w:k", "7", 0).Err()) }, "*-1\r\n"},
		{"UNWATCH before the change", func() { a.want("+OK\r\n", "UNWATCH"); b.want(":2\r\n", "INCR", "s:w:k") }, "*1\r\n+OK\r\n"},
	} {
		b.want("+OK\r\n", "SET", "s:w:k", "1")
		a.want("+OK\r\n", "WATCH", "s:w:k")
		test.change()
		a.want("+OK\r\n", "MULTI")
		a.want("+QUEUED\r\n", "SET", "s:w:k", "by EXEC")
		if got := a.ask("EXEC"); got != test.reply {
			t.Errorf("%s: EXEC says %q, want %q", test.what, got, test.reply)
		}
	}
	// A watch ends with its client: nobody inherits it.
	b.want("+OK\r\n", "WATCH", "s:w:k")
	must(t, b.nc.Close())
	a.want("+OK\r\n", "SET", "s:w:k", "x")
	for range 5 {
		c := e.wire()
		c.want("+OK\r\n", "MULTI")
		c.want("+QUEUED\r\n", "GET", "s:w:k")
		c.want("*1\r\n$1\r\nx\r\n", "EXEC")
	}
}
