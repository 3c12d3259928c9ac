package proxy

import (
	"context"
	"fmt"
	"slices"

	"credproxy/internal/resp"
	"credproxy/keyspace"
)

// markRemovals marks the keys that the group is about to remove: were the proxy killed between the two halves of a removal, an
// unmarked key would pass for saved.
func (c *client) markRemovals(ctx context.Context) error {
	byDB := map[int][]*touch{}
	for i := range c.g.touches {
		if t := &c.g.touches[i]; t.access == keyspace.Remove && t.gen != "" {
			byDB[t.db] = append(byDB[t.db], t)
		}
	}
	for db, touches := range byDB {
		if err := c.s.markAll(ctx, db, touches); err != nil {
			return err
		}
	}
	return nil
}

// marksTravel reports whether marks may go with the client's commands: its user must be the proxy's own, another one might not
// be allowed to write them.
func (c *client) marksTravel() bool {
	return !c.relaying() && c.ident.Auth == (c.s.cfg.Upstream.Password != "") && c.ident.User == c.s.cfg.Upstream.Username
}

func appendMark(req []byte, t *touch) []byte {
	req = append(req, "*4\r\n$4\r\nHSET\r\n"...)
	req = resp.AppendBulkString(req, dirtyMarks)
	req = resp.AppendBulk(req, t.key)
	return resp.AppendBulkString(req, t.gen)
}

// markNow sets a mark over the proxy's own connection and waits for it.
func (s *Server) markNow(ctx context.Context, t *touch) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	if err := s.meta.mark(ctx, t.db, t.key, t.gen); err != nil {
		return fmt.Errorf("mark key %q before a write: %w", t.key, err)
	}
	t.ref.marked(t.key, t.gen)
	return nil
}

// markAll sets the marks of many keys of one database, and waits for them; the commands need not set them any more.
func (s *Server) markAll(ctx context.Context, db int, touches []*touch) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	for part := range slices.Chunk(touches, markStep) {
		pairs := make([]any, 0, 2*len(part))
		for _, t := range part {
			pairs = append(pairs, t.key, t.gen)
		}
		s.barrier("mark-unsent")
		if err := s.meta.mark(ctx, db, pairs...); err != nil {
			return fmt.Errorf("mark keys before their removal: %w", err)
		}
		s.barrier("mark-sent")
		for _, t := range part {
			t.ref.marked(t.key, t.gen)
			t.gen = ""
		}
	}
	return nil
}

// markStep bounds the keys that are marked by one command.
const markStep = 1000

// confirmMarks looks at the replies to an entry's marks, from index at on. A mark that Redis has refused, as it does without memory,
// is set another way before the client hears of its write.
func (c *client) confirmMarks(e *entry, at, got int, reply []byte) {
	if e.marks == 0 {
		return
	}
	for j := e.touches[0]; j < e.touches[1]; j++ {
		t := &c.g.touches[j]
		if t.gen == "" || t.db != c.ident.DB {
			continue
		}
		switch {
		case at < got && !resp.IsError(c.call.Reply(at)):
			t.ref.marked(t.key, t.gen)
		case at < got && !resp.IsError(reply):
			if err := c.s.markNow(c.ctx, t); err != nil {
				c.s.log.Warn("a changed key could not be marked; it is saved all the same unless the proxy is killed first", "error", err)
			}
		}
		at++
	}
}
