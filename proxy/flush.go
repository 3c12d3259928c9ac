package proxy

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"time"

	"credproxy/internal/resp"
	"credproxy/keyspace"
	"credproxy/proxy/upstream"
)

// flushTimeout bounds FLUSHALL's half in Postgres.
const flushTimeout = 5 * time.Minute

// cmdFlush is FLUSHALL and FLUSHDB: Postgres first, so that nothing flushed comes back.
func (c *client) cmdFlush(cmd *keyspace.Command, args [][]byte, raw []byte) {
	if len(args) > 2 || len(args) == 2 && !bytes.EqualFold(args[1], []byte("ASYNC")) && !bytes.EqualFold(args[1], []byte("SYNC")) {
		c.pass(raw) // Redis says what is wrong
		return
	}
	dbs := []int{c.ident.DB}
	if cmd.Name == "FLUSHALL" {
		dbs = nil
	}
	hit := func(db int) bool { return dbs == nil || db == dbs[0] }
	c.flushing(cmd, raw, func(ctx context.Context) error {
		if err := c.s.store.DeleteDB(ctx, dbs); err != nil {
			return err
		}
		return c.s.emptyAway(ctx, hit)
	}, hit)
}

func (c *client) cmdSwapDB(cmd *keyspace.Command, args [][]byte, raw []byte) {
	a, err1 := strconv.Atoi(string(args[1]))
	b, err2 := strconv.Atoi(string(args[2]))
	if err1 != nil || err2 != nil || a < 0 || b < 0 || c.refusesDB(a) || c.refusesDB(b) {
		c.pass(raw)
		return
	}
	if c.s.sessions.off && c.rules.flush == FlushAll {
		c.emit(errorReply(nil, textSwapOff))
		return
	}
	c.flushing(cmd, raw, func(ctx context.Context) error { return c.s.store.SwapDB(ctx, a, b) },
		func(db int) bool { return db == a || db == b })
}

// flushing runs a command on whole databases: nothing moves between the stores meanwhile, and afterwards nobody believes what
// was known of the sessions in them.
func (c *client) flushing(cmd *keyspace.Command, raw []byte, store func(context.Context) error, hit func(db int) bool) {
	if c.rules.flush != FlushAll {
		c.emit(errorReply(nil, textFlushDenied(cmd.Name)))
		return
	}
	if refusal := c.refusal(raw); refusal != nil {
		c.emit(refusal)
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, flushTimeout)
	defer cancel()
	if _, err := c.s.saver.sync(ctx); err != nil { // SWAPDB must find everything in Postgres
		c.emit(errorReply(nil, textTryAgain(err)))
		return
	}
	c.s.flushing.Lock()
	defer c.s.flushing.Unlock()
	if err := store(ctx); err != nil {
		c.emit(errorReply(nil, textTryAgain(err)))
		return
	}
	reply, err := c.roundTrip(raw)
	if err != nil {
		reply = errorReply(nil, textUnavailable(err))
	}
	c.s.forget(hit)
	c.emit(reply)
}

// refusal asks what Redis would say to a command without running it: it is queued in a transaction that is discarded. nil: it
// would run it. Postgres must not be flushed for a user who may not flush Redis.
func (c *client) refusal(raw []byte) []byte {
	conn, err := c.s.upstream.Private(c.ctx, c.ident)
	if err != nil {
		return errorReply(nil, textUnavailable(err))
	}
	defer c.s.upstream.Release(c.ident, conn)
	call := upstream.NewCall()
	for n, request := range [][]byte{command("MULTI"), slices.Concat(raw, command("DISCARD"))} { // not in one: MULTI may be denied
		if err = conn.Send(call, n+1, request); err == nil {
			err = call.Wait()
		}
		if err != nil {
			return errorReply(nil, textUnavailable(err))
		}
		if reply := call.Reply(0); resp.IsError(reply) {
			return reply
		}
	}
	return nil
}

// forget makes the sessions of some databases unknown and their metadata obsolete.
func (s *Server) forget(hit func(db int) bool) {
	s.sessions.table.Range(func(sh *shard, it *item) bool {
		g := &it.Value
		if hit(s.sessions.dbOf(it.Key)) && g.state == resident {
			g.state = unknown
			sh.Unlist(it)
			if g.more != nil { // what was dirty stays so: it may have been written after the flush
				g.more.doubtLocked()
			}
		} else if hit(s.sessions.dbOf(it.Key)) && g.state == evicted {
			g.state = unknown
		}
		return true
	})
	s.meta.forgetDBs(hit)
}
