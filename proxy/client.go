package proxy

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/redcon"

	"credproxy/internal/resp"
	"credproxy/keyspace"
	"credproxy/proxy/upstream"
)

// client is one client's life. Its fields belong to the goroutine that handles its commands, but for those that say otherwise.
type client struct {
	s       *Server
	conn    *resp.Conn
	id      int64
	created time.Time
	ctx     context.Context // ends when the proxy wants the client to end
	cancel  context.CancelFunc
	blocked context.Context // ends when a command that blocks must not go on; with ctx at the latest
	unblock context.CancelFunc

	ident  upstream.Identity
	authed bool
	rules  *rules // as of the batch under way
	now    int64  // unix milliseconds, as of the batch under way
	timer  batchTimer

	call    *upstream.Call
	g       group
	more    int    // commands that a group may have beyond firstGroup, which may be less than none
	bulky   int    // so many more reads are expected to have large replies: see bulky.go
	out     []byte // replies that wait to be written
	quit    bool
	muted   bool // CLIENT REPLY OFF
	skip    int  // replies still to be swallowed: CLIENT REPLY SKIP
	keyArgs []keyspace.KeyArg
	idBuf   []byte

	seat     *seat    // in the lane that drives its connection; nil: none does
	laneArgs [][]byte // the arguments of a group's commands, in the lane

	own      *upstream.Conn // a connection of its own, while its state needs one
	hold     chan struct{}  // what its own connection brings waits until it is closed; see roundTripOver
	ownOver  chan struct{}  // ends watchOwn; nil if it does not run
	tx       *transaction   // between MULTI and EXEC
	watching bool           // a WATCH is in force
	watched  []ref          // sessions with watched keys
	tracking bool
	redirect int64 // the client that gets the invalidations instead of this one; 0: none
	monitor  bool
	subs     atomic.Int64 // channels and patterns subscribed to; written by the push handler
	shards   atomic.Int64 // shard channels

	pipe *pipe // carries its bytes to the process that has taken it over; nil: none has, or has got the socket

	capture *[]byte // where replies go instead of to the client; nil: to the client

	last        atomic.Pointer[keyspace.Command] // the latest command
	unblockings sync.WaitGroup                   // CLIENT UNBLOCKs under way that name this client; grows under mu

	wmu sync.Mutex // guards writing to conn: the handler's replies and the pushes of its own connection

	mu   sync.Mutex // guards info
	info clientInfo
}

// clientInfo is what others may ask about a client.
type clientInfo struct {
	name, libName, libVer string
	lastAt                time.Time
	db, proto             int
	user                  string
	multi                 int   // commands queued, -1 outside MULTI
	blockedOn             int64 // Redis's number of the connection on which a command blocks; 0: none does
	listensOn             int64 // Redis's number of the connection that takes others' invalidations; 0: none does
	targeted              bool  // somebody's invalidations are sent there
	tracking, monitor     bool
}

// flushReplies is from how many bytes on replies are written before the batch is over.
const flushReplies = 64 << 10

// maxKeptOut is how large a reply buffer may stay with an idle client, in bytes.
const maxKeptOut = 16 << 10

// accept makes a client of a connection.
func (s *Server) accept(rc redcon.Conn) bool {
	conn, before, ok := guardOf(rc.NetConn())
	if !ok || s.closing.Load() {
		return false
	}
	c := &client{s: s, conn: conn, created: time.Now(), call: upstream.NewCall()}
	c.ctx, c.cancel = context.WithCancel(s.base)
	c.blocked, c.unblock = context.WithCancel(c.ctx)
	c.ident = s.identity()
	c.authed = !s.needsAuth()
	c.conn.SetAuthenticated(c.authed)
	c.info = clientInfo{proto: 2, multi: -1, user: defaultUser, lastAt: c.created}
	if before != nil && !c.inherit(before) {
		c.cancel()
		return false
	}
	rc.SetContext(c)
	c.conn.SetHalter(c)
	c.conn.TakeLarge()
	c.takeSeat()
	if !s.clients.add(c) {
		c.cancel()
		return false
	}
	return true
}

// closed takes leave of a client; its connection is closed already.
func (s *Server) closed(rc redcon.Conn, err error) {
	c, ok := rc.Context().(*client)
	if !ok {
		return
	}
	var handshake *resp.HandshakeError
	if errors.As(err, &handshake) && !s.closing.Load() {
		s.alarms.handshake(c.conn.RemoteAddr(), err)
	}
	c.cancel()
	c.dropState()
	s.clients.remove(c)
}

// handle runs one batch: a command and everything that has arrived behind it.
func (s *Server) handle(rc redcon.Conn, first redcon.Command) {
	c := rc.Context().(*client)
	if c.quit {
		return // redcon hands over what had arrived before the client was disconnected
	}
	defer func() {
		if p := recover(); p != nil {
			c.panicked(p)
			rc.Close()
		}
	}()
	c.begin(time.Now())
	if l := c.conn.Large(); l != nil {
		c.execLarge(l)
	} else {
		c.exec(first.Args, first.Raw)
	}
	for _, cmd := range rc.ReadPipeline() {
		if c.quit {
			break
		}
		c.exec(cmd.Args, cmd.Raw)
	}
	c.flush()
	c.write()
	c.timer.end(c)
	c.setIdleTimeout()
	if c.quit || s.closing.Load() {
		c.conn.Flush()
		rc.Close()
	}
}

