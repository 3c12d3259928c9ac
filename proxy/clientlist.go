package proxy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"credproxy/internal/resp"
	"credproxy/keyspace"
)

// describe renders a client as CLIENT LIST of Redis 7.0 does. What only Redis could know of its own connection (buffers,
// memory, file descriptor) is 0.
func (c *client) describe(now time.Time) string {
	c.mu.Lock()
	i := c.info
	c.mu.Unlock()
	flags := "N"
	if c.subs.Load() > 0 {
		flags = "P"
	}
	line := fmt.Sprintf("id=%d addr=%s laddr=%s fd=0 name=%s age=%d idle=%d flags=%s db=%d sub=%d psub=0 ssub=%d multi=%d "+
		"qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=%s user=%s redir=-1 resp=%d",
		c.id, address(c.conn.RemoteAddr().String()), address(c.conn.LocalAddr().String()), i.name, int(now.Sub(c.created).Seconds()),
		int(now.Sub(i.lastAt).Seconds()), flags, i.db, c.subs.Load(), c.shards.Load(), i.multi, "client", i.user, i.proto)
	if c.s.greeting.atLeast(7, 2) {
		line += fmt.Sprintf(" lib-name=%s lib-ver=%s", i.libName, i.libVer)
	}
	return line
}

// address stands in for the empty address of a Unix socket's peer.
func address(a string) string {
	if a == "" || a == "@" {
		return "unixsocket:0"
	}
	return a
}

func (c *client) cmdClientInfo(*keyspace.Command, [][]byte, []byte) {
	c.reply(resp.AppendVerbatim(nil, c.ident.Proto, "txt", c.describe(time.Now())+"\n"))
}

func (c *client) cmdClientList(_ *keyspace.Command, args [][]byte, _ []byte) {
	keep := func(*client) bool { return true }
	if len(args) > 2 {
		var ok bool
		if keep, ok = listFilter(args[2:]); !ok {
			c.reply(errorReply(nil, textSyntax))
			return
		}
	}
	var b strings.Builder
	now := time.Now()
	for _, other := range c.s.clients.list() {
		if keep(other) {
			b.WriteString(other.describe(now))
			b.WriteByte('\n')
		}
	}
	c.reply(resp.AppendVerbatim(nil, c.ident.Proto, "txt", b.String()))
}

// listFilter is TYPE t | ID id...
func listFilter(args [][]byte) (func(*client) bool, bool) {
	switch strings.ToUpper(string(args[0])) {
	case "TYPE":
		if len(args) != 2 {
			return nil, false
		}
		kind := strings.ToLower(string(args[1]))
		return func(o *client) bool {
			pubsub := o.subs.Load()+o.shards.Load() > 0
			return (kind == "pubsub" && pubsub) || (kind == "normal" && !pubsub)
		}, kind == "normal" || kind == "pubsub" || kind == "master" || kind == "replica"
	case "ID":
		ids := map[int64]bool{}
		for _, a := range args[1:] {
			n, err := strconv.ParseInt(string(a), 10, 64)
			if err != nil {
				return nil, false
			}
			ids[n] = true
		}
		return func(o *client) bool { return ids[o.id] }, len(ids) > 0
	}
	return nil, false
}

// cmdClientKill is CLIENT KILL addr | [ID n] [ADDR a] [LADDR a] [USER u] [TYPE t] [SKIPME y/n], among the proxy's clients.
func (c *client) cmdClientKill(_ *keyspace.Command, args [][]byte, _ []byte) {
	if len(args) == 3 {
		for _, o := range c.s.clients.list() {
			if o.conn.RemoteAddr().String() == string(args[2]) {
				c.kill(o)
				c.reply(replyOK)
				return
			}
		}
		c.reply(errorReply(nil, textNoSuchClient))
		return
	}
	match, skipMe, ok := killFilter(args[2:])
	if !ok {
		c.reply(errorReply(nil, textSyntax))
		return
	}
	n := int64(0)
	for _, o := range c.s.clients.list() {
		if match(o) && (o != c || !skipMe) {
			c.kill(o)
			n++
		}
	}
	c.reply(resp.AppendInt(nil, n))
}

func killFilter(args [][]byte) (match func(*client) bool, skipMe, ok bool) {
	skipMe = true
	var tests []func(*client) bool
	for ; len(args) >= 2; args = args[2:] {
		value := string(args[1])
		switch strings.ToUpper(string(args[0])) {
		case "ID":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return nil, false, false
			}
			tests = append(tests, func(o *client) bool { return o.id == n })
		case "ADDR":
			tests = append(tests, func(o *client) bool { return o.conn.RemoteAddr().String() == value })
		case "LADDR":
			tests = append(tests, func(o *client) bool { return o.conn.LocalAddr().String() == value })
		case "USER":
			tests = append(tests, func(o *client) bool {
				o.mu.Lock()
				defer o.mu.Unlock()
				return o.info.user == value
			})
		case "TYPE":
			filter, good := listFilter([][]byte{[]byte("TYPE"), args[1]})
			if !good {
				return nil, false, false
			}
			tests = append(tests, filter)
		case "SKIPME":
			skipMe = strings.EqualFold(value, "yes")
		default:
			return nil, false, false
		}
	}
	return func(o *client) bool {
		for _, t := range tests {
			if !t(o) {
				return false
			}
		}
		return true
	}, skipMe, len(args) == 0
}

// kill disconnects a client; the one that asks gets its reply first.
func (c *client) kill(o *client) {
	if o == c {
		c.quit = true
		return
	}
	o.cancel()
	o.conn.Close()
}
