package proxy

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"credproxy/keyspace"
	"credproxy/proxy/upstream"
)

// A command whose connection was lost may still lie in a socket and run much later: after its client has heard that the outcome is
// unknown, and after the session was saved, or evicted. An HSET would then make a hash of one field where a session is outside
// Redis, and nobody would know of the change.
//
//	T1  A write whose reply was lost counts as in flight (busy, and a removal's key held) until Redis has let go of its
//	    connection: CLIENT KILL was answered, or Redis is another run. Whatever it has done by then is dirty afterwards.
//
// The client need not wait for that.

// finishLate finishes a touch of a write whose reply was lost with conn. The caller's buffers are its own again on return.
func (s *Server) finishLate(conn *upstream.Conn, t *touch) {
	if t.over {
		return
	}
	late := *t
	t.over = true
	late.key = bytes.Clone(t.key)
	late.write.key = late.key
	late.write.fields = nil
	for _, f := range t.write.fields {
		late.write.fields = append(late.write.fields, bytes.Clone(f))
	}
	s.brief(func() {
		conn.Bury(func() { s.control.disconnect(s.base, conn) })
		s.finishTouch(&late, true)
	})
}

// lostWrite reports whether a touch is of a write whose outcome err leaves open.
func (t *touch) lostWrite(err error) bool {
	return t.access != keyspace.Read && errors.Is(err, upstream.ErrLost)
}

// disconnect returns when Redis has let go of a connection that has failed on our side, and runs nothing more of it.
func (c *control) disconnect(ctx context.Context, conn *upstream.Conn) {
	id := conn.ClientID()
	for id > 0 && ctx.Err() == nil && c.runs.Current() == conn.Run() {
		attempt, cancel := context.WithTimeout(ctx, controlTimeout)
		err := c.db(0).Do(attempt, "CLIENT", "KILL", "ID", id).Err()
		cancel()
		if err == nil || strings.HasPrefix(err.Error(), "NOPERM") || strings.HasPrefix(err.Error(), "ERR ") {
			return // done, or never to be had
		}
		if pause(ctx, loadRetry, err) != nil {
			return
		}
	}
}
