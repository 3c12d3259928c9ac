package proxy

import (
	"bytes"
	"context"
	"fmt"

	"credproxy/internal/resp"
	"credproxy/internal/session"
	"credproxy/keyspace"
	"credproxy/proxy/upstream"
)

// transaction is a client between MULTI and EXEC. It runs on a connection of the client's own. Every command's sessions pass
// the gate when it is queued and stay busy until the transaction is over, so that EXEC finds them whole.
type transaction struct {
	touches []touch
	db      int  // database, as queued SELECTs will leave it
	failed  bool // a command was refused here, so Redis does not know that EXEC must fail
	queued  int
	here    map[int]func(reply []byte) []byte // by place: makes the client's reply from Redis's
	lists   []*listing                        // those among them that look at the database as EXEC finds it
	counts  map[int]*listing                  // by place: the DBSIZE behind which Redis counts the proxy's own keys
	census  *census                           // of EXEC's moment, if there is a DBSIZE
}

func (t *transaction) abandon(s *Server) {
	keepBusy(t.touches, holdQueued, -1)
	for i := range t.touches {
		s.finishTouch(&t.touches[i], true)
	}
	t.touches = nil
}

// takeOwn makes sure that the client has a connection of its own.
func (c *client) takeOwn() error {
	if c.own != nil {
		return c.ownErr()
	}
	conn, err := c.s.upstream.Private(c.ctx, c.ident)
	if err != nil {
		return err
	}
	conn.OnPush(c.push)
	c.own = conn
	return nil
}

// ownErr says why the client's own connection cannot be used any more. What state the client had is gone with it, so the client
// is disconnected once it has got its error, as Redis would have done.
func (c *client) ownErr() error {
	err := c.own.Err()
	if err != nil {
		c.quit = true
	}
	return err
}

// giveBack returns the connection when no state is left on it.
func (c *client) giveBack() {
	if c.own == nil || c.tx != nil || c.watching || c.tracking || c.monitor || c.subs.Load()+c.shards.Load() > 0 {
		return
	}
	c.letGo()
	c.unwatchOwn()
	targeted := false
	c.setInfo(func(i *clientInfo) { targeted, i.listensOn, i.targeted = i.targeted, 0, false })
	if targeted { // invalidations may still come: they are nobody else's
		c.own.Abandon()
	} else {
		c.s.upstream.Release(c.ident, c.own)
	}
	c.own, c.g.conn = nil, nil
}

func (c *client) unwatch() {
	for _, r := range c.watched {
		r.keepBusy(holdWatch, -1)
		r.leave()
	}
	c.watched, c.watching = nil, false
}

// ask sends one command over the client's own connection; a lost connection ends the client, whose state went with it.
func (c *client) ask(raw []byte) []byte {
	reply, err := c.roundTripOver(c.own, raw)
	if err != nil {
		c.quit = true
		return errorReply(nil, textUnavailable(err))
	}
	return reply
}

// roundTripOver sends one command over a connection and returns its reply, valid until the next one. On a connection that passes
// everything on to the client this reply is kept back, and what comes behind it waits until the client has it (RESP3 tells
// messages and replies apart, and in RESP2 a subscriber's commands do not come here).
func (c *client) roundTripOver(conn *upstream.Conn, raw []byte) ([]byte, error) {
	var err error
	if c.relaying() {
		c.write()
		c.hold = make(chan struct{})
		conn.Relay(false)
		defer func() { conn.Relay(c.relaying()) }()
		err = conn.SendHolding(c.call, raw, c.hold)
	} else {
		err = conn.Send(c.call, 1, raw)
	}
	if err != nil {
		return nil, err
	}
	if err := c.call.Wait(); err != nil {
		return nil, err
	}
	return c.call.Reply(0), nil
}

func (c *client) cmdMulti(_ *keyspace.Command, _ [][]byte, raw []byte) {
	if c.tx != nil {
		c.emit(c.ask(raw)) // Redis says that it cannot be nested, or that the user may not at all
		return
	}
	if err := c.takeOwn(); err != nil {
		c.emit(errorReply(nil, textUnavailable(err)))
		return
	}
	reply := c.ask(raw)
	if !resp.IsError(reply) {
		c.tx = &transaction{db: c.ident.DB}
		c.setMulti(0)
	}
	c.emit(reply)
	c.giveBack()
}

// wrongArity answers a command with too few or too many arguments. As in Redis it fails the transaction; EXEC also ends it.
func (c *client) wrongArity(cmd *keyspace.Command) {
	text := textArity(cmd.Name)
	exec := cmd.Name == "EXEC"
	if exec {
		text = textExecArity
	}
	switch {
	case exec && c.tx != nil:
		c.ask(command("DISCARD"))
		c.endTx(c.tx, false, nil)
	case exec && c.watching:
		c.ask(command("UNWATCH"))
		c.unwatch()
		c.giveBack()
	case c.tx != nil:
		c.tx.failed = true
	}
	c.reply(errorReply(nil, text))
}

func (c *client) setMulti(n int) {
	c.mu.Lock()
	c.info.multi = n
	c.mu.Unlock()
}

