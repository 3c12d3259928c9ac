package proxy

import (
	"bytes"
	"cmp"
	"strconv"
	"time"

	"credproxy/internal/resp"
	"credproxy/keyspace"
)

// A transaction runs in Redis. A command in it that is answered here, or completed here (KEYS), stands in Redis's queue all the
// same, itself or something harmless in its place: Redis judges whether the user may, and its reply to EXEC has an element
// in which the client's answer is put.

// queue takes a command inside MULTI.
func (c *client) queue(cmd *keyspace.Command, args [][]byte, raw []byte) {
	if text := c.notInMulti(cmd, args); text != "" {
		c.tx.failed = true
		c.emit(errorReply(nil, text))
		return
	}
	if cmd != nil && cmd.Has(keyspace.DenyOOM) {
		c.makeRoom(int64(len(raw)), len(args))
		defer c.leaveRoom() // from the moment that Redis has queued it, its memory is counted there
	}
	if err := c.admitQueued(cmd, args); err != nil {
		c.tx.failed = true
		c.emit(errorReply(nil, gateText(err)))
		return
	}
	raw, fill := c.inPlace(cmd, args, raw)
	reply := c.ask(raw)
	if cmd != nil && cmd.Name == "SELECT" && !resp.IsError(reply) {
		if db, err := strconv.Atoi(string(args[1])); err == nil && itoa(db) == string(args[1]) && !c.refusesDB(db) {
			c.tx.db = db // otherwise it fails in EXEC, and the commands behind it stay where they are
		}
	}
	if fill != nil && !resp.IsError(reply) {
		c.tx.here[c.tx.queued] = fill
		if cmd.Name == "DBSIZE" {
			reply = bytes.Clone(reply)
			c.queueCount()
		}
	}
	c.tx.queued++
	c.setMulti(c.tx.queued)
	c.emit(reply)
}

// notInMulti says why a command cannot be queued: what changes the connection itself would change one that is only borrowed.
func (c *client) notInMulti(cmd *keyspace.Command, args [][]byte) string {
	switch {
	case cmd == nil && len(args) > 0 && isOwnCommand(args[0]):
		return textInMulti("CREDPROXY")
	case c.denied(cmd, args):
		return textDenied(nameOf(cmd, args))
	case cmd == nil || !cmd.ArityOK(len(args)):
		return ""
	case cmd.Has(keyspace.Flush | keyspace.PubSub):
		return textInMulti(cmd.Name)
	}
	h := c.s.handlerOf(cmd)
	if h == nil || h.standIn != nil {
		return ""
	}
	switch cmd.Name {
	case "SELECT", "INFO", "UNWATCH", "CLIENT|CACHING":
		return ""
	}
	if cmd.Has(keyspace.Connection) {
		return textInMulti(cmd.Name)
	}
	return ""
}

// inPlace says what is queued for a command, and how the client's reply is made of the one to that; nil: it is the same.
func (c *client) inPlace(cmd *keyspace.Command, args [][]byte, raw []byte) (queued []byte, fill func([]byte) []byte) {
	if cmd == nil || !cmd.ArityOK(len(args)) {
		return raw, nil
	}
	if c.tx.here == nil {
		c.tx.here = map[int]func([]byte) []byte{}
	}
	if cmd.Has(keyspace.Listing) {
		l := c.newListing(cmd, args, c.tx.db)
		l.inTx = true
		c.tx.lists = append(c.tx.lists, l)
		return l.request(args, raw), l.complete
	}
	h := c.s.handlerOf(cmd)
	if h == nil || h.standIn == nil || cmd.Name == "ACL|WHOAMI" && c.rules.own == nil {
		return raw, nil
	}
	kept := make([][]byte, len(args)) // they must outlive the batch in which they came
	for i := range args {
		kept[i] = bytes.Clone(args[i])
	}
	return h.standIn(raw), func(reply []byte) []byte {
		if resp.IsError(reply) {
			return reply
		}
		return c.captured(func() { h.run(c, cmd, kept, resp.AppendCommandBytes(nil, kept)) })
	}
}

// queueCount queues behind a DBSIZE what counts the proxy's own keys at that very moment: marks come and go with every save. A user
// who may not ask that would have the whole transaction refused: then they are counted after EXEC, and may be off by a few.
func (c *client) queueCount() {
	ask := append([]string{"EXISTS"}, ownKeys()...)
	dry := []any{"ACL", "DRYRUN", cmp.Or(c.ident.User, defaultUser)}
	for _, arg := range ask {
		dry = append(dry, arg)
	}
	may, err := c.s.control.db(0).Do(c.ctx, dry...).Text()
	if err != nil || may != "OK" || resp.IsError(c.ask(command(ask...))) {
		return
	}
	if c.tx.counts == nil {
		c.tx.counts = map[int]*listing{}
	}
	c.tx.counts[c.tx.queued] = c.tx.lists[len(c.tx.lists)-1]
}

// beginLists prepares the listings of a transaction for the moment of EXEC, which is next.
func (c *client) beginLists(tx *transaction) (err error) {
	for _, l := range tx.lists {
		l.since = time.Now().UnixNano()
		if !l.plain && (l.name == "DBSIZE" || l.name == "KEYS") && tx.census == nil {
			if tx.census, err = c.s.beginCensus(c.ctx); err != nil {
				return err
			}
		}
		l.census = tx.census
	}
	return nil
}

// itself queues the command: what it does to a borrowed connection harms nobody.
func itself(raw []byte) []byte { return raw }

// instead queues something else.
func instead(args ...string) func([]byte) []byte {
	return func([]byte) []byte { return command(args...) }
}

// captured returns what f answers.
func (c *client) captured(f func()) []byte {
	var out []byte
	c.capture = &out
	defer func() { c.capture = nil }()
	f()
	return out
}

// answerHere puts the client's answers into Redis's reply to EXEC.
func (c *client) answerHere(tx *transaction, reply []byte) []byte {
	head := bytes.IndexByte(reply, '\n') + 1
	if reply[0] != '*' || string(reply[:head]) != "*"+itoa(tx.queued+len(tx.counts))+"\r\n" {
		return reply // it did not run
	}
	elems, ok := framesOf(reply[head:], tx.queued+len(tx.counts))
	if !ok {
		return reply // a reply within the reply that cannot be told apart: then nothing is put into its place
	}
	out := resp.AppendArray(nil, tx.queued)
	for i := range tx.queued {
		elem := elems[0]
		elems = elems[1:]
		if l := tx.counts[i]; l != nil {
			if v, _, err := resp.Parse(elems[0]); err == nil {
				l.own = v.Int
			}
			elems = elems[1:]
		}
		if fill := tx.here[i]; fill != nil {
			elem = fill(elem)
		}
		out = append(out, elem...)
	}
	return out
}

// framesOf cuts b, which is exactly n replies, into them.
func framesOf(b []byte, n int) (frames [][]byte, ok bool) {
	for range n {
		var framer resp.Framer
		size, done, err := framer.Next(b)
		if !done || err != nil {
			return nil, false
		}
		frames = append(frames, b[:size])
		b = b[size:]
	}
	return frames, len(b) == 0
}
