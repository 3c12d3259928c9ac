package proxy

// execReply runs EXEC and passes its reply on as it comes, if that is not in one piece: nobody knows before how large it is. The books of the
// transaction are closed when the reply begins: it has run by then, and whoever has read a part of the reply may ask others what came of it.
// B3 holds. passed: the client has the reply; ran: the transaction has run.
func (c *client) execReply(tx *transaction, raw []byte) (reply []byte, passed, ran bool) {
	if len(tx.here) > 0 || tx.census != nil || c.rules.through || c.relaying() || c.muted || c.skip > 0 || c.capture != nil {
		return c.ask(raw), false, false
	}
	defer c.s.streams.Add(-1)
	if c.s.streams.Add(1) > maxStreams {
		return c.ask(raw), false, false
	}
	c.write()       // what is in front of it
	var head []byte // it may come byte by byte, and *-1 is an EXEC that did not run
	begun := false
	err := c.own.SendStreaming(c.call, raw, func(part []byte) error {
		if !begun {
			if head = append(head, part...); len(head) < 2 {
				return nil
			}
			part, begun, ran = head, true, head[0] == '*' && head[1] != '-'
			c.leaveTx(tx, ran)
		}
		return c.writePart(part)
	})
	if err == nil {
		err = c.call.Wait()
	}
	switch {
	case begun:
		if err != nil { // B3
			c.quit, c.muted = true, true
		}
		return nil, true, ran
	case err != nil:
		c.quit = true
		return errorReply(nil, textUnavailable(err)), false, false
	}
	return c.call.Reply(0), false, false
}

// leaveTx leaves the sessions of the transaction; what it has changed is dirty then.
func (c *client) leaveTx(tx *transaction, ran bool) map[ref]uint64 {
	seqs := map[ref]uint64{}
	keepBusy(tx.touches, holdQueued, -1)
	for i := range tx.touches {
		t := &tx.touches[i]
		if ran && t.lostWrite(c.call.Err()) {
			c.s.finishLate(c.own, t)
		}
		if seq := c.s.finishTouch(t, ran); seq > 0 {
			seqs[t.ref] = seq
		}
	}
	tx.touches = nil
	return seqs
}