// admitQueued passes the gates of a command in the transaction.
func (c *client) admitQueued(cmd *keyspace.Command, args [][]byte) error {
	keys := c.keysOf(cmd, args)
	if len(keys) == 0 {
		return nil
	}
	c.g.conn = c.own
	if err := c.touchSlowly(cmd, keys, args, c.tx.db); err != nil {
		c.undo(0)
		return err
	}
	keepBusy(c.g.touches, holdQueued, 1)
	for i := range c.g.touches {
		// The arguments must outlive the batch in which they came.
		t := c.g.touches[i]
		t.key = bytes.Clone(t.key)
		t.write.key = t.key
		fields := make([][]byte, len(t.write.fields))
		for j := range fields {
			fields[j] = bytes.Clone(t.write.fields[j])
		}
		t.write.fields = fields
		c.tx.touches = append(c.tx.touches, t)
	}
	c.g.touches = c.g.touches[:0]
	return nil
}

func (c *client) cmdExec(_ *keyspace.Command, _ [][]byte, raw []byte) {
	if !c.authed {
		c.emit(errorReply(nil, textNoAuth))
		return
	}
	if c.tx == nil {
		c.pass(raw)
		return
	}
	tx := c.tx
	refusal := ""
	if tx.failed {
		refusal = textExecAbort
	} else if err := c.prepareExec(tx); err != nil {
		refusal = gateText(err)
	} else if err := c.beginLists(tx); err != nil {
		refusal = textUnavailable(err)
	}
	if refusal != "" {
		c.ask(command("DISCARD"))
		c.endTx(tx, false, nil)
		c.emit(errorReply(nil, refusal))
		return
	}
	reply, passed, ran := c.execReply(tx, raw)
	if passed {
		if ran {
			c.setDB(tx.db)
		}
		c.endTx(tx, ran, nil)
		return
	}
	if tx.census != nil {
		tx.census.counted()
		defer tx.census.close()
	}
	if len(tx.here) > 0 {
		reply = c.answerHere(tx, bytes.Clone(reply))
	}
	ran = reply[0] == '*' && !bytes.HasPrefix(reply, []byte("*-1"))
	if ran {
		c.setDB(tx.db)
	}
	if bytes.HasPrefix(reply, []byte("-OOM")) || bytes.Contains(reply[:min(len(reply), 64)], []byte("-OOM")) {
		c.s.policy.wake()
	}
	c.emit(c.endTx(tx, ran || c.quit, bytes.Clone(reply)))
}

// prepareExec does before EXEC what single writes do before they are sent: marks, and removals from Postgres.
func (c *client) prepareExec(tx *transaction) error {
	ctx, cancel := context.WithTimeout(c.ctx, c.rules.wait)
	defer cancel()
	var removals []session.Removal
	for i := range tx.touches {
		t := &tx.touches[i]
		if t.access == keyspace.Read {
			continue
		}
		if t.gen = c.s.sessions.beginWrite(t.ref, t.key, c.s.saver); t.gen != "" {
			if err := c.s.markNow(ctx, t); err != nil {
				return unavailableError{err}
			}
		}
		if t.access == keyspace.Remove && !t.ref.isAway() {
			rem, err := c.s.hold(ctx, t)
			if err != nil {
				return err
			}
			removals = append(removals, rem)
		}
	}
	if len(removals) == 0 {
		return nil
	}
	return c.s.remover.remove(ctx, removals)
}

// endTx leaves all sessions of the transaction; in through mode it waits until its changes are in Postgres.
func (c *client) endTx(tx *transaction, ran bool, reply []byte) []byte {
	seqs := c.leaveTx(tx, ran)
	run := c.own.Run()
	c.tx = nil
	c.setMulti(-1)
	c.unwatch()
	if !c.quit {
		c.giveBack()
	}
	if !c.rules.through || !ran {
		return reply
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.rules.wait)
	defer cancel()
	for r, seq := range seqs {
		if err := c.s.saver.waitSaved(ctx, r, seq, run); err != nil {
			return errorReply(nil, textTryAgain(fmt.Errorf("the transaction is in Redis but not in Postgres yet: %w", err)))
		}
	}
	return reply
}

func (c *client) cmdDiscard(_ *keyspace.Command, _ [][]byte, raw []byte) {
	if !c.authed {
		c.emit(errorReply(nil, textNoAuth))
		return
	}
	if c.tx == nil {
		c.pass(raw)
		return
	}
	reply := bytes.Clone(c.ask(raw))
	c.endTx(c.tx, false, nil)
	c.emit(reply)
}

// cmdWatch keeps the keys' sessions busy, so that no eviction touches what is watched.
func (c *client) cmdWatch(cmd *keyspace.Command, args [][]byte, raw []byte) {
	switch {
	case !c.authed:
		c.emit(errorReply(nil, textNoAuth))
		return
	case c.tx != nil:
		c.emit(c.ask(raw))
		return
	}
	if err := c.takeOwn(); err != nil {
		c.emit(errorReply(nil, textUnavailable(err)))
		return
	}
	if err := c.watchGates(cmd, args); err != nil {
		c.undo(0)
		c.emit(errorReply(nil, gateText(err)))
		c.giveBack()
		return
	}
	reply := c.ask(raw)
	keepBusy(c.g.touches, holdWatch, 1)
	for _, t := range c.g.touches {
		c.watched = append(c.watched, t.ref)
	}
	c.g.touches = c.g.touches[:0]
	c.watching = true
	c.emit(reply)
	c.giveBack()
}

func (c *client) watchGates(cmd *keyspace.Command, args [][]byte) error {
	c.g.conn = c.own
	return c.touchSlowly(cmd, c.keysOf(cmd, args), args, c.ident.DB)
}

func (c *client) cmdUnwatch(_ *keyspace.Command, _ [][]byte, raw []byte) {
	if c.own == nil {
		c.emit(replyOK)
		return
	}
	reply := bytes.Clone(c.ask(raw))
	c.unwatch()
	c.giveBack()
	c.emit(reply)
}
