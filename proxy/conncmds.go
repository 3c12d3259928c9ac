package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"credproxy/internal/resp"
	"credproxy/keyspace"
	"credproxy/proxy/upstream"
)

// Commands about the connection itself: they are answered here, since a client's connection is not Redis's.

var replyOK = []byte("+OK\r\n")

// loginTimeout bounds AUTH.
const loginTimeout = 10 * time.Second

// cmdAuth lets Redis judge the password, on a fresh connection.
func (c *client) cmdAuth(_ *keyspace.Command, args [][]byte, _ []byte) {
	if len(args) > 3 {
		c.reply(errorReply(nil, textSyntax))
		return
	}
	id := c.ident
	id.Auth, id.User, id.Password = true, "", string(args[len(args)-1])
	if len(args) == 3 {
		id.User = string(args[1])
	}
	if c.login(id) {
		c.reply(replyOK)
	}
}

// login moves the client to another identity; false: the refusal has been answered.
func (c *client) login(id upstream.Identity) bool {
	if c.stateful() {
		c.reply(errorReply(nil, "ERR credproxy: AUTH is not supported while a transaction, WATCH, a subscription or tracking is open"))
		return false
	}
	ctx, cancel := context.WithTimeout(c.ctx, loginTimeout)
	defer cancel()
	conn, err := c.s.upstream.Login(ctx, id)
	if err != nil {
		c.reply(errorReply(nil, loginText(err)))
		return false
	}
	c.s.upstream.Release(id, conn)
	c.ident = id
	c.setAuthed(true)
	c.mu.Lock()
	c.info.user = "default"
	if id.User != "" {
		c.info.user = id.User
	}
	c.mu.Unlock()
	return true
}

func loginText(err error) string {
	var refused *upstream.RefusedError
	if errors.As(err, &refused) {
		return refused.Reply
	}
	return textUnavailable(err)
}

func (c *client) setAuthed(on bool) {
	c.authed = on
	c.conn.SetAuthenticated(on)
}

// stateful reports whether the client has a connection of its own with state on it.
func (c *client) stateful() bool { return c.own != nil || c.tx != nil }

// cmdHello is HELLO [protover [AUTH user password] [SETNAME name]].
func (c *client) cmdHello(_ *keyspace.Command, args [][]byte, _ []byte) {
	id, name, problem := c.parseHello(args)
	if problem == "" && c.tx != nil {
		problem = textInMulti("HELLO")
	}
	if problem == "" && c.own != nil && id.Proto != c.ident.Proto {
		problem = "ERR credproxy: the protocol cannot change while WATCH, a subscription or tracking is open"
	}
	if problem != "" {
		c.reply(errorReply(nil, problem))
		return
	}
	if id.Auth && (id.User != c.ident.User || id.Password != c.ident.Password || !c.ident.Auth) {
		if !c.login(id) {
			return
		}
	}
	if !c.authed {
		c.reply(errorReply(nil, textHelloNoAuth(&c.s.greeting)))
		return
	}
	c.ident.Proto = id.Proto
	c.mu.Lock()
	c.info.proto = id.Proto
	if name != nil {
		c.info.name = string(name)
	}
	c.mu.Unlock()
	c.reply(c.helloReply())
}

func (c *client) parseHello(args [][]byte) (id upstream.Identity, name []byte, problem string) {
	id = c.ident
	if len(args) > 1 {
		n, err := strconv.Atoi(string(args[1]))
		if err != nil {
			return id, nil, textProtoNumber
		}
		if n < 2 || n > 3 {
			return id, nil, textNoProto
		}
		id.Proto = n
	}
	for i := 2; i < len(args); i++ {
		switch option := strings.ToUpper(string(args[i])); {
		case option == "AUTH" && i+2 < len(args):
			id.Auth, id.User, id.Password = true, string(args[i+1]), string(args[i+2])
			i += 2
		case option == "SETNAME" && i+1 < len(args):
			if name = args[i+1]; !validClientName(name) {
				return id, nil, textClientName
			}
			i++
		default:
			return id, nil, fmt.Sprintf("ERR Syntax error in HELLO option '%s'", args[i])
		}
	}
	return id, name, ""
}

// helloReply is Redis's own with the client's id here in place of the id there.
func (c *client) helloReply() []byte {
	raw := c.s.greeting.hello[c.ident.Proto]
	head, rest, ok := bytes.Cut(raw, []byte("$2\r\nid\r\n:"))
	if !ok {
		return raw
	}
	_, tail, _ := bytes.Cut(rest, []byte("\r\n"))
	reply := append(bytes.Clone(head), "$2\r\nid\r\n"...)
	return append(resp.AppendInt(reply, c.id), tail...)
}

