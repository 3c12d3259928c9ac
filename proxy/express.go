package proxy

import (
	"bytes"
	"fmt"
	"net"
	"runtime/debug"

	"credproxy/internal/poll"
	"credproxy/keyspace"
	"credproxy/proxy/upstream"
)

// takeSeat prepares a client whose connection a lane drives.
func (c *client) takeSeat() {
	sock, ok := c.conn.NetConn().(*poll.Conn)
	if !ok {
		return
	}
	for _, l := range c.s.lanes {
		if l.poller == sock.Poller() {
			st := &seat{l: l, c: c, sock: sock, leave: make(chan error, 1)}
			st.land = func() { l.landed = append(l.landed, st) }
			c.seat, sock.Tag = st, st
			c.conn.Ride(c.ride)
		}
	}
}

// mayRide reports whether the client has no state that only its goroutine knows how to treat.
func (c *client) mayRide() bool {
	return c.authed && !c.quit && c.own == nil && c.tx == nil && !c.watching && !c.tracking && !c.monitor && !c.muted && c.skip == 0 && c.bulky == 0 &&
		!c.s.rules.Load().through && !c.s.closing.Load() && c.marksTravel()
}

// ride lends the client to its lane until something comes up for its goroutine. The guard calls it when no command is there.
func (c *client) ride() (rode bool, err error) {
	if !c.mayRide() {
		return false, nil
	}
	line, err := c.s.upstream.Driven(c.ctx, c.ident, c.seat.l.poller)
	if err != nil {
		return false, nil // its commands will be told
	}
	c.seat.board(line)
	err = <-c.seat.leave
	if c.seat.odd {
		c.settle()
	}
	if c.quit && err == nil {
		err = net.ErrClosed
	}
	return true, err
}

// settle does what the lane has left undone: it finishes the group, and writes what the client did not take.
func (c *client) settle() {
	if len(c.g.entries) > 0 {
		n := len(c.call.Ends)
		c.land()
		err := c.afterLoss(c.call.Err(), n, c.g.sent)
		c.expect(c.call.Size(), n)
		c.distribute(err)
		c.call.Free()
		c.g.reset()
	}
	c.write()
}

// depart begins a group on a connection; false: it cannot be used any more.
func (c *client) depart(line *upstream.Conn) bool {
	if line.Err() != nil || line.Run() != c.s.runs.Current() {
		return false
	}
	c.begin(c.seat.l.at)
	c.g.changes = 0
	c.g.conn, c.g.tight = line, c.s.policy.room.tight(2*maxGroupBytes)
	return true
}

// express adds a command, nil for one that nobody knows, to the group if nothing about it can block (X3); false: it is the goroutine's, and nothing has happened.
func (c *client) express(cmd *keyspace.Command, raw []byte, args [][]byte) bool {
	if cmd == nil || !c.isPlain(cmd, args) {
		return false
	}
	first, hits := len(c.g.touches), int64(0)
	if !cmd.Has(keyspace.NoKeys) {
		keys, err := cmd.AppendKeys(c.keyArgs[:0], args)
		if err != nil {
			return false
		}
		c.keyArgs = keys[:0]
		if !c.touchPlainly(cmd, keys, args) {
			c.undo(first)
			return false
		}
		hits = int64(min(len(keys), 1))
	}
	if cmd.Has(keyspace.DenyOOM) && !c.fits(takenBy(int64(len(raw)), len(args))) {
		c.undo(first)
		return false
	}
	c.g.tally.hits += hits
	if c.g.tally.family != cmd.Family {
		c.tally()
		c.g.tally.family = cmd.Family
	}
	c.g.tally.commands++
	if c.last.Load() != cmd {
		c.last.Store(cmd)
	}
	e := c.g.addEntry()
	e.cmd, e.raw, e.reads, e.touches = cmd, raw, cmd.OnlyReads(), [2]int{first, len(c.g.touches)}
	if !e.reads {
		c.g.changes = len(c.g.entries)
	}
	c.beginWrites(e)
	c.g.size += len(raw)
	return true
}

// tally is what a lane has counted and not added to the books yet: they are shared, and so dear.
type tally struct {
	family         keyspace.Family
	commands, hits int64
}

// fits reserves n bytes for a write of the group; false: memory is full. Far from that, it is done once for the group.
func (c *client) fits(n int64) bool {
	if !c.g.tight {
		c.g.owed += n
		return true
	}
	if !c.s.policy.reserve(n) {
		return false
	}
	c.g.room += n
	return true
}

func (c *client) tally() {
	if n := c.g.owed; n > 0 {
		c.g.room, c.g.owed = c.g.room+n, 0
		c.s.policy.wrote(n)
	}
	t := &c.g.tally
	if t.commands > 0 {
		c.s.stats.commands[t.family].n.Add(t.commands)
	}
	if t.hits > 0 {
		c.s.stats.hits.Add(t.hits)
	}
	*t = tally{}
}