// begin begins a batch, or in a lane a group.
func (c *client) begin(now time.Time) {
	c.now, c.rules = now.UnixMilli(), c.s.rules.Load()
	c.timer.begun = now
	c.mu.Lock()
	c.info.lastAt = now
	c.mu.Unlock()
}

// exec takes one command: into the group that goes upstream together, or to a handler of its own.
func (c *client) exec(args [][]byte, raw []byte) {
	cmd, err := c.lookup(args)
	c.s.stats.commands.count(cmd)
	if err != nil {
		c.reply(errorReply(nil, textUnavailable(err)))
		return
	}
	h := c.s.handlerOf(cmd)
	c.last.Store(cmd)
	// A monitor's AUTH is not answered as others' are; see monitorSends.
	if h != nil && (h.always || h.early && c.tx == nil && !c.onlyListens() && !c.monitor) {
		c.flush()
		c.handleWith(h, cmd, args, raw)
		return
	}
	switch {
	case !c.authed:
		c.reply(errorReply(nil, c.noAuth(cmd, args)))
	case c.monitor && !c.denied(cmd, args):
		c.monitorSends(cmd, args, raw)
	case c.tx != nil && (h == nil || !h.inTx):
		c.queue(cmd, args, raw)
	case c.onlyListens() && !isSubscription(cmd):
		c.flush()
		c.relay(raw) // Redis says which commands a subscriber may send
	case c.denied(cmd, args):
		c.reply(errorReply(nil, textDenied(nameOf(cmd, args))))
	case cmd == nil:
		c.unknown(args, raw)
	case h != nil:
		c.flush()
		c.handleWith(h, cmd, args, raw)
	case cmd.Has(keyspace.Blocking) && cmd.Blocks(args):
		c.flush()
		c.block(cmd, args, raw)
	default:
		c.forward(cmd, args, raw)
	}
}

// noAuth is the answer to a command before authentication. Redis looks at the command first, so it says what it would not run
// anyway.
func (c *client) noAuth(cmd *keyspace.Command, args [][]byte) string {
	switch {
	case cmd == nil && !isOwnCommand(args[0]) && c.s.table.Lookup(args[:1]) == nil:
		return textUnknownCommand(args)
	case cmd != nil && !cmd.ArityOK(len(args)):
		return textArity(cmd.Name)
	case cmd != nil && cmd.Name == "EXEC":
		return textExecNoAuth
	}
	return textNoAuth
}

// handlerOf returns the handler of a command, nil for one that just goes upstream.
func (s *Server) handlerOf(cmd *keyspace.Command) *handler {
	if cmd == nil || cmd.Index >= len(s.greeting.handlers) {
		return nil
	}
	return s.greeting.handlers[cmd.Index]
}

func (c *client) handleWith(h *handler, cmd *keyspace.Command, args [][]byte, raw []byte) {
	if !cmd.ArityOK(len(args)) {
		c.wrongArity(cmd)
		return
	}
	h.run(c, cmd, args, raw)
}

// reply adds the answer to a command that does not go upstream.
func (c *client) reply(b []byte) {
	if len(c.g.entries) > 0 {
		c.g.entries = append(c.g.entries, entry{local: b})
		return
	}
	c.emit(b)
}

// emit adds one reply to the output, unless the client has asked for silence.
func (c *client) emit(b []byte) {
	if c.capture != nil {
		*c.capture = append(*c.capture, b...)
		return
	}
	if c.muted {
		return
	}
	if c.skip > 0 {
		c.skip--
		return
	}
	if len(b) >= flushReplies { // no copy of what is large
		c.write()
		c.writeNow(b)
		return
	}
	c.out = append(c.out, b...)
	if len(c.out) >= flushReplies {
		c.write()
	}
}

// write sends the replies that wait. A client that cannot be written to is gone, or as good as that.
func (c *client) write() {
	defer c.letGo()
	if len(c.out) == 0 {
		return
	}
	c.writeNow(c.out)
	c.keepOut()
}

// keepOut empties the reply buffer.
func (c *client) keepOut() {
	if cap(c.out) > maxKeptOut {
		c.out = nil
	}
	c.out = c.out[:0]
}

func (c *client) writeNow(b []byte) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if _, err := c.conn.Write(b); err != nil {
		c.quit = true
	}
}

// letGo lets the client's own connection bring more: what it has brought has been passed on.
func (c *client) letGo() {
	if c.hold != nil {
		close(c.hold)
		c.hold = nil
	}
}

// push passes on what Redis sends by itself. It runs on the reader's goroutine of the client's own connection.
func (c *client) push(frame []byte) {
	c.countSubscriptions(frame)
	c.wmu.Lock()
	_, err := c.conn.Write(frame)
	c.wmu.Unlock()
	if err != nil {
		c.conn.Close()
	}
}

// abort gives everything back after a defect, so that no session stays busy.
func (c *client) abort() {
	c.quit = true
	c.g.abandon(c.s)
	c.dropState()
}

// dropState ends the transaction, the watches and the connection of the client's own.
func (c *client) dropState() {
	if c.tx != nil {
		c.tx.abandon(c.s)
		c.tx = nil
	}
	c.unwatch()
	c.letGo()
	c.unwatchOwn()
	if c.own != nil {
		c.own.Abandon()
		c.own = nil
	}
	c.setInfo(func(i *clientInfo) { i.listensOn, i.targeted, i.tracking, i.monitor = 0, false, false, false })
}

// setInfo changes what others may ask.
func (c *client) setInfo(f func(*clientInfo)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.info)
}
