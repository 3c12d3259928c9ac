package proxy

import (
	"cmp"
	"fmt"
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
	line := fmt.Sprintf("id=%d addr=%s laddr=%s fd=0 name=%s age=%d idle=%d flags=%s db=%d sub=%d psub=0 ssub=%d multi=%d "+
		"qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=%s user=%s redir=-1 resp=%d",
		c.id, address(c.conn.RemoteAddr().String()), address(c.conn.LocalAddr().String()), i.name, int(now.Sub(c.created).Seconds()),
		int(now.Sub(i.lastAt).Seconds()), c.flags(&i), i.db, c.subs.Load(), c.shards.Load(), i.multi, c.lastCommand(), i.user, i.proto)
	if c.s.greeting.atLeast(7, 2) {
		line += fmt.Sprintf(" lib-name=%s lib-ver=%s", i.libName, i.libVer)
	}
	return line
}

// flags are the letters that Redis has for what the client is doing, in Redis's order.
func (c *client) flags(i *clientInfo) string {
	flags := ""
	for _, f := range []struct {
		letter string
		on     bool
	}{{"O", i.monitor}, {"P", c.subscribed()}, {"x", i.multi >= 0}, {"b", i.blockedOn != 0}, {"t", i.tracking}} {
		if f.on {
			flags += f.letter
		}
	}
	return cmp.Or(flags, "N")
}

func (c *client) lastCommand() string {
	if cmd := c.last.Load(); cmd != nil {
		return strings.ToLower(cmd.Name)
	}
	return "NULL"
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

// noClient is a number that no client will ever have.
const noClient = "9223372036854775807"

// cmdClientList asks Redis whether the user may, and what is wrong with arguments that it would not take.
func (c *client) cmdClientList(_ *keyspace.Command, args [][]byte, raw []byte) {
	keep, ok := func(*client) bool { return true }, true
	if len(args) > 2 {
		keep, ok = listFilter(args[2:])
	}
	if !ok {
		c.pass(raw)
		return
	}
	if c.refuses("CLIENT", "LIST", "ID", noClient) {
		return
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

// refuses asks Redis a command that changes nothing. An error is the answer to the client's.
func (c *client) refuses(args ...string) bool {
	if c.capture != nil {
		return false // in a transaction Redis has been asked
	}
	reply, err := c.roundTrip(command(args...))
	if err != nil {
		reply = errorReply(nil, textUnavailable(err))
	}
	if !resp.IsError(reply) {
		return false
	}
	c.emit(reply)
	return true
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
			n, ok := number(a)
			if !ok {
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
	probe := []string{"CLIENT", "KILL", "ID", noClient} // may the user?
	for i := 2; i+1 < len(args); i += 2 {
		if name := strings.ToUpper(string(args[i])); name == "USER" || name == "TYPE" {
			probe = append(probe, name, string(args[i+1])) // and is there such a user, such a type?
		}
	}
	match, skipMe, problem := killFilter(args[2:])
	if len(args) > 3 && problem != "" {
		probe = probe[:4]
	}
	if c.refuses(probe...) {
		return
	}
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
	if problem != "" {
		c.reply(errorReply(nil, problem))
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

func killFilter(args [][]byte) (match func(*client) bool, skipMe bool, problem string) {
	skipMe = true
	if len(args)%2 != 0 {
		problem = textSyntax
	}
	var tests []func(*client) bool
	for ; len(args) >= 2 && problem == ""; args = args[2:] {
		value := string(args[1])
		switch strings.ToUpper(string(args[0])) {
		case "ID":
			n, ok := number(args[1])
			if !ok || n < 1 {
				problem = textKillID
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
			if filter, ok := listFilter(args[:2]); ok { // otherwise Redis refuses it
				tests = append(tests, filter)
			}
		case "SKIPME":
			if skipMe = strings.EqualFold(value, "yes"); !skipMe && !strings.EqualFold(value, "no") {
				problem = textSyntax
			}
		default:
			problem = textSyntax
		}
	}
	return func(o *client) bool {
		for _, t := range tests {
			if !t(o) {
				return false
			}
		}
		return true
	}, skipMe, problem
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
