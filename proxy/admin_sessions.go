package proxy

import (
	"context"
	"strconv"
	"strings"

	"credproxy/internal/resp"
	"credproxy/internal/session"
	"credproxy/lru"
)

func (c *client) adminSessions(args []string) {
	order, count := lru.LeastRecent, defaultSessions
	for ; len(args) >= 2; args = args[2:] {
		switch strings.ToUpper(args[0]) {
		case "ORDER":
			switch strings.ToLower(args[1]) {
			case "lru":
				order = lru.LeastRecent
			case "hits":
				order = lru.MostHits
			case "bytes":
				order = lru.MostBytes
			default:
				c.emit(errorReply(nil, "ERR ORDER must be lru, hits or bytes"))
				return
			}
		case "COUNT":
			n, err := strconv.Atoi(args[1])
			if err != nil || n < 0 {
				c.emit(errorReply(nil, textNotInteger))
				return
			}
			count = min(n, maxSessions)
		default:
			c.emit(errorReply(nil, textSyntax))
			return
		}
	}
	if len(args) > 0 {
		c.emit(errorReply(nil, textSyntax))
		return
	}
	list := c.s.sessions.table.Top(nil, count, order)
	b := resp.AppendArray(nil, len(list))
	for i := range list {
		info := c.s.describe(&list[i])
		b = appendPairs(b, c.ident.Proto, info.pairs())
	}
	c.emit(b)
}

func (c *client) adminSession(args []string) {
	info, err := c.s.Session(c.ctx, args[0])
	if err != nil {
		c.emit(errorReply(nil, "ERR "+err.Error()))
		return
	}
	pairs := info.pairs()
	if info.Keys >= 0 {
		pairs = append(pairs, pair{"keys", info.Keys})
	}
	c.emit(appendPairs(nil, c.ident.Proto, append(pairs, pair{"eviction", info.Eviction})))
}

func explain(st state, obstacle string) string {
	switch {
	case st == evicted:
		return "evicted: all of its keys are in Postgres, the next command on it restores them"
	case st == unknown:
		return "unknown: nothing has touched it in this run of Redis, the next command on it looks in Postgres"
	case obstacle != "":
		return "would not be evicted now: " + obstacle
	}
	return "would be evicted when memory is over the threshold and it is the next in the order of memory.policy, or when it is idle for inactivity_ttl"
}

// countKeys counts a session's keys: those stored, and those not saved yet.
func (s *Server) countKeys(ctx context.Context, id session.ID) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	snap, err := s.store.Load(ctx, id, nowMilli())
	if _, err = splitPoison(err); err != nil {
		return 0, err
	}
	keys := map[string]bool{}
	for i := range snap.Keys {
		keys[snap.Keys[i].Name] = true
	}
	if r, ok := s.sessions.lookup(s.sessions.identityOf(id)); ok {
		r.sh.Lock()
		if r.it.Value.more != nil {
			for key := range r.it.Value.more.dirty {
				keys[key] = true
			}
		}
		r.sh.Unlock()
	}
	return int64(len(keys)), nil
}

// emitCount answers with how many sessions something was done to, or with what went wrong.
func (c *client) emitCount(n int64, err error) {
	if err != nil {
		c.emit(errorReply(nil, "ERR "+err.Error()))
		return
	}
	c.emit(resp.AppendInt(nil, n))
}

func (c *client) adminEvict(args []string) {
	ctx, cancel := context.WithTimeout(c.ctx, c.rules.wait)
	defer cancel()
	c.emitCount(c.s.Evict(ctx, args))
}

func (c *client) adminRestore(args []string) {
	ctx, cancel := context.WithTimeout(c.ctx, c.rules.wait)
	defer cancel()
	c.emitCount(c.s.Restore(ctx, args))
}

// adminTrack counts an access as a command on the session would, for programs that use a session without a command. It does
// not restore.
func (c *client) adminTrack(args []string) {
	id, err := c.s.sessions.resolve(args[0])
	if err != nil {
		c.emit(errorReply(nil, "ERR "+err.Error()))
		return
	}
	size := int64(-1)
	if len(args) == 2 {
		if size, err = strconv.ParseInt(args[1], 10, 64); err != nil || size < 0 {
			c.emit(errorReply(nil, textNotInteger))
			return
		}
	}
	r := c.s.add(id, session.Heat{})
	r.sh.Lock()
	r.sh.Touch(r.it, nowMilli())
	if size >= 0 {
		r.sh.SetBytes(r.it, size)
	}
	r.sh.Unlock()
	c.emit(replyOK)
}

func (c *client) adminPin(args []string)   { c.pin(args[0], true) }
func (c *client) adminUnpin(args []string) { c.pin(args[0], false) }

func (c *client) pin(text string, on bool) {
	if err := c.s.Pin(text, on); err != nil {
		c.emit(errorReply(nil, "ERR "+err.Error()))
		return
	}
	c.emit(replyOK)
}
