package proxy

import (
	"bytes"
	"cmp"
	"sync"
	"time"

	"credproxy/keyspace"
	"credproxy/proxy/upstream"
)

// A command that is answered here is Redis's to permit all the same: before the answer Redis is asked the command itself, or one of
// that name which changes nothing, on a connection of the client's user. A permission is remembered for a moment, so that
// clients which introduce themselves on each connection do not each cost Redis a command; a refusal is not remembered.

// permittedFor is how long a permission is believed after Redis gave it. Redis itself applies a change of its ACL at once.
const permittedFor = 500 * time.Millisecond

// maxPermissions bounds how many permissions are remembered.
const maxPermissions = 4096

// permissions is what Redis has permitted a moment ago.
type permissions struct {
	mu    sync.Mutex // guards all and epoch
	all   map[permission]time.Time
	epoch int // rises when all is forgotten: what was asked before is not remembered after
}

// permission is a user and a command, with what Redis's ACL may tell apart of its arguments.
type permission struct{ user, command string }

// has reports whether a permission is fresh, and the epoch in which to remember the answer of Redis.
func (p *permissions) has(which permission, now time.Time) (fresh bool, epoch int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Before(p.all[which]), p.epoch
}

// add remembers a permission for which Redis was asked at a time.
func (p *permissions) add(which permission, asked time.Time, epoch int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if epoch != p.epoch {
		return
	}
	if p.all == nil || len(p.all) >= maxPermissions {
		p.all = map[permission]time.Time{}
	}
	p.all[which] = asked.Add(permittedFor)
}

func (p *permissions) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = nil
	p.epoch++
}

// asked makes of an answer one that is given if Redis permits the command. probe says, given the command, what Redis is asked.
func asked(probe func(raw []byte) []byte, run func(*client, *keyspace.Command, [][]byte, []byte)) func(*client, *keyspace.Command, [][]byte, []byte) {
	return func(c *client, cmd *keyspace.Command, args [][]byte, raw []byte) {
		if c.capture != nil || c.permitted(cmd.Name, probe(raw)) { // in a transaction Redis has judged the queued command
			run(c, cmd, args, raw)
		}
	}
}

// permitted reports whether the client's user may run a command; false: the refusal has been answered.
func (c *client) permitted(name string, probe []byte) bool {
	return c.permittedOver(nil, name, probe)
}

// permittedOver asks over a connection of the user's, nil for the one that the client's commands take.
func (c *client) permittedOver(conn *upstream.Conn, name string, probe []byte) bool {
	which, now := permission{cmp.Or(c.ident.User, defaultUser), name}, time.Now()
	fresh, epoch := c.s.allowed.has(which, now)
	if fresh {
		return true
	}
	var err error
	if conn == nil {
		if err = c.connect(); err == nil {
			conn = c.g.conn
		}
	}
	var reply []byte
	if err == nil {
		reply, err = c.roundTripOver(conn, probe)
	}
	switch {
	case err != nil:
		c.emit(errorReply(nil, textUnavailable(err)))
		return false
	case bytes.HasPrefix(reply, []byte("-NOPERM")):
		c.emit(reply)
		return false
	}
	c.s.allowed.add(which, now, epoch)
	return true
}

// cmdACLChange passes on what changes users, and forgets what they were permitted.
func (c *client) cmdACLChange(_ *keyspace.Command, _ [][]byte, raw []byte) {
	c.pass(raw)
	c.s.allowed.forget()
}
