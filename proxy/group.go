package proxy

import (
	"context"
	"fmt"
	"strconv"

	"credproxy/internal/resp"
	"credproxy/keyspace"
	"credproxy/proxy/upstream"
)

// group is the part of a client's batch that goes upstream in one write. Every entry answers one command, in order.
type group struct {
	conn     *upstream.Conn
	entries  []entry
	touches  []touch
	removals int // touches whose key must be removed from Postgres first
	toMark   int // touches whose mark has to be sent first
	marks    int // that were sent
	size     int // bytes of the requests
	changes  int // replies up to that of the last command that may have changed something
	req      []byte
	sent     []byte // by a lane: req, or the commands where they stand in the guard's buffer
	tally    tally  // of a lane
	tight    bool   // in a lane: memory may be full before the group is over
	room     int64  // bytes that are reserved for the group
	coming   int64  // for the command that is being admitted
	owed     int64  // in a lane: to be reserved before the group is sent
}

// entry is one command of a group.
type entry struct {
	cmd     *keyspace.Command // nil for one that nobody knows
	raw     []byte
	large   int64  // bytes of the command if raw is only its beginning
	reads   bool   // the command changes nothing and can be sent again
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
	marked bool   // no mark is needed, and the key is not removed
	held   bool
	over   bool // finished: the session is left
}

const (
	// maxGroup and maxGroupBytes bound what a client's batch sends before it looks at the replies. They may turn out to be of 1 MB each
	// when all before were small, and what comes on a shared connection has to be held. A longer group is hardly faster.
	maxGroup = 32
	// maxReads is maxGroup for a lane's group in which nothing behind the first maxGroup commands changes anything: those replies need not be
	// held (B1), and what is one pipeline to a client is one trip.
	maxReads      = 64
	maxGroupBytes = 256 << 10
	// firstGroup is maxGroup until a client's replies have shown their size; then no group expects more than maxGroupReplies
	// bytes of them. They have to be kept for a client that does not read.
	firstGroup      = 2
	maxGroupReplies = 1 << 20
)

// forward adds a command to the group, its sessions' gates passed.
func (c *client) forward(cmd *keyspace.Command, args [][]byte, raw []byte) {
	if cmd != nil && cmd.Has(keyspace.DenyOOM) {
		c.makeRoom(int64(len(raw)), len(args))
	}
	e := entry{cmd: cmd, raw: raw, reads: cmd != nil && cmd.OnlyReads()}
	if !c.admit(&e, args) {
		c.leaveRoom()
		return
	}
	c.takeRoom()
	c.g.entries = append(c.g.entries, e)
	if c.g.size += len(raw); len(c.g.entries) >= min(firstGroup+c.more, maxGroup) || c.g.size >= maxGroupBytes {
		c.flush()
	}
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

func (e unavailableError) Error() string { return e.err.Error() }

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
		c.land()
	} else {
		c.send()
		c.call.Free()
	}
	c.g.reset()
}

func (g *group) reset() {
	clear(g.entries)
	clear(g.touches)
	g.entries, g.touches = g.entries[:0], g.touches[:0]
	g.conn, g.removals, g.toMark, g.marks, g.size, g.owed, g.sent = nil, 0, 0, 0, 0, 0, nil
	if cap(g.req) > maxGroupBytes {
		g.req = nil
	}
}

// abandon leaves every session that the group has entered.
func (g *group) abandon(s *Server) {
	for i := range g.touches {
		s.finishTouch(&g.touches[i], true)
	}
	s.policy.room.land(g.room + g.coming)
	g.room, g.coming = 0, 0
	g.reset()
}

// request builds what is sent; marks stand in front of the command that needs them. n is how many replies will come.
func (c *client) request() (req []byte, n int, err error) {
	c.call.Reset() // if nothing is sent, nothing was answered
	req, c.g.changes = c.g.req[:0], 0
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
			c.g.marks++
			n++
		}
		n++
		if !e.reads {
			c.g.changes = n
		}
		if len(c.g.entries) == 1 && len(req) == 0 {
			return e.raw, n, nil // it may be large
		}
		req = append(req, e.raw...)
	}
	c.g.req = req
	return req, n, nil
}

