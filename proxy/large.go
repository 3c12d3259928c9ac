package proxy

import (
	"time"

	"credproxy/internal/resp"
	"credproxy/keyspace"
)

// A command with a large value is passed on while it still comes: first the gate of its session, then a connection of its own, so that
// nobody's commands stand behind it, then part after part as Redis takes them. Nothing of it is kept here. Redis runs it when it is
// complete; if the client goes, or sends what is none, the connection to Redis goes, and nothing has happened.

// streamed says which commands are passed on like that, and from which argument on they can be large. What comes later must not
// matter here: the key is at args[1] (or there is none), and all that the rest can do is to change it.
var streamed = map[string]int{
	"SET": 2, "SETNX": 2, "GETSET": 2, "APPEND": 2, "SETEX": 3, "PSETEX": 3, "SETRANGE": 3,
	"HSET": 3, "HMSET": 3, "HSETNX": 3, "LPUSH": 2, "RPUSH": 2, "LPUSHX": 2, "RPUSHX": 2, "SADD": 2, "PUBLISH": 2,
}

// maxStreams is how many clients may be in the middle of such a command: each has a connection to Redis meanwhile. What more of
// them send is collected first.
const maxStreams = 128

// execLarge takes a large command.
func (c *client) execLarge(l *resp.Large) {
	cmd := c.s.table.Lookup(l.Args)
	if cmd == nil || !c.streams(cmd, l) {
		c.conn.Decline() // it comes again, whole
		return
	}
	defer c.s.streams.Add(-1)
	if c.s.streams.Add(1) > maxStreams {
		c.conn.Decline()
		return
	}
	c.s.stats.commands.count(cmd)
	c.last.Store(cmd)
	defer c.leaveRoom()
	if late[cmd.Name] {
		c.streamLate(cmd)
	} else {
		c.stream(cmd, l)
	}
}

// streams reports whether the command is one that can be passed on in parts, and nothing about the client asks for more.
func (c *client) streams(cmd *keyspace.Command, l *resp.Large) bool {
	from, ok := streamed[cmd.Name]
	return (ok && len(l.Args) >= from || late[cmd.Name]) && cmd.ArityOK(l.Count) && c.authed && c.own == nil && c.tx == nil && !c.monitor && !c.tracking &&
		c.s.handlerOf(cmd) == nil && !c.denied(cmd, l.Args)
}

// stream passes a large command on and answers it.
func (c *client) stream(cmd *keyspace.Command, l *resp.Large) {
	e := entry{cmd: cmd, large: l.Size}
	if err := c.admitLarge(&e, l); err != nil {
		c.undo(0)
		c.g.reset()
		c.giveBack()
		if c.skipLarge() {
			c.emit(errorReply(nil, gateText(err)))
		}
		return
	}
	defer c.giveBack()
	c.g.entries = append(c.g.entries, e)
	defer c.g.reset()
	n, whole, err := c.sendLarge(&c.g.entries[0])
	c.writeBarrier("mark-sent", "write-replied")
	if !whole {
		c.muted = true // whatever became of it, the client has not asked for it
	}
	c.distribute(err)
	c.expect(c.call.Size(), n)
}

// admitLarge takes a connection and passes the gate. Redis refuses a command without memory only when all of it is there, and it
// cannot be sent once more: room is made before.
func (c *client) admitLarge(e *entry, l *resp.Large) error {
	if e.cmd.Has(keyspace.DenyOOM) {
		c.makeRoom(l.Size, l.Count)
	}
	if err := c.takeOwn(); err != nil {
		return unavailableError{err}
	}
	c.g.conn = c.own
	if !e.cmd.Has(keyspace.NoKeys) {
		// Not AppendKeys: it judges by arguments that have not come. All of these write their key.
		keys := []keyspace.KeyArg{{Index: 1, Access: keyspace.Write, Scope: keyspace.Whole}}
		if err := c.touchSlowly(e.cmd, keys, l.Args, c.ident.DB); err != nil {
			return err
		}
	}
	e.touches = [2]int{0, len(c.g.touches)}
	c.beginWrites(e)
	return nil
}

// sendLarge sends the marks and the command, and waits for n replies. whole: all of the command has come.
func (c *client) sendLarge(e *entry) (n int, whole bool, err error) {
	part, last, err := c.conn.NextPart()
	if err != nil {
		c.call.Fail(err) // nothing was sent
		return 0, false, err
	}
	e.raw = part
	req, n, err := c.request()
	if err != nil {
		c.call.Fail(err)
		return n, last || c.skipLarge(), err
	}
	c.writeBarrier("mark-unsent", "write-unsent")
	if err = c.own.Send(c.call, n, req); err != nil {
		c.call.Fail(err)
		return n, last || c.skipLarge(), err
	}
	whole = c.sendParts(last)
	c.timer.begun = time.Now() // how long the client takes to send is not ours
	return n, whole, c.call.Wait()
}

// sendParts sends the rest of a large command, no faster than Redis takes it; false: it has no end, and is taken from Redis. When Redis has
// gone, the rest is read all the same: the client waits for its turn to be told.
func (c *client) sendParts(last bool) (whole bool) {
	for !last {
		var part []byte
		var err error
		if part, last, err = c.conn.NextPart(); err != nil {
			c.own.Abandon()
			return false
		}
		_ = c.own.Pass(part) // an error is the call's, too
	}
	return true
}

// skipLarge reads the rest of a large command that is not going to run; false: the client has not sent all of it.
func (c *client) skipLarge() bool {
	for {
		if _, last, err := c.conn.NextPart(); err != nil || last {
			return err == nil
		}
	}
}
