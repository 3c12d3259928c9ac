package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"credproxy/internal/resp"
	"credproxy/keyspace"
	"credproxy/proxy/upstream"
)

// block runs a command that may wait (BLPOP, XREAD BLOCK, WAIT) on a connection of the client's own. Its sessions stay busy
// for as long as it waits. If the client hangs up meanwhile, the connection goes, so that Redis does not pop an element
// for nobody.
func (c *client) block(cmd *keyspace.Command, args [][]byte, raw []byte) {
	borrowed := c.own == nil
	if err := c.takeOwn(); err != nil {
		c.emit(errorReply(nil, textUnavailable(err)))
		return
	}
	if borrowed {
		defer c.giveBack()
	}
	defer c.blocks()()
	e := entry{cmd: cmd, raw: raw}
	if err := c.admitBlocking(&e, args); err != nil {
		c.undo(0)
		c.emit(errorReply(nil, gateText(err)))
		return
	}
	c.g.entries = append(c.g.entries, e)
	defer c.g.reset()
	held := slices.Clone(c.g.touches) // the group forgets them when it is reset
	keepBusy(held, holdBlocked, 1)
	defer keepBusy(held, holdBlocked, -1)
	if c.relaying() {
		c.sendRelayed(c.waitUnlessGone)
		return
	}
	c.write() // what was answered before must not wait
	req, n, err := c.request()
	if err == nil {
		if err = c.own.Send(c.call, n, req); err == nil {
			err = c.waitUnlessGone()
		}
	}
	c.distribute(err)
	if err != nil {
		c.quit = true
	}
}

func (c *client) admitBlocking(e *entry, args [][]byte) error {
	c.g.conn = c.own
	if err := c.touchSlowly(e.cmd, c.keysOf(e.cmd, args), args, c.ident.DB); err != nil {
		return err
	}
	e.touches = [2]int{0, len(c.g.touches)}
	c.beginWrites(e)
	return nil
}

// blocks lets CLIENT UNBLOCK find the client until the returned function is called. That one waits for those who have found it:
// they must not unblock whoever blocks on this connection next.
func (c *client) blocks() (done func()) {
	c.setInfo(func(i *clientInfo) { i.blockedOn = c.own.ClientID() })
	return func() {
		c.setInfo(func(i *clientInfo) { i.blockedOn = 0 })
		c.unblockings.Wait()
	}
}

// blockedOn returns Redis's number of the connection on which the client blocks, 0 if it does not. It stays that connection
// until done is called.
func (c *client) blockedOn() (id int64, done func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.info.blockedOn <= 0 {
		return 0, func() {}
	}
	c.unblockings.Add(1)
	return c.info.blockedOn, c.unblockings.Done
}

// cmdClientUnblock puts Redis's number of the connection in place of the client's; Redis does the rest. Nobody has the number 0.
func (c *client) cmdClientUnblock(_ *keyspace.Command, args [][]byte, raw []byte) {
	n, ok := number(args[2])
	if !ok {
		c.pass(raw)
		return
	}
	id := int64(0)
	if other := c.s.clients.get(n); other != nil {
		var done func()
		id, done = other.blockedOn()
		defer done()
	}
	args = append([][]byte{}, args...)
	args[2] = strconv.AppendInt(nil, id, 10)
	c.pass(resp.AppendCommandBytes(nil, args))
}

// number reads an integer as Redis does: one way to write each.
func number(text []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(text), 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == string(text)
}

var errClientGone = fmt.Errorf("the client has gone: %w", upstream.ErrLost)

// waitUnlessGone waits for the call while it watches the client.
func (c *client) waitUnlessGone() error {
	ctx, cancel := context.WithCancel(c.blocked)
	defer cancel()
	hangup := make(chan bool, 1)
	go func() { hangup <- c.conn.Hangup(ctx) }()
	select {
	case <-c.call.Done():
		cancel()
		<-hangup
		return c.call.Err()
	case <-hangup:
		// The client has gone, or the proxy is stopping: either way nobody may get what Redis would still answer.
		c.own.Abandon()
		<-c.call.Done()
		if err := c.call.Err(); !errors.Is(err, upstream.ErrLost) {
			return err
		}
		return errClientGone
	}
}