// send sends the group over a connection whose replies belong to calls.
func (c *client) send() {
	if c.bulky > 0 && c.own == nil && c.g.onlyReads() {
		c.read(c.g.entries)
		return
	}
	req, n, err := c.request()
	if err == nil && n > 0 {
		c.writeBarrier("mark-unsent", "write-unsent")
		c.boundReplies()
		err = c.g.conn.Send(c.call, n, req)
		if err == nil {
			err = c.afterLoss(c.call.Wait(), n, req)
		}
		c.writeBarrier("mark-sent", "write-replied")
	}
	c.land()
	c.expect(c.call.Size(), n)
	c.distribute(err)
	if err != nil && c.own != nil {
		c.quit = true // its state is gone with the connection
	}
}

// expect sets the size of the next groups by the replies, n in so many bytes, to this one.
func (c *client) expect(bytes, n int) {
	fit := maxGroupReplies / max(bytes/max(n, 1), 1)
	c.more = max(1, min(fit, 2*(firstGroup+c.more), maxReads)) - firstGroup
	if c.call.Largest() >= bulkyReply {
		c.bulky = bulkyReads
	}
}

// distribute gives every entry its reply, and the sessions their books. Every entry is finished before the first reply that
// waits for a save: a removal in the same group would hold the save up.
func (c *client) distribute(err error) {
	at := 0
	got := c.kept()
	again := len(c.g.entries) // from there on the replies were too large to be kept
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
		if e.reads && at >= got && c.call.Dropped() >= 0 && err == nil {
			again = i
			break
		}
		marks := at
		at += e.marks
		reply := lost
		if at < got {
			reply = c.call.Reply(at)
		}
		at++
		if len(reply) > 4 && reply[0] == '-' && err == nil {
			if reply, err = c.afterError(i, reply); err != nil {
				c.finishLost(e, err)
			}
		}
		c.confirmMarks(e, marks, got, reply)
		if at > got {
			c.finishLost(e, err)
		}
		c.finish(e, reply, seqs)
		e.local = reply
	}
	for i := range c.g.entries[:again] {
		e := &c.g.entries[i]
		c.emit(c.saved(e, e.local, seqs))
	}
	c.readAgain(c.g.entries[again:])
}

// afterError looks at errors that concern the proxy: a Redis without memory is given some, and the command, which was refused
// and not run, is sent once more, if nothing behind it in the group has run.
func (c *client) afterError(i int, reply []byte) ([]byte, error) {
	if string(reply[:4]) != "-OOM" || c.g.entries[i].large > 0 || i != len(c.g.entries)-1 {
		return reply, nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.rules.wait)
	defer cancel()
	if c.s.policy.rescue(ctx) == 0 {
		return reply, nil
	}
	c.s.stats.rescues.Add(1)
	again := upstream.NewCall()
	err := c.g.conn.Send(again, 1, c.g.entries[i].raw)
	if err == nil {
		err = again.Wait()
	}
	if err != nil {
		return errorReply(nil, textUnavailable(err)), err
	}
	return again.Reply(0), nil
}

// finishLost leaves what an entry without a reply may still write to be finished later.
func (c *client) finishLost(e *entry, err error) {
	for j := e.touches[0]; j < e.touches[1]; j++ {
		if t := &c.g.touches[j]; t.lostWrite(err) {
			c.s.finishLate(c.g.conn, t)
		}
	}
}

// finish ends an entry's touches. reply tells whether the command may have changed anything.
func (c *client) finish(e *entry, reply []byte, seqs map[ref]uint64) {
	changed := len(reply) == 0 || reply[0] != '-' || e.cmd == nil || e.cmd.Has(keyspace.Script) ||
		resp.ErrorCode(reply) == "ERR" // the proxy's own errors too: the outcome may be unknown
	for j := e.touches[0]; j < e.touches[1]; j++ {
		t := &c.g.touches[j]
		if e.cmd != nil && e.cmd.Has(keyspace.DenyOOM) {
			t.write.size = max(len(e.raw), int(e.large)) / (e.touches[1] - e.touches[0])
		}
		if seq := c.s.finishTouch(t, changed); seq > 0 && seqs != nil {
			seqs[t.ref] = seq
		}
	}
}

// finishTouch leaves the session; it returns the place of the change in the session's order, 0 if there was none.
func (s *Server) finishTouch(t *touch, changed bool) (seq uint64) {
	if t.over { // by finishLate, or by the time of an internal error
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
