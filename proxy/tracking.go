package proxy

import (
	"bytes"
	"fmt"
	"strconv"

	"credproxy/internal/resp"
	"credproxy/keyspace"
)

// invalidations is the channel on which a client gets the invalidations that others redirect to it.
const invalidations = "__redis__:invalidate"

// listen notes that others may redirect their invalidations to this client.
func (c *client) listen() {
	c.setInfo(func(i *clientInfo) { i.listensOn = c.own.ClientID() })
}

// cmdClientTracking switches tracking on for the client's own connection. The invalidations come there, or on the connection
// of a client that listens for them.
func (c *client) cmdClientTracking(_ *keyspace.Command, args [][]byte, raw []byte) {
	on := bytes.EqualFold(args[2], []byte("on"))
	if !on && !c.tracking {
		c.pass(raw)
		return
	}
	at, target := redirectOf(args)
	if on && at > 0 {
		id, ok := c.listener(target)
		if !ok {
			c.emit(errorReply(nil, fmt.Sprintf("ERR credproxy: client %d does not listen: it has to SUBSCRIBE %s before "+
				"others redirect their invalidations to it", target, invalidations)))
			return
		}
		args = append([][]byte{}, args...)
		args[at] = strconv.AppendInt(nil, id, 10)
		raw = resp.AppendCommandBytes(nil, args)
	}
	if err := c.takeOwn(); err != nil {
		c.emit(errorReply(nil, textUnavailable(err)))
		return
	}
	c.watchOwn()
	reply := c.ask(raw)
	if !resp.IsError(reply) {
		if c.tracking = on; !on {
			c.redirect = 0
		} else if at > 0 {
			c.redirect = target
		}
		c.setInfo(func(i *clientInfo) { i.tracking = on })
	}
	c.emit(reply)
	c.own.Relay(c.relaying())
	c.giveBack()
}

// redirectOf finds the number behind REDIRECT and where it stands; at is 0 if there is none, or none that Redis would take.
func redirectOf(args [][]byte) (at int, id int64) {
	for i := 3; i+1 < len(args); i++ {
		switch {
		case bytes.EqualFold(args[i], []byte("PREFIX")):
			i++
		case bytes.EqualFold(args[i], []byte("REDIRECT")):
			i++
			if n, ok := number(args[i]); ok {
				at, id = i, n
			}
		}
	}
	return at, id
}

// listener returns Redis's number for a client that takes invalidations. A client that is not there has none: 0 is nobody's.
func (c *client) listener(id int64) (number int64, ok bool) {
	other := c.s.clients.get(id)
	if other == nil {
		return 0, true
	}
	other.setInfo(func(i *clientInfo) {
		number = i.listensOn
		i.targeted = i.targeted || number != 0
	})
	return number, number != 0
}

// cmdClientCaching is about the command that follows it at once on the same connection.
func (c *client) cmdClientCaching(_ *keyspace.Command, _ [][]byte, raw []byte) { c.pass(raw) }

// cmdClientGetRedir knows clients by their numbers here.
func (c *client) cmdClientGetRedir(_ *keyspace.Command, _ [][]byte, raw []byte) {
	if c.redirect == 0 {
		c.pass(raw)
		return
	}
	c.emit(resp.AppendInt(nil, c.redirect))
}

func (c *client) cmdClientTrackingInfo(_ *keyspace.Command, _ [][]byte, raw []byte) {
	reply, err := c.roundTrip(raw)
	if err != nil {
		c.emit(errorReply(nil, textUnavailable(err)))
		return
	}
	if head, rest, ok := bytes.Cut(reply, []byte("$8\r\nredirect\r\n:")); ok && c.redirect != 0 {
		_, tail, _ := bytes.Cut(rest, []byte("\r\n"))
		reply = append(bytes.Clone(head), "$8\r\nredirect\r\n"...)
		reply = append(resp.AppendInt(reply, c.redirect), tail...)
	}
	c.emit(reply)
}
