package proxy

import (
	"bytes"
	"cmp"
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

// cmdAuth is AUTH [user] password.
func (c *client) cmdAuth(_ *keyspace.Command, args [][]byte, _ []byte) {
	if len(args) > 3 {
		c.reply(errorReply(nil, textSyntax))
		return
	}
	user := ""
	if len(args) == 3 {
		user = string(args[1])
	}
	if c.login(c.ident.Proto, user, string(args[len(args)-1])) {
		c.reply(replyOK)
	}
}

// login makes the client a user; false: the refusal has been answered. An empty user is AUTH with a password only.
func (c *client) login(proto int, user, password string) (ok bool) {
	over := c.mayGuess()
	defer func() { over(ok) }()
	if c.rules.own != nil {
		return c.loginHere(user, password)
	}
	id := c.ident
	id.Proto, id.Auth, id.User, id.Password = proto, true, user, password
	return c.loginRedis(id)
}

// loginHere judges a user of the proxy's own. Upstream nothing changes with it: there the client is the proxy's user.
func (c *client) loginHere(user, password string) bool {
	user = cmp.Or(user, defaultUser)
	if !c.rules.own.accepts(user, password) {
		c.s.alarms.refused(c.conn.RemoteAddr())
		c.reply(errorReply(nil, textWrongPass))
		return false
	}
	c.authenticated(user)
	return true
}

// loginRedis moves the client to another identity if Redis, on a fresh connection, accepts it.
func (c *client) loginRedis(id upstream.Identity) bool {
	if c.own != nil { // its state stays, with the new user
		return c.loginOwn(id)
	}
	ctx, cancel := context.WithTimeout(c.ctx, loginTimeout)
	defer cancel()
	conn, err := c.s.upstream.Login(ctx, id)
	if err != nil {
		var refused *upstream.RefusedError
		if !errors.As(err, &refused) { // nothing was guessed
			c.s.guesses.Charge(c.conn.RemoteAddr(), -guessCost)
		}
		c.reply(errorReply(nil, loginText(err)))
		return false
	}
	c.s.upstream.Release(id, conn)
	c.ident = id
	c.authenticated(cmp.Or(id.User, defaultUser))
	return true
}

// loginOwn lets Redis judge on the client's own connection.
func (c *client) loginOwn(id upstream.Identity) bool {
	id.Proto = c.ident.Proto // HELLO changes it when it has got its answer here
	raw := command("AUTH", id.Password)
	if id.User != "" {
		raw = command("AUTH", id.User, id.Password)
	}
	if reply := c.ask(raw); resp.IsError(reply) {
		c.emit(reply)
		return false
	}
	c.ident = id
	c.authenticated(cmp.Or(id.User, defaultUser))
	return true
}

func (c *client) authenticated(user string) {
	c.setAuthed(true)
	c.mu.Lock()
	c.info.user = user
	c.mu.Unlock()
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

// cmdHello is HELLO [protover [AUTH user password] [SETNAME name]].
func (c *client) cmdHello(_ *keyspace.Command, args [][]byte, _ []byte) {
	h, problem := c.parseHello(args)
	if problem != "" {
		c.reply(errorReply(nil, problem))
		return
	}
	if h.auth && !c.isAlready(h.user, h.password) && !c.login(h.proto, h.user, h.password) {
		return
	}
	if !c.authed {
		c.reply(errorReply(nil, textHelloNoAuth(&c.s.greeting)))
		return
	}
	if c.own != nil && h.proto != c.ident.Proto && resp.IsError(c.ask(command("HELLO", itoa(h.proto)))) {
		c.reply(errorReply(nil, textUnavailable(upstream.ErrLost)))
		return
	}
	c.ident.Proto = h.proto
	if c.own != nil {
		c.own.Relay(c.relaying())
	}
	c.mu.Lock()
	c.info.proto = h.proto
	if h.name != nil {
		c.info.name = string(h.name)
	}
	c.mu.Unlock()
	c.reply(c.helloReply())
}

// isAlready reports whether Redis has accepted these very credentials from the client: it need not be asked again.
func (c *client) isAlready(user, password string) bool {
	return c.rules.own == nil && c.ident.Auth && user == c.ident.User && password == c.ident.Password
}

// hello is what a HELLO asks for.
type hello struct {
	proto          int
	auth           bool
	user, password string
	name           []byte // nil: as it is
}

func (c *client) parseHello(args [][]byte) (h hello, problem string) {
	h.proto = c.ident.Proto
	if len(args) > 1 {
		n, err := strconv.Atoi(string(args[1]))
		if err != nil {
			return h, textProtoNumber
		}
		if n < 2 || n > 3 {
			return h, textNoProto
		}
		h.proto = n
	}
	for i := 2; i < len(args); i++ {
		switch option := strings.ToUpper(string(args[i])); {
		case option == "AUTH" && i+2 < len(args):
			h.auth, h.user, h.password = true, string(args[i+1]), string(args[i+2])
			i += 2
		case option == "SETNAME" && i+1 < len(args):
			if h.name = args[i+1]; !validClientName(h.name) {
				return h, textClientName
			}
			i++
		default:
			return h, fmt.Sprintf("ERR Syntax error in HELLO option '%s'", args[i])
		}
	}
	return h, ""
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

// cmdWhoAmI names a user of the proxy's own; others Redis knows.
func (c *client) cmdWhoAmI(cmd *keyspace.Command, args [][]byte, raw []byte) {
	if c.rules.own == nil {
		c.forward(cmd, args, raw)
		return
	}
	c.reply(resp.AppendBulkString(nil, c.info.user))
}

func (c *client) cmdQuit(*keyspace.Command, [][]byte, []byte) {
	c.reply(replyOK)
	c.quit = true
}

func (c *client) cmdReset(*keyspace.Command, [][]byte, []byte) {
	c.dropState()
	c.monitor, c.tracking, c.muted, c.skip, c.redirect = false, false, false, 0, 0
	c.subs.Store(0)
	c.shards.Store(0)
	c.ident = c.s.identity()
	c.setAuthed(!c.s.needsAuth())
	c.mu.Lock()
	c.info.name, c.info.proto, c.info.db, c.info.user, c.info.multi = "", 2, 0, defaultUser, -1
	c.mu.Unlock()
	c.reply([]byte("+RESET\r\n"))
}

func (c *client) cmdSelect(_ *keyspace.Command, args [][]byte, raw []byte) {
	n, ok := number(args[1])
	db := int(n)
	if !ok {
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
	conn, err := c.s.upstream.Shared(c.ctx, id)
	if err != nil {
		c.reply(errorReply(nil, loginText(err)))
		return
	}
	if c.permittedOver(conn, "SELECT "+itoa(db), raw) { // which selects there what is selected already
		c.setDB(db)
		c.reply(replyOK)
	}
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
