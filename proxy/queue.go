package proxy

import (
	"bytes"
	"strconv"

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
		c.s.policy.wrote(len(raw))
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
	case "SELECT", "INFO", "UNWATCH", "CLIENT|CACHING", "ACL|WHOAMI":
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
	if h == nil || h.standIn == nil {
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
	if reply[0] != '*' || string(reply[:head]) != "*"+itoa(tx.queued)+"\r\n" {
		return reply // it did not run
	}
	out := bytes.Clone(reply[:head])
	rest := reply[head:]
	for i := range tx.queued {
		var framer resp.Framer
		n, done, err := framer.Next(rest)
		if !done || err != nil {
			return reply // a reply within the reply that cannot be told apart: then nothing is put into its place
		}
		if fill := tx.here[i]; fill != nil {
			out = append(out, fill(rest[:n])...)
		} else {
			out = append(out, rest[:n]...)
		}
		rest = rest[n:]
	}
	return append(out, rest...)
}
