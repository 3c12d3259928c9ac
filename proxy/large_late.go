package proxy

import (
	"bytes"
	"strconv"
	"time"

	"credproxy/keyspace"
)

// A large command whose keys are not known before all of it has come (MSET, scripts) is passed on while it comes as well, but for its end.
// Redis runs nothing of which the end is missing.
//
//	V1  The last bytes are sent when all arguments have been seen, the gates of the keys are passed, and the marks stand.
//	V2  If that fails, the connection to Redis is closed: Redis forgets what it has of the command.
//
// Of an argument so much is kept as a key of a session may have: one that is longer is none, nor an option.

// late says which commands are passed on like that. None of them takes a key away: that would have to be in Postgres first.
var late = map[string]bool{
	"MSET": true, "MSETNX": true, "EVAL": true, "EVALSHA": true, "EVAL_RO": true, "EVALSHA_RO": true, "FCALL": true, "FCALL_RO": true,
	"XADD": true, "ZADD": true, "LSET": true, "LINSERT": true, "PFADD": true, "ECHO": true,
}

// keptArgument is how many bytes of an argument are kept.
const keptArgument = 4 << 10

// streamLate passes a large command on and answers it.
func (c *client) streamLate(cmd *keyspace.Command) {
	if err := c.takeOwn(); err != nil {
		if c.skipLarge() {
			c.emit(errorReply(nil, textUnavailable(err)))
		}
		return
	}
	defer c.giveBack()
	var in argumentKeeper
	end, sent, err := c.sendAllButEnd(&in)
	c.timer.begun = time.Now() // how long the client takes to send is not ours
	e := entry{cmd: cmd, large: in.size}
	if err == nil {
		err = c.admitLate(&e, in.args)
		if err != nil {
			c.undo(0)
			c.emit(errorReply(nil, gateText(err)))
		}
	}
	if err != nil {
		c.own.Abandon()
		if sent {
			_ = c.call.Wait()
		}
		c.g.reset()
		return
	}
	c.takeRoom()
	c.g.entries = append(c.g.entries, e)
	defer c.g.reset()
	c.writeBarrier("mark-unsent", "write-unsent")
	if sent {
		_ = c.own.Write(end) // an error is the call's, too
	} else if err = c.own.Send(c.call, 1, end); err != nil {
		c.call.Fail(err)
	}
	if err == nil {
		err = c.call.Wait()
	}
	c.writeBarrier("mark-sent", "write-replied")
	c.land()
	c.distribute(err)
	c.expect(c.call.Size(), 1)
}

// sendAllButEnd sends the command, no faster than Redis takes it, and returns its last bytes. sent: a reply will come, or the connection
// fails.
func (c *client) sendAllButEnd(in *argumentKeeper) (end []byte, sent bool, err error) {
	for {
		part, last, err := c.conn.NextPart()
		if err != nil {
			return nil, sent, err
		}
		in.feed(part)
		switch {
		case last:
			return part, sent, nil
		case !sent:
			if err := c.own.Send(c.call, 1, part); err != nil {
				if c.skipLarge() {
					c.emit(errorReply(nil, textUnavailable(err)))
				}
				return nil, false, err
			}
			sent = true
		default:
			_ = c.own.Pass(part) // an error is the call's, too
		}
	}
}

// admitLate passes the gates and sets the marks.
func (c *client) admitLate(e *entry, args [][]byte) error {
	if e.cmd.Has(keyspace.DenyOOM) {
		c.makeRoom(e.large, len(args))
	}
	c.g.conn = c.own
	keys := c.keysOf(e.cmd, args)
	for i := range keys {
		keys[i].Scope = keyspace.Whole // names of fields may be longer than what is kept
	}
	if len(keys) > 0 {
		if err := c.touchSlowly(e.cmd, keys, args, c.ident.DB); err != nil {
			return err
		}
	}
	e.touches = [2]int{0, len(c.g.touches)}
	c.beginWrites(e)
	for i := range c.g.touches {
		if t := &c.g.touches[i]; t.gen != "" && !planted("mark-missing") {
			if err := c.s.markNow(c.ctx, t); err != nil {
				return unavailableError{err}
			}
		}
	}
	return nil
}

// argumentKeeper takes a canonical command apart as it comes.
type argumentKeeper struct {
	args [][]byte
	size int64  // bytes of the command
	line []byte // the beginning of a header
	left int    // bytes of the argument that are still to come, with its line end
}

func (k *argumentKeeper) feed(b []byte) {
	k.size += int64(len(b))
	for len(b) > 0 {
		if k.left == 0 {
			b = k.header(b)
			continue
		}
		n := min(len(b), k.left)
		arg := &k.args[len(k.args)-1]
		keep := min(n, k.left-2, keptArgument-len(*arg))
		*arg = append(*arg, b[:max(keep, 0)]...)
		b, k.left = b[n:], k.left-n
	}
}

// header takes a line; it returns what is behind it.
func (k *argumentKeeper) header(b []byte) []byte {
	end := bytes.IndexByte(b, '\n') + 1
	if end == 0 {
		k.line = append(k.line, b...)
		return nil
	}
	k.line = append(k.line, b[:end]...)
	if n, _ := strconv.Atoi(string(bytes.TrimSpace(k.line[1:]))); k.line[0] == '$' {
		k.args, k.left = append(k.args, nil), n+2
	}
	k.line = k.line[:0]
	return b[end:]
}