// isPlain reports whether the command just goes upstream.
func (c *client) isPlain(cmd *keyspace.Command, args [][]byte) bool {
	if !cmd.ArityOK(len(args)) || c.s.saver.crowded() {
		return false
	}
	if l := c.seat.l; l.plain != cmd || l.rules != c.rules { // what its name alone does not say
		if c.s.handlerOf(cmd) != nil || c.rules.denies(cmd) || cmd.Has(keyspace.Blocking) && cmd.Blocks(args) {
			return false
		}
		if _, other := cmd.TargetDB(args); other {
			return false
		}
		if !cmd.Has(keyspace.Blocking) && !cmd.NamesDB() {
			l.plain, l.rules = cmd, c.rules
		}
	}
	return true
}

// touchPlainly passes the gates of a command that removes nothing.
func (c *client) touchPlainly(cmd *keyspace.Command, keys []keyspace.KeyArg, args [][]byte) bool {
	for _, k := range keys {
		key := args[k.Index]
		if k.Access == keyspace.Remove || keyspace.Own(key) {
			return false
		}
		identity, ok := c.s.sessions.match(c.idBuf, c.ident.DB, key)
		if !ok {
			continue
		}
		c.idBuf = identity
		written := key
		if k.Access == keyspace.Read {
			written = nil
		}
		r, marked, ok := c.s.sessions.tryEnterFor(written, c.g.latest(), identity, c.g.conn.Run(), c.now)
		if !ok {
			return false
		}
		t := c.g.addTouch()
		t.ref, t.db, t.key, t.access, t.marked = r, c.ident.DB, key, k.Access, marked
		if k.Access != keyspace.Read {
			t.write = writeOf(cmd, k, args)
		}
	}
	return true
}

// latest is the session that the group has entered last, none in an empty group.
func (g *group) latest() ref {
	if n := len(g.touches); n > 0 {
		return g.touches[n-1].ref
	}
	return ref{}
}

// addEntry returns a new entry, which is zero, at the end.
func (g *group) addEntry() *entry {
	n := len(g.entries)
	if n == cap(g.entries) {
		g.entries = append(g.entries, entry{})
	}
	g.entries = g.entries[:n+1] // reset leaves nothing behind the end
	return &g.entries[n]
}

// addTouch returns a new touch, which is zero, at the end.
func (g *group) addTouch() *touch {
	n := len(g.touches)
	if n == cap(g.touches) {
		g.touches = append(g.touches, touch{})
	}
	g.touches = g.touches[:n+1] // reset and undo leave nothing behind the end
	return &g.touches[n]
}

// laneReplies is from how many bytes on the replies to one group are the goroutine's: others wait while the lane writes them.
const laneReplies = 512 << 10

// isOdd reports whether a group's outcome asks for more than to pass the replies on: a lost connection, an error that concerns the
// proxy, or more bytes than are written at once, or copied before.
func (c *client) isOdd() bool {
	most := flushReplies
	if c.isPlainly() {
		most = laneReplies
	}
	if c.call.Err() != nil || c.call.Dropped() >= 0 || c.call.Size() >= most {
		return true
	}
	if !c.call.Failed() {
		return false
	}
	marks := false
	for i := range c.g.entries {
		marks = marks || c.g.entries[i].marks > 0
	}
	for i := range c.call.Ends {
		if r := c.call.Reply(i); r[0] == '-' && (marks || bytes.HasPrefix(r, []byte("-OOM"))) {
			return true
		}
	}
	return false
}

// isPlainly reports whether the replies are the client's as they are: nothing but its own commands was sent, and none of them
// was refused or is answered later.
func (c *client) isPlainly() bool {
	return c.g.marks == 0 && !c.call.Failed() && c.call.Whole() && !c.rules.through
}

// takeOff is request for a lane's group. Without marks in between it is what the client has sent, and need not be copied together: all its
// commands stand one after the other in the guard's buffer (X2).
func (c *client) takeOff() (req []byte, n int, err error) {
	if c.g.toMark > 0 {
		req, n, err = c.request()
	} else {
		c.call.Reset()
		req, n = c.conn.Taken(c.g.size), len(c.g.entries)
	}
	c.g.sent = req
	return req, n, err
}

// finishAll ends the touches of a group whose commands all ran.
func (c *client) finishAll() {
	for i := range c.g.entries {
		e := &c.g.entries[i]
		if !e.reads {
			c.finish(e, nil, nil)
			continue
		}
		for j := e.touches[0]; j < e.touches[1]; j++ {
			c.s.finishTouch(&c.g.touches[j], false)
		}
	}
}

// panicked costs a client its connection: a defect of ours must not cost the others'. Arguments and values stay out of the log.
func (c *client) panicked(p any) {
	c.s.log.Error("internal error, a client is disconnected", "client", c.conn.RemoteAddr().String(), "error", fmt.Sprint(p), "stack", string(debug.Stack()))
	c.abort()
}
