package proxy

// Replies come on a connection that others wait for, as large as Redis makes them: nobody can tell before. So what a group's replies
// have beyond maxGroupReplies is not kept, if only commands that read are left, and those are sent again, fewer at a time. A
// reply that is too large by itself then comes on a connection of its own, from which it is read no faster than the client takes it.
//
//	B1  Only commands behind the last one that may have changed something are sent again, all from the first whose reply is missing on: then
//	    the replies are those of a client that has sent these commands a little later.
//	B2  Their sessions are not left in between. So what they read is resident, in the same run of Redis (G2).
//	B3  A client that has got a part of a reply gets the rest, or nothing more: it is disconnected, and what follows is not written. It would
//	    take that for the rest of the value.

const (
	// bulkyReply is from how many bytes on a reply holds up those of others for longer than a connection of its own costs.
	bulkyReply = 256 << 10
	// bulkyReads is how many reads that turn out small end a client's being expected to get large replies.
	bulkyReads = 16
)

// boundReplies says for the group's request which replies need not be kept.
func (c *client) boundReplies() {
	if c.own == nil && c.capture == nil {
		c.call.Bound(c.g.changes, maxGroupReplies)
	}
}

// kept is how many replies have come and are here.
func (c *client) kept() int {
	if n := c.call.Dropped(); n >= 0 {
		return n
	}
	return len(c.call.Ends)
}

func (g *group) onlyReads() bool {
	for i := range g.entries {
		if e := &g.entries[i]; !e.reads || e.local != nil {
			return false
		}
	}
	return true
}

// readAgain answers the commands whose replies were not kept.
func (c *client) readAgain(entries []entry) {
	if len(entries) > 0 {
		c.more = 1 - firstGroup
		c.read(entries)
	}
}

// read answers commands that only read (or are answered already), some at a time.
func (c *client) read(entries []entry) {
	for len(entries) > 0 {
		n := 1
		switch {
		case c.quit: // nobody is there to get replies
			c.finish(&entries[0], nil, nil)
		case entries[0].local != nil:
			c.answer(&entries[0], entries[0].local)
		case c.bulky > 0:
			c.readBulky(&entries[0])
		default:
			n = c.readSome(entries[:min(len(entries), firstGroup+c.more)])
		}
		entries = entries[n:]
	}
}

// readSome answers the first few of the commands; it returns how many, at least one.
func (c *client) readSome(entries []entry) int {
	n, req := 0, c.g.req[:0]
	for n < len(entries) && entries[n].local == nil {
		req = append(req, entries[n].raw...)
		n++
	}
	c.g.req = req
	c.call.Bound(0, maxGroupReplies)
	err := c.g.conn.Send(c.call, n, req)
	if err != nil {
		c.call.Fail(err)
	} else {
		err = c.call.Wait()
	}
	kept := c.kept()
	if kept > 0 {
		c.expect(c.call.Size(), kept)
	}
	for i := range kept {
		c.answer(&entries[i], c.call.Reply(i))
	}
	switch {
	case err != nil:
		for i := kept; i < n; i++ {
			c.answer(&entries[i], errorReply(nil, textUnavailable(err)))
		}
		return n
	case kept == 0:
		c.readBulky(&entries[0])
		return 1
	}
	return kept
}

// answer leaves the sessions of a command that has not changed anything, and gives its reply.
func (c *client) answer(e *entry, reply []byte) {
	c.finish(e, reply, nil)
	c.emit(reply)
}

// readBulky answers one command whose reply may be large.
func (c *client) readBulky(e *entry) {
	defer c.s.streams.Add(-1)
	if c.s.streams.Add(1) > maxStreams {
		c.readWhole(e)
		return
	}
	c.write() // what is in front of it
	err := c.streamReply(e)
	streamed := c.call.Streamed()
	if c.bulky = max(0, c.bulky-1); streamed >= bulkyReply {
		c.bulky = bulkyReads
	}
	switch {
	case streamed > 0:
		if err != nil { // B3
			c.quit, c.muted = true, true
		}
		c.finish(e, nil, nil)
		if c.skip > 0 && !c.muted {
			c.skip--
		}
	case err != nil:
		c.answer(e, errorReply(nil, textUnavailable(err)))
	default:
		c.answer(e, c.call.Reply(0))
	}
}

// readWhole answers one command with a reply that is kept, whatever its size: there is no place for one more stream.
func (c *client) readWhole(e *entry) {
	reply, err := c.roundTripOver(c.g.conn, e.raw)
	if err != nil {
		reply = errorReply(nil, textUnavailable(err))
	}
	c.answer(e, reply)
}

// streamReply sends one command over a connection of its own and passes the reply on as it comes.
func (c *client) streamReply(e *entry) error {
	c.call.Reset()
	conn, err := c.s.upstream.Private(c.ctx, c.ident)
	if err != nil {
		return err
	}
	if conn.Run() != c.g.conn.Run() {
		c.s.upstream.Release(c.ident, conn)
		return errStaleRun
	}
	silent := c.muted || c.skip > 0
	err = conn.SendStreaming(c.call, e.raw, func(part []byte) error {
		if silent {
			return nil
		}
		return c.writePart(part)
	})
	if err == nil {
		err = c.call.Wait()
	}
	c.s.upstream.Release(c.ident, conn) // not kept if it has failed
	return err
}

// writePart writes a part of a reply that comes from Redis, as fast as the client takes it.
func (c *client) writePart(part []byte) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	_, err := c.conn.Write(part)
	return err
}
