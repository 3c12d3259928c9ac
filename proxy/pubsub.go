package proxy

import (
	"bytes"
	"crypto/rand"
	"slices"

	"credproxy/internal/resp"
	"credproxy/keyspace"
)

// A subscriber, and a client that tracks keys, gets bytes that answer no command. On its own connection everything that Redis
// sends is passed on as it comes, in Redis's order; a PING with a text that nobody can guess ends each batch and is
// swallowed. So a message never overtakes the reply before it, however many replies a command has.

// relaying reports whether replies go to the client directly from the reader of its own connection.
func (c *client) relaying() bool {
	return c.own != nil && (c.tracking && c.redirect == 0 && c.ident.Proto == 3 || c.monitor || c.subscribed())
}

func (c *client) subscribed() bool { return c.subs.Load()+c.shards.Load() > 0 }

// onlyListens reports whether the client may do little but subscribe and unsubscribe.
func (c *client) onlyListens() bool { return c.ident.Proto == 2 && c.subscribed() }

func isSubscription(cmd *keyspace.Command) bool { return cmd != nil && cmd.Has(keyspace.PubSub) }

func (c *client) cmdSubscribe(cmd *keyspace.Command, args [][]byte, raw []byte) {
	if err := c.takeOwn(); err != nil {
		c.emit(errorReply(nil, textUnavailable(err)))
		return
	}
	if cmd.Name == "SUBSCRIBE" && slices.ContainsFunc(args[1:], func(a []byte) bool { return string(a) == invalidations }) {
		c.listen()
	}
	c.watchOwn()
	c.relay(raw)
	c.giveBack()
}

// watchOwn disconnects the client when its own connection is lost: its subscriptions are lost with it, and it would wait for
// messages that never come. It ends with unwatchOwn, before the connection may become another client's.
func (c *client) watchOwn() {
	if c.ownOver != nil {
		return
	}
	own, over := c.own, make(chan struct{})
	c.ownOver = over
	c.s.tasks.Go(func() {
		select {
		case <-own.Closed():
			select {
			case <-over:
			default:
				c.conn.Close()
			}
		case <-over:
		case <-c.ctx.Done():
		}
	})
}

func (c *client) unwatchOwn() {
	if c.ownOver != nil {
		close(c.ownOver)
		c.ownOver = nil
	}
}

// relay sends commands over the client's own connection and returns when all that Redis says to them has been passed on.
func (c *client) relay(raw []byte) { c.relayUntil(raw, c.call.Wait) }

// relayUntil is relay with a way to wait for the call.
func (c *client) relayUntil(raw []byte, wait func() error) {
	c.write()
	c.own.Relay(true)
	err := c.own.SendUntil(c.call, rand.Text(), raw)
	if err == nil {
		err = wait()
	}
	if err != nil {
		c.emit(errorReply(nil, textUnavailable(err)))
		c.quit = true
		return
	}
	c.own.Relay(c.relaying())
}

// sendRelayed sends the group that way; what is answered here goes out in its place between the replies that pass by.
func (c *client) sendRelayed(wait func() error) {
	var req []byte
	flush := func() {
		if len(req) > 0 && !c.quit {
			c.relayUntil(req, wait)
		}
		req = req[:0]
	}
	for i := range c.g.entries {
		e := &c.g.entries[i]
		if e.local == nil {
			if err := c.markEntry(e); err != nil {
				e.local = errorReply(nil, textUnavailable(err))
			}
		}
		if e.local == nil {
			req = append(req, e.raw...)
			continue
		}
		flush()
		c.emit(e.local)
	}
	flush()
	for i := range c.g.entries {
		e := &c.g.entries[i]
		if e.local == nil {
			c.finishLost(e, c.call.Err())
		}
		c.finish(e, e.local, nil)
	}
}

// markEntry sets the marks that a command needs over the proxy's own connection.
func (c *client) markEntry(e *entry) error {
	for i := e.touches[0]; i < e.touches[1]; i++ {
		if t := &c.g.touches[i]; t.gen != "" {
			if err := c.s.markNow(c.ctx, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// countSubscriptions reads the counts out of Redis's confirmations: [kind, channel, count]. Channels and patterns are counted
// together, shard channels apart.
func (c *client) countSubscriptions(frame []byte) {
	head := frame[:min(len(frame), 32)]
	if !bytes.Contains(head, []byte("subscribe\r\n")) {
		return
	}
	v, _, err := resp.Parse(frame)
	if err != nil || len(v.Elems) != 3 {
		return
	}
	switch string(v.Elems[0].Str) {
	case "subscribe", "psubscribe", "unsubscribe", "punsubscribe":
		c.subs.Store(v.Elems[2].Int)
	case "ssubscribe", "sunsubscribe":
		c.shards.Store(v.Elems[2].Int)
	}
}

// cmdMonitor turns the connection into a stream of what Redis executes, the proxy's own commands included.
func (c *client) cmdMonitor(_ *keyspace.Command, _ [][]byte, raw []byte) {
	if c.tx != nil || c.watching {
		c.emit(errorReply(nil, "ERR credproxy: MONITOR is not supported while a transaction or WATCH is open"))
		return
	}
	if err := c.takeOwn(); err != nil {
		c.emit(errorReply(nil, textUnavailable(err)))
		return
	}
	c.monitor = true
	c.setInfo(func(i *clientInfo) { i.monitor = true })
	c.watchOwn()
	c.own.Relay(true)
	c.toOwn(raw)
}

// toOwn sends a monitoring client's bytes; whatever Redis answers is passed on.
func (c *client) toOwn(raw []byte) {
	c.write()
	if err := c.own.Write(raw); err != nil {
		c.quit = true
	}
}

// monitorSends takes a command of a monitoring client. It goes to Redis as it is, since what comes back cannot be told from what is
// monitored; but credentials of the proxy's own users are judged here, and Redis never sees them.
func (c *client) monitorSends(cmd *keyspace.Command, args [][]byte, raw []byte) {
	switch {
	case c.rules.own == nil || cmd == nil || !cmd.ArityOK(len(args)):
		c.toOwn(raw)
	case cmd.Name == "AUTH":
		c.catchUp()
		c.cmdAuth(cmd, args, raw)
	case cmd.Name == "HELLO":
		c.monitorGreets(args, raw)
	default:
		c.toOwn(raw)
	}
}

func (c *client) monitorGreets(args [][]byte, raw []byte) {
	h, problem := c.parseHello(args)
	switch {
	case problem != "":
		c.catchUp()
		c.reply(errorReply(nil, problem))
		return
	case h.auth:
		c.catchUp()
		if !c.loginHere(h.user, h.password) {
			return
		}
		words := []string{"HELLO", itoa(h.proto)}
		if h.name != nil {
			words = append(words, "SETNAME", string(h.name))
		}
		raw = command(words...)
	}
	c.toOwn(raw)
}

// catchUp returns when Redis has answered what was sent to it before, so that an answer from here comes in its turn.
func (c *client) catchUp() { c.relay(nil) }
