package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"credproxy/internal/resp"
	"credproxy/internal/session"
	"credproxy/keyspace"
	"credproxy/proxy/upstream"
)

// group is the part of a client's batch that goes upstream in one write. Every entry answers one command, in order.
type group struct {
	conn     *upstream.Conn
	entries  []entry
	touches  []touch
	removals int // touches whose key must be removed from Postgres first
	size     int // bytes of the requests
	req      []byte
}

// entry is one command of a group.
type entry struct {
	cmd     *keyspace.Command // nil for one that nobody knows
	raw     []byte
	local   []byte // the reply, if the command does not go upstream
	touches [2]int // range in group.touches
	marks   int    // how many marks were sent before it
}

// touch is one session's key in one command.
type touch struct {
	ref    ref
	db     int
	key    []byte
	access keyspace.Access
	write  writeScope
	gen    string // of the mark that must be in Redis before, "" for none
	held   bool
	over   bool // finished: the session is left
}

const (
	// maxGroup and maxGroupBytes bound what a client's batch sends before it looks at the replies.
	maxGroup      = 256
	maxGroupBytes = 256 << 10
)

// forward adds a command to the group, its sessions' gates passed.
func (c *client) forward(cmd *keyspace.Command, args [][]byte, raw []byte) {
	if cmd != nil && cmd.Has(keyspace.DenyOOM) {
		c.makeRoom(len(raw))
	}
	e := entry{cmd: cmd, raw: raw}
	if !c.admit(&e, args) {
		return
	}
	c.g.entries = append(c.g.entries, e)
	if c.g.size += len(raw); len(c.g.entries) >= maxGroup || c.g.size >= maxGroupBytes {
		c.flush()
	}
}

// makeRoom counts a write and, while memory is full, waits for eviction.
func (c *client) makeRoom(n int) {
	if !c.s.policy.full(int64(n)) {
		c.s.policy.wrote(n)
		return
	}
	c.flush()
	ctx, cancel := context.WithTimeout(c.ctx, c.rules.wait)
	defer cancel()
	c.s.policy.makeRoom(ctx, int64(n))
}

// connect makes sure that the group has a connection, so that the run is known before gates are passed.
func (c *client) connect() error {
	if c.own != nil {
		c.g.conn = c.own
		return c.ownErr()
	}
	if c.g.conn != nil {
		return nil
	}
	conn, err := c.s.upstream.Shared(c.ctx, c.ident)
	c.g.conn = conn
	return err
}

// admit passes the gates of all sessions that the command names; false: the command has been answered instead.
func (c *client) admit(e *entry, args [][]byte) bool {
	if err := c.connect(); err != nil {
		c.reply(errorReply(nil, textUnavailable(err)))
		return false
	}
	keys := c.keysOf(e.cmd, args)
	if len(keys) == 0 {
		return true
	}
	from := len(c.g.touches)
	ok, err := c.touchAll(e.cmd, keys, args, c.ident.DB, c.tryTouch)
	if !ok && err == nil {
		// A session is not resident. The commands before must not wait for it, nor hold their sessions.
		c.undo(from)
		c.flush()
		c.s.stats.misses.Add(1)
		from = 0
		err = c.touchSlowly(e.cmd, keys, args, c.ident.DB)
	} else if ok {
		c.s.stats.hits.Add(1)
	}
	if err != nil {
		c.undo(from)
		c.reply(errorReply(nil, gateText(err)))
		return false
	}
	e.touches = [2]int{from, len(c.g.touches)}
	c.beginWrites(e)
	return true
}

// ownKeyError says that a client named a key of the proxy's.
var errOwnKey = errors.New("a key of the proxy's own")

func gateText(err error) string {
	if errors.Is(err, errOwnKey) {
		return textOwnKey
	}
	var gone unavailableError
	if errors.As(err, &gone) {
		return textUnavailable(gone.err)
	}
	return textTryAgain(err)
}

type unavailableError struct{ err error }

func (e unavailableError) Error() string { return e.err.Error() }

