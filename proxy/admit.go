package proxy

import (
	"context"
	"errors"
	"time"

	"credproxy/keyspace"
	"credproxy/proxy/upstream"
)

// makeRoom reserves what a write of n bytes may take and, while memory is full, waits for eviction. The command that it is for gets it
// with takeRoom, or it is given back with leaveRoom.
func (c *client) makeRoom(n int64, args int) {
	n = takenBy(n, args)
	if !c.s.policy.reserve(n) {
		c.flush()
		ctx, cancel := context.WithTimeout(c.ctx, c.rules.wait)
		defer cancel()
		c.s.policy.makeRoom(ctx, n)
	}
	c.g.coming = n
}

func (c *client) takeRoom() { c.g.room, c.g.coming = c.g.room+c.g.coming, 0 }

func (c *client) leaveRoom() {
	c.s.policy.room.land(c.g.coming)
	c.g.coming = 0
}

// land says that what the group writes is in Redis: its replies are there, or never come.
func (c *client) land() {
	c.s.policy.room.land(c.g.room)
	c.g.room = 0
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
	ok, err := false, error(nil)
	if !c.s.saver.crowded() {
		ok, err = c.touchAll(e.cmd, keys, args, c.ident.DB, c.tryTouch)
	}
	if !ok && err == nil {
		// A session is not resident. The commands before must not wait for it, nor hold their sessions.
		c.undo(from)
		c.flush()
		c.s.stats.misses.Add(1)
		if c.unlinkStored(e.cmd, keys, args, e.raw) {
			return false
		}
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
	if t.ref, ok = c.s.sessions.tryEnter(c.g.latest(), identity, c.g.conn.Run(), c.now); ok {
		c.g.touches = append(c.g.touches, t)
	}
	return ok, nil
}

// staleRetries is how often a command is admitted again because Redis was restarted meanwhile.
const staleRetries = 5

// touchSlowly passes gates that have to be waited for.
func (c *client) touchSlowly(cmd *keyspace.Command, keys []keyspace.KeyArg, args [][]byte, db int) error {
	w := &waited{began: time.Now()}
	err := c.waitAtGates(cmd, keys, args, db, w)
	c.noteWait(w, cmd, err != nil)
	return err
}

func (c *client) waitAtGates(cmd *keyspace.Command, keys []keyspace.KeyArg, args [][]byte, db int, w *waited) error {
	ctx, cancel := context.WithTimeout(c.ctx, c.rules.wait)
	defer cancel()
	if c.s.saver.crowded() && c.writesSession(keys, args, db) {
		err := c.s.saver.room(ctx)
		if w.parts[WaitUnsaved] += time.Since(w.began); err != nil {
			return err
		}
	}
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
			if t.ref, err = c.s.enterOn(ctx, c.g.conn, identity, t.key, w); err == nil {
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
	for i := range c.g.touches[from:] {
		c.g.touches[from+i].ref.leave()
	}
	clear(c.g.touches[from:])
	c.g.touches = c.g.touches[:from]
}

// beginWrites finds out which marks the command needs and which keys go from Postgres first.
func (c *client) beginWrites(e *entry) {
	for i := e.touches[0]; i < e.touches[1]; i++ {
		t := &c.g.touches[i]
		if t.access == keyspace.Read || t.marked {
			continue
		}
		t.gen = c.s.sessions.beginWrite(t.ref, t.key, c.s.saver)
		if t.gen != "" {
			c.g.toMark++
		}
		if t.access == keyspace.Remove && t.ref.isAway() {
			t.access = keyspace.Write // nothing in Postgres to remove ahead (O2)
		}
		if t.access == keyspace.Remove {
			c.g.removals++
		}
	}
}

// writesSession reports whether the command may change a key of a session.
func (c *client) writesSession(keys []keyspace.KeyArg, args [][]byte, db int) bool {
	for _, k := range keys {
		if _, ok := c.s.sessions.match(c.idBuf, db, args[k.Index]); ok && k.Access != keyspace.Read {
			return true
		}
	}
	return false
}
