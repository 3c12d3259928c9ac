package proxy

import (
	"context"
	"errors"

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
	e := entry{cmd: cmd, raw: raw}
	if err := c.admitBlocking(&e, args); err != nil {
		c.undo(0)
		c.emit(errorReply(nil, gateText(err)))
		return
	}
	c.g.entries = append(c.g.entries, e)
	defer c.g.reset()
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

var errClientGone = errors.New("the client has gone")

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
