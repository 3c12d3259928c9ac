package proxy

import (
	"context"
	"runtime/debug"
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

	call    *upstream.Call
	g       group
	out     []byte // replies that wait to be written
	quit    bool
	muted   bool // CLIENT REPLY OFF
	skip    int  // replies still to be swallowed: CLIENT REPLY SKIP
	keyArgs []keyspace.KeyArg
	idBuf   []byte

	own      *upstream.Conn // a connection of its own, while its state needs one
	ownOver  chan struct{}  // ends watchOwn; nil if it does not run
	tx       *transaction   // between MULTI and EXEC
	watching bool           // a WATCH is in force
	watched  []ref          // sessions with watched keys
	tracking bool
	monitor  bool
	subs     atomic.Int64 // channels and patterns subscribed to; written by the push handler
	shards   atomic.Int64 // shard channels

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
	multi                 int // commands queued, -1 outside MULTI
}

// flushReplies is from how many bytes on replies are written before the batch is over.
const flushReplies = 64 << 10

// maxKeptOut is how large a reply buffer may stay with an idle client, in bytes.
const maxKeptOut = 16 << 10

// accept makes a client of a connection.
func (s *Server) accept(rc redcon.Conn) bool {
	conn, ok := rc.NetConn().(*resp.Conn)
	if !ok || s.closing.Load() {
		return false
	}
	c := &client{s: s, conn: conn, created: time.Now(), call: upstream.NewCall()}
	c.ctx, c.cancel = context.WithCancel(s.base)
	c.blocked, c.unblock = context.WithCancel(c.ctx)
	c.ident = upstream.Identity{Proto: 2}
	c.authed = !s.greeting.needsAuth.Load()
	c.conn.SetAuthenticated(c.authed)
	c.info = clientInfo{proto: 2, multi: -1, user: "default", lastAt: c.created}
	rc.SetContext(c)
	if !s.clients.add(c) {
		c.cancel()
		return false
	}
	return true
}

// closed takes leave of a client; its connection is closed already.
func (s *Server) closed(rc redcon.Conn, _ error) {
	c, ok := rc.Context().(*client)
	if !ok {
		return
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
			// A defect of ours must cost this client, not the others. Arguments and values stay out of the log.
			s.log.Error("internal error, a client is disconnected", "client", c.conn.RemoteAddr(), "error", p, "stack", string(debug.Stack()))
			c.abort()
			rc.Close()
		}
	}()
	c.begin()
	c.exec(first.Args, first.Raw)
	for _, cmd := range rc.ReadPipeline() {
		if c.quit {
			break
		}
		c.exec(cmd.Args, cmd.Raw)
	}
	c.flush()
	c.write()
	if c.quit || s.closing.Load() {
		rc.Close()
	}
}

func (c *client) begin() {
	now := time.Now()
	c.now, c.rules = now.UnixMilli(), c.s.rules.Load()
	c.mu.Lock()
	c.info.lastAt = now
	c.mu.Unlock()
}

// exec takes one command: into the group that goes upstream together, or to a handler of its own.
func (c *client) exec(args [][]byte, raw []byte) {
	c.s.stats.commands.Add(1)
	cmd, err := c.lookup(args)
	if err != nil {
		c.reply(errorReply(nil, textUnavailable(err)))
		return
	}
	h := c.s.handlerOf(cmd)
	if h != nil && h.always {
		c.flush()
		c.handleWith(h, cmd, args, raw)
		return
	}
	switch {
	case !c.authed:
		c.reply(errorReply(nil, c.noAuth(cmd, args)))
	case c.monitor:
		c.toOwn(raw)
	case c.tx != nil && (h == nil || !h.inTx):
		c.queue(cmd, args, raw)
	case c.ident.Proto == 2 && c.subs.Load()+c.shards.Load() > 0 && !isSubscription(cmd):
		c.flush()
		c.relay(raw) // Redis says which commands a subscriber may send
	case cmd == nil:
		c.unknown(args, raw)
	case c.rules.denies(cmd):
		c.reply(errorReply(nil, textDenied(cmd.Name)))
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
	if c.muted {
		return
	}
	if c.skip > 0 {
		c.skip--
		return
	}
	c.out = append(c.out, b...)
	if len(c.out) >= flushReplies {
		c.write()
	}
}

// write sends the replies that wait. A client that cannot be written to is gone, or as good as that.
func (c *client) write() {
	if len(c.out) == 0 {
		return
	}
	c.wmu.Lock()
	_, err := c.conn.Write(c.out)
	c.wmu.Unlock()
	if err != nil {
		c.quit = true
	}
	if cap(c.out) > maxKeptOut {
		c.out = nil
	}
	c.out = c.out[:0]
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
	c.unwatchOwn()
	if c.own != nil {
		c.own.Abandon()
		c.own = nil
	}
}

// clients is the registry of connected clients.
type clients struct {
	mu     sync.Mutex // guards all, next and closed
	all    map[int64]*client
	next   int64
	closed bool
	wg     sync.WaitGroup
}

func (cs *clients) init() { cs.all = map[int64]*client{} }

// add registers a client; false: the proxy is shutting down.
func (cs *clients) add(c *client) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed {
		return false
	}
	cs.next++
	c.id = cs.next
	cs.all[c.id] = c
	cs.wg.Add(1)
	return true
}

func (cs *clients) remove(c *client) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.all[c.id] == c {
		delete(cs.all, c.id)
		cs.wg.Done()
	}
}

func (cs *clients) list() []*client {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	list := make([]*client, 0, len(cs.all))
	for _, c := range cs.all {
		list = append(list, c)
	}
	return list
}

func (cs *clients) count() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.all)
}

// drain ends idle clients and commands that block at once, and the other clients when their batch is over. After half of ctx's
// time it ends them anyway, in the last resort with lost, which takes the connections to Redis from them.
func (cs *clients) drain(ctx context.Context, lost func()) {
	cs.mu.Lock()
	cs.closed = true
	cs.mu.Unlock()
	cs.nudge()
	gone := make(chan struct{})
	go func() {
		cs.wg.Wait()
		close(gone)
	}()
	patience := 5 * time.Second
	if at, ok := ctx.Deadline(); ok {
		patience = time.Until(at) / 2
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	again := time.NewTicker(nudgeEvery)
	defer again.Stop()
	for waiting := true; waiting; {
		select {
		case <-gone:
			return
		case <-again.C:
			cs.nudge() // a client that was giving its large buffer back has taken the first for that
		case <-timer.C:
			waiting = false
		case <-ctx.Done():
			waiting = false
		}
	}
	for _, c := range cs.list() {
		c.cancel()
		c.conn.Close()
	}
	timer.Reset(lastPatience)
	select {
	case <-gone:
		return
	case <-timer.C:
	}
	lost() // they wait for a Redis that does not answer
	<-gone
}

// nudgeEvery is how often a client that should end is told so.
const nudgeEvery = 50 * time.Millisecond

// nudge ends the wait of clients for their next command, and commands that block.
func (cs *clients) nudge() {
	for _, c := range cs.list() {
		c.conn.SetReadDeadline(time.Unix(1, 0))
		c.unblock()
	}
}

// lastPatience is how long clients that were disconnected may take to notice.
const lastPatience = time.Second