// keysOf finds the keys of a command. A command that Redis is sure to refuse has none.
func (c *client) keysOf(cmd *keyspace.Command, args [][]byte) []keyspace.KeyArg {
	if cmd == nil || cmd.Has(keyspace.NoKeys) {
		return nil
	}
	keys, err := cmd.AppendKeys(c.keyArgs[:0], args)
	if errors.Is(err, keyspace.ErrMovable) {
		keys, err = c.s.learned.askKeys(c.ctx, c.s.control, args)
	}
	if err != nil {
		return nil
	}
	c.keyArgs = keys[:0]
	return keys
}

// touchAll passes the gate for every key, with touch; false without an error: touch would have to wait.
func (c *client) touchAll(cmd *keyspace.Command, keys []keyspace.KeyArg, args [][]byte, db int,
	pass func(t touch) (bool, error)) (bool, error) {
	target, other := cmd.TargetDB(args) // MOVE and COPY ... DB change a key in another database as well
	other = other && !c.refusesDB(target)
	for i, k := range keys {
		key := args[k.Index]
		if keyspace.Own(key) {
			return false, errOwnKey
		}
		t := touch{db: db, key: key, access: k.Access}
		if k.Access != keyspace.Read {
			t.write = writeOf(cmd, k, args)
		}
		if other && i > 0 { // COPY's destination is there only
			t.db = target
		}
		if ok, err := pass(t); !ok || err != nil {
			return false, err
		}
		if other && len(keys) == 1 { // MOVE's key leaves one database and appears in the other
			t.db, t.access, t.write.scope = target, keyspace.Write, keyspace.Whole
			if ok, err := pass(t); !ok || err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// refusesDB reports whether Redis has no such database: it then refuses MOVE and COPY, and there is nothing there to gate.
func (c *client) refusesDB(db int) bool {
	id := c.s.ownIdentity(2)
	id.DB = db
	_, err := c.s.upstream.Shared(c.ctx, id)
	var refused *upstream.RefusedError
	return errors.As(err, &refused)
}

func writeOf(cmd *keyspace.Command, k keyspace.KeyArg, args [][]byte) writeScope {
	w := writeScope{key: args[k.Index], scope: k.Scope}
	if k.Scope == keyspace.Fields {
		first, last, step, ok := cmd.Fields(args)
		if !ok || last >= len(args) || first > last {
			w.scope = keyspace.Whole
			return w
		}
		w.fields, w.step = args[first:last+1], step
	}
	return w
}

// tryTouch passes a gate that is open.
func (c *client) tryTouch(t touch) (bool, error) {
	identity, ok := c.s.sessions.match(c.idBuf, t.db, t.key)
	if !ok {
		return true, nil
	}
	c.idBuf = identity
	if t.ref, ok = c.s.sessions.tryEnter(identity, c.g.conn.Run(), c.now); ok {
		c.g.touches = append(c.g.touches, t)
	}
	return ok, nil
}

// staleRetries is how often a command is admitted again because Redis was restarted meanwhile.
const staleRetries = 5

// touchSlowly passes gates that have to be waited for.
func (c *client) touchSlowly(cmd *keyspace.Command, keys []keyspace.KeyArg, args [][]byte, db int) error {
	ctx, cancel := context.WithTimeout(c.ctx, c.rules.wait)
	defer cancel()
	var err error
	for range staleRetries {
		if err = c.connect(); err != nil {
			return unavailableError{err}
		}
		from := len(c.g.touches)
		_, err = c.touchAll(cmd, keys, args, db, func(t touch) (bool, error) {
			identity, ok := c.s.sessions.match(c.idBuf, t.db, t.key)
			if !ok {
				return true, nil
			}
			c.idBuf = identity
			var err error
			if t.ref, err = c.s.enter(ctx, identity, t.key, c.g.conn.Run()); err == nil {
				c.g.touches = append(c.g.touches, t)
			}
			return err == nil, err
		})
		if !errors.Is(err, errStaleRun) {
			return err
		}
		c.undo(from)
		if c.own != nil {
			c.quit = true
			return unavailableError{errors.New("the upstream Redis was restarted, the state of the connection is lost")}
		}
		c.g.conn = nil
	}
	return unavailableError{err}
}

// undo leaves the sessions of the touches from index from on.
func (c *client) undo(from int) {
	for _, t := range c.g.touches[from:] {
		t.ref.leave()
	}
	c.g.touches = c.g.touches[:from]
}

// beginWrites finds out which marks the command needs and which keys go from Postgres first.
func (c *client) beginWrites(e *entry) {
	for i := e.touches[0]; i < e.touches[1]; i++ {
		t := &c.g.touches[i]
		if t.access == keyspace.Read {
			continue
		}
		t.gen = c.s.sessions.beginWrite(t.ref, t.key, c.s.saver.newGen)
		if t.access == keyspace.Remove {
			c.g.removals++
		}
	}
}

// flush sends the group and adds its replies to the output.
func (c *client) flush() {
	if len(c.g.entries) == 0 {
		c.g.conn = nil
		return
	}
	if c.g.removals > 0 {
		if err := c.removeFirst(); err != nil {
			c.refuseRemovals(err)
		}
	}
	if c.relaying() {
		c.sendRelayed(c.call.Wait)
	} else {
		c.send()
	}
	c.g.reset()
}

func (g *group) reset() {
	clear(g.entries)
	clear(g.touches)
	g.entries, g.touches = g.entries[:0], g.touches[:0]
	g.conn, g.removals, g.size = nil, 0, 0
	if cap(g.req) > maxGroupBytes {
		g.req = nil
	}
}

// abandon leaves every session that the group has entered.
func (g *group) abandon(s *Server) {
	for i := range g.touches {
		s.finishTouch(&g.touches[i], true)
	}
	g.reset()
}

// removeFirst commits in Postgres what the group is about to remove from Redis.
func (c *client) removeFirst() error {
	ctx, cancel := context.WithTimeout(c.ctx, c.rules.wait)
	defer cancel()
	if err := c.markRemovals(ctx); err != nil {
		return unavailableError{err}
	}
	var removals []session.Removal
	for i := range c.g.touches {
		if t := &c.g.touches[i]; t.access == keyspace.Remove {
			rem, err := c.s.hold(ctx, t)
			if err != nil {
				return err
			}
			removals = append(removals, rem)
		}
	}
	return c.s.remover.remove(ctx, removals)
}

// markRemovals marks the keys that the group is about to remove: were the proxy killed between the two halves of a removal, an
// unmarked key would pass for saved.
func (c *client) markRemovals(ctx context.Context) error {
	byDB := map[int][]*touch{}
	for i := range c.g.touches {
		if t := &c.g.touches[i]; t.access == keyspace.Remove && t.gen != "" {
			byDB[t.db] = append(byDB[t.db], t)
		}
	}
	for db, touches := range byDB {
		if err := c.s.markAll(ctx, db, touches); err != nil {
			return err
		}
	}
	return nil
}

// hold holds a key that is going to be removed and says what goes.
func (s *Server) hold(ctx context.Context, t *touch) (session.Removal, error) {
	t.held = true
	err := t.ref.hold(ctx, string(t.key))
	rem := session.Removal{Session: s.sessions.id(t.ref.it.Key), Key: string(t.key)}
	if t.write.scope == keyspace.Fields {
		for i := 0; i < len(t.write.fields); i += t.write.step {
			rem.Fields = append(rem.Fields, string(t.write.fields[i]))
		}
	}
	return rem, err
}

// refuseRemovals answers the commands whose removals could not be committed; they are not sent.
func (c *client) refuseRemovals(err error) {
	text := errorReply(nil, gateText(err))
	for i := range c.g.entries {
		e := &c.g.entries[i]
		for j := e.touches[0]; j < e.touches[1]; j++ {
			if c.g.touches[j].access == keyspace.Remove {
				e.local = text
			}
		}
	}
}

// request builds what is sent; marks stand in front of the command that needs them. n is how many replies will come.
func (c *client) request() (req []byte, n int, err error) {
	c.call.Replies, c.call.Ends = c.call.Replies[:0], c.call.Ends[:0] // if nothing is sent, nothing was answered
	req = c.g.req[:0]
	direct := c.marksTravel()
	for i := range c.g.entries {
		e := &c.g.entries[i]
		if e.local != nil {
			continue
		}
		for j := e.touches[0]; j < e.touches[1]; j++ {
			t := &c.g.touches[j]
			if t.gen == "" || planted("mark-missing") {
				continue
			}
			if !direct || t.db != c.ident.DB {
				if err := c.s.markNow(c.ctx, t); err != nil {
					return nil, 0, err
				}
				continue
			}
			req = appendMark(req, t)
			e.marks++
			n++
		}
		req = append(req, e.raw...)
		n++
	}
	c.g.req = req
	return req, n, nil
}

// marksTravel reports whether marks may go with the client's commands: its user must be the proxy's own, another one might not
// be allowed to write them.
func (c *client) marksTravel() bool {
	return !c.relaying() && c.ident.Auth == (c.s.cfg.Upstream.Password != "") && c.ident.User == c.s.cfg.Upstream.Username
}

func appendMark(req []byte, t *touch) []byte {
	req = append(req, "*4\r\n$4\r\nHSET\r\n"...)
	req = resp.AppendBulkString(req, dirtyMarks)
	req = resp.AppendBulk(req, t.key)
	return resp.AppendBulkString(req, t.gen)
}

// markNow sets a mark over the proxy's own connection and waits for it.
func (s *Server) markNow(ctx context.Context, t *touch) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	if err := s.meta.mark(ctx, t.db, t.key, t.gen); err != nil {
		return fmt.Errorf("mark key %q before a write: %w", t.key, err)
	}
	t.ref.marked(t.key, t.gen)
	return nil
}

// markAll sets the marks of many keys of one database, and waits for them; the commands need not set them any more.
func (s *Server) markAll(ctx context.Context, db int, touches []*touch) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	for part := range slices.Chunk(touches, markStep) {
		pairs := make([]any, 0, 2*len(part))
		for _, t := range part {
			pairs = append(pairs, t.key, t.gen)
		}
		s.barrier("mark-unsent")
		if err := s.meta.mark(ctx, db, pairs...); err != nil {
			return fmt.Errorf("mark keys before their removal: %w", err)
		}
		s.barrier("mark-sent")
		for _, t := range part {
			t.ref.marked(t.key, t.gen)
			t.gen = ""
		}
	}
	return nil
}

// markStep bounds the keys that are marked by one command.
const markStep = 1000

// send sends the group over a connection whose replies belong to calls.
func (c *client) send() {
	req, n, err := c.request()
	if err == nil && n > 0 {
		c.writeBarrier("mark-unsent", "write-unsent")
		err = c.g.conn.Send(c.call, n, req)
		if err == nil {
			err = c.afterLoss(c.call.Wait(), n, req)
		}
		c.writeBarrier("mark-sent", "write-replied")
	}
	c.distribute(err)
	if err != nil && c.own != nil {
		c.quit = true // its state is gone with the connection
	}
}

// distribute gives every entry its reply, and the sessions their books. Every entry is finished before the first reply that
// waits for a save: a removal in the same group would hold the save up.
func (c *client) distribute(err error) {
	at := 0
	got := len(c.call.Ends)
	var lost []byte
	if err != nil {
		lost = errorReply(nil, textUnavailable(err))
	}
	seqs := c.g.through(c.rules.through)
	for i := range c.g.entries {
		e := &c.g.entries[i]
		if e.local != nil {
			c.finish(e, e.local, seqs)
			continue
		}
		marks := at
		at += e.marks
		reply := lost
		if at < got {
			reply = c.call.Reply(at)
		}
		at++
		if len(reply) > 4 && reply[0] == '-' && err == nil {
			reply = c.afterError(i, reply)
		}
		c.confirmMarks(e, marks, got, reply)
		c.finish(e, reply, seqs)
		e.local = reply
	}
	for i := range c.g.entries {
		e := &c.g.entries[i]
		c.emit(c.saved(e, e.local, seqs))
	}
}

// confirmMarks looks at the replies to an entry's marks, from index at on. A mark that Redis has refused, as it does without memory,
// is set another way before the client hears of its write.
func (c *client) confirmMarks(e *entry, at, got int, reply []byte) {
	if e.marks == 0 {
		return
	}
	for j := e.touches[0]; j < e.touches[1]; j++ {
		t := &c.g.touches[j]
		if t.gen == "" || t.db != c.ident.DB {
			continue
		}
		switch {
		case at < got && !resp.IsError(c.call.Reply(at)):
			t.ref.marked(t.key, t.gen)
		case at < got && !resp.IsError(reply):
			if err := c.s.markNow(c.ctx, t); err != nil {
				c.s.log.Warn("a changed key could not be marked; it is saved all the same unless the proxy is killed first", "error", err)
			}
		}
		at++
	}
}

// afterError looks at errors that concern the proxy: a Redis without memory is given some, and the command, which was refused
// and not run, is sent once more, if nothing behind it in the group has run.
func (c *client) afterError(i int, reply []byte) []byte {
	if string(reply[:4]) != "-OOM" || i != len(c.g.entries)-1 {
		return reply
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.rules.wait)
	defer cancel()
	if c.s.policy.rescue(ctx) == 0 {
		return reply
	}
	c.s.stats.rescues.Add(1)
	again := upstream.NewCall()
	if c.g.conn.Send(again, 1, c.g.entries[i].raw) != nil || again.Wait() != nil {
		return errorReply(nil, textUnavailable(upstream.ErrLost))
	}
	return again.Reply(0)
}

// finish ends an entry's touches. reply tells whether the command may have changed anything.
func (c *client) finish(e *entry, reply []byte, seqs map[ref]uint64) {
	changed := len(reply) == 0 || reply[0] != '-' || e.cmd == nil || e.cmd.Has(keyspace.Script) ||
		resp.ErrorCode(reply) == "ERR" // the proxy's own errors too: the outcome may be unknown
	for j := e.touches[0]; j < e.touches[1]; j++ {
		t := &c.g.touches[j]
		if e.cmd != nil && e.cmd.Has(keyspace.DenyOOM) {
			t.write.size = len(e.raw) / (e.touches[1] - e.touches[0])
		}
		if seq := c.s.finishTouch(t, changed); seq > 0 && seqs != nil {
			seqs[t.ref] = seq
		}
	}
}

// finishTouch leaves the session; it returns the place of the change in the session's order, 0 if there was none.
func (s *Server) finishTouch(t *touch, changed bool) (seq uint64) {
	if t.over { // by the time of an internal error
		return 0
	}
	t.over = true
	if t.access == keyspace.Read || (!changed && !t.held) {
		t.ref.leave()
	} else {
		seq = s.sessions.endWrite(t.ref, t.write, &s.saver.queue)
	}
	if t.held {
		t.ref.release(string(t.key))
	}
	return seq
}

// through returns a place for the changes that must be in Postgres before replies go out, nil in behind mode.
func (g *group) through(on bool) map[ref]uint64 {
	if !on {
		return nil
	}
	return map[ref]uint64{}
}

// saved holds the reply of a write back until Postgres has it (sync = through).
func (c *client) saved(e *entry, reply []byte, seqs map[ref]uint64) []byte {
	if seqs == nil || len(reply) == 0 || reply[0] == '-' {
		return reply
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.rules.wait)
	defer cancel()
	for j := e.touches[0]; j < e.touches[1]; j++ {
		t := &c.g.touches[j]
		seq, wrote := seqs[t.ref]
		if !wrote || t.access == keyspace.Read {
			continue
		}
		if err := c.s.saver.waitSaved(ctx, t.ref, seq, c.g.conn.Run()); err != nil {
			return errorReply(nil, textTryAgain(fmt.Errorf("the write is in Redis but not in Postgres yet: %w", err)))
		}
	}
	return reply
}

// roundTrip sends one command by itself and returns its reply, valid until the next one. The group is flushed before.
func (c *client) roundTrip(raw []byte) ([]byte, error) {
	if err := c.connect(); err != nil {
		return nil, err
	}
	return c.roundTripOver(c.g.conn, raw)
}

// pass answers a command with what Redis says to raw.
func (c *client) pass(raw []byte) {
	reply, err := c.roundTrip(raw)
	if err != nil {
		reply = errorReply(nil, textUnavailable(err))
	}
	c.emit(reply)
}

func command(args ...string) []byte { return resp.AppendCommand(nil, args...) }

func itoa(n int) string { return strconv.Itoa(n) }
