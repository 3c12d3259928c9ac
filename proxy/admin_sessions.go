package proxy

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"credproxy/internal/resp"
	"credproxy/internal/session"
)

// adminSessions lists sessions. Chosen by MATCH or STATE they are 1000 at most, as on the dashboard.
func (c *client) adminSessions(args []string) {
	q, refusal := sessionQuery(args)
	if refusal != "" {
		c.emit(errorReply(nil, refusal))
		return
	}
	var list []SessionInfo
	if q.Search == "" && q.State == "" {
		for _, st := range c.s.sessions.table.Top(nil, q.Limit, sessionOrder(q.Order)) {
			list = append(list, c.s.describe(&st))
		}
	} else if q.Limit > 0 {
		list, _ = c.s.Sessions(q)
	}
	b := resp.AppendArray(nil, len(list))
	for i := range list {
		b = appendPairs(b, c.ident.Proto, list[i].pairs())
	}
	c.emit(b)
}

var listOrders = []string{"lru", "recent", "hits", "bytes"}

// sessionQuery reads the arguments of SESSIONS; refusal is what to answer when they make no sense.
func sessionQuery(args []string) (q SessionQuery, refusal string) {
	q = SessionQuery{Order: "lru", Limit: defaultSessions}
	for ; len(args) >= 2; args = args[2:] {
		value := args[1]
		switch strings.ToUpper(args[0]) {
		case "ORDER":
			if q.Order = strings.ToLower(value); !slices.Contains(listOrders, q.Order) {
				return q, "ERR ORDER must be lru, recent, hits or bytes"
			}
		case "COUNT":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				return q, textNotInteger
			}
			q.Limit = min(n, maxSessions)
		case "MATCH":
			q.Search = value
		case "STATE":
			if q.State = strings.ToLower(value); !slices.Contains(stateNames[:], q.State) {
				return q, "ERR STATE must be " + strings.Join(stateNames[:], ", ")
			}
		default:
			return q, textSyntax
		}
	}
	if len(args) > 0 {
		return q, textSyntax
	}
	return q, ""
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

// countKeys counts a session's keys: those stored, and those not saved yet.
func (s *Server) countKeys(ctx context.Context, id session.ID) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	keys := map[string]bool{}
	add := func(list []session.Key) error {
		for i := range list {
			keys[list[i].Name] = true
		}
		return nil
	}
	snap, err := s.store.LoadParts(ctx, id, nowMilli(), add) // in parts, as its values may be large
	if _, err = splitPoison(err); err != nil {
		return 0, err
	}
	_ = add(snap.Keys)
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