func (c *client) cmdQuit(*keyspace.Command, [][]byte, []byte) {
	c.reply(replyOK)
	c.quit = true
}

func (c *client) cmdReset(*keyspace.Command, [][]byte, []byte) {
	c.dropState()
	c.monitor, c.tracking, c.muted, c.skip = false, false, false, 0
	c.subs.Store(0)
	c.shards.Store(0)
	c.ident = upstream.Identity{Proto: 2}
	c.setAuthed(!c.s.greeting.needsAuth.Load())
	c.mu.Lock()
	c.info.name, c.info.proto, c.info.db, c.info.user, c.info.multi = "", 2, 0, "default", -1
	c.mu.Unlock()
	c.reply([]byte("+RESET\r\n"))
}

func (c *client) cmdSelect(_ *keyspace.Command, args [][]byte, raw []byte) {
	db, err := strconv.Atoi(string(args[1]))
	if err != nil {
		c.reply(errorReply(nil, textNotInteger))
		return
	}
	if c.own != nil {
		reply, err := c.roundTrip(raw)
		if err != nil {
			reply = errorReply(nil, textUnavailable(err))
		} else if !resp.IsError(reply) {
			c.setDB(db)
		}
		c.emit(reply)
		return
	}
	id := c.ident
	id.DB = db
	if _, err := c.s.upstream.Shared(c.ctx, id); err != nil {
		c.reply(errorReply(nil, loginText(err)))
		return
	}
	c.setDB(db)
	c.reply(replyOK)
}

func (c *client) setDB(db int) {
	c.ident.DB = db
	c.mu.Lock()
	c.info.db = db
	c.mu.Unlock()
}

func (c *client) cmdClientID(*keyspace.Command, [][]byte, []byte) {
	c.reply(resp.AppendInt(nil, c.id))
}

func (c *client) cmdClientGetName(*keyspace.Command, [][]byte, []byte) {
	c.mu.Lock()
	name := c.info.name
	c.mu.Unlock()
	if name == "" {
		c.reply(resp.AppendNull(nil, c.ident.Proto))
		return
	}
	c.reply(resp.AppendBulkString(nil, name))
}

func validClientName(name []byte) bool {
	return !bytes.ContainsFunc(name, func(r rune) bool { return r < '!' || r > '~' })
}

func (c *client) cmdClientSetName(_ *keyspace.Command, args [][]byte, _ []byte) {
	if !validClientName(args[2]) {
		c.reply(errorReply(nil, textClientName))
		return
	}
	c.mu.Lock()
	c.info.name = string(args[2])
	c.mu.Unlock()
	c.reply(replyOK)
}

// cmdClientSetInfo exists since Redis 7.2; in front of an older one it is refused in the same words.
func (c *client) cmdClientSetInfo(_ *keyspace.Command, args [][]byte, _ []byte) {
	if !c.s.greeting.atLeast(7, 2) {
		c.reply(errorReply(nil, textUnknownSub("client", args[1])))
		return
	}
	attr := strings.ToLower(string(args[2]))
	if attr != "lib-name" && attr != "lib-ver" {
		c.reply(errorReply(nil, fmt.Sprintf("ERR Unrecognized option '%s'", args[2])))
		return
	}
	if !validClientName(args[3]) {
		c.reply(errorReply(nil, fmt.Sprintf("ERR %s cannot contain spaces, newlines or special characters.", attr)))
		return
	}
	c.mu.Lock()
	if attr == "lib-name" {
		c.info.libName = string(args[3])
	} else {
		c.info.libVer = string(args[3])
	}
	c.mu.Unlock()
	c.reply(replyOK)
}

// cmdClientSwitch takes CLIENT NO-EVICT and NO-TOUCH on|off. Redis's own eviction of clients does not see clients of the proxy,
// and its own recency is not what sessions are evicted by, so there is nothing to switch.
func (c *client) cmdClientSwitch(cmd *keyspace.Command, args [][]byte, _ []byte) {
	if cmd.Name == "CLIENT|NO-TOUCH" && !c.s.greeting.atLeast(7, 2) {
		c.reply(errorReply(nil, textUnknownSub("client", args[1])))
		return
	}
	switch strings.ToLower(string(args[2])) {
	case "on", "off":
		c.reply(replyOK)
	default:
		c.reply(errorReply(nil, textSyntax))
	}
}

func (c *client) cmdClientReply(_ *keyspace.Command, args [][]byte, _ []byte) {
	switch strings.ToLower(string(args[2])) {
	case "on":
		c.muted, c.skip = false, 0
		c.reply(replyOK)
	case "off":
		c.muted = true
	case "skip":
		if !c.muted {
			c.skip = 1
		}
	default:
		c.reply(errorReply(nil, textSyntax))
	}
}
