package proxy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

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
		b = appendPairs(b, c.ident.Proto, c.s.sessionPairs(&list[i]))
	}
	c.emit(b)
}

// sessionPairs describes one session of a listing.
func (s *Server) sessionPairs(st *lru.Stat) []pair {
	id := s.sessions.id(st.Key)
	var g gate
	dirty := 0
	if r, ok := s.sessions.lookup(st.Key); ok {
		r.sh.Lock()
		g = r.it.Value
		if g.more != nil {
			dirty = len(g.more.dirty)
		}
		r.sh.Unlock()
	}
	return []pair{
		{"id", id.Name}, {"keyspace", id.Keyspace}, {"db", id.DB}, {"state", g.state.String()}, {"last_access", st.LastAccess},
		{"idle_ms", max(nowMilli()-st.LastAccess, 0)}, {"hits", int64(st.Hits)}, {"bytes", st.Bytes}, {"dirty", dirty},
		{"pinned", boolInt(g.pinned)},
	}
}

func (c *client) adminSession(args []string) {
	id, err := c.s.sessions.resolve(args[0])
	if err != nil {
		c.emit(errorReply(nil, "ERR "+err.Error()))
		return
	}
	r, ok := c.s.sessions.lookup(c.s.sessions.identityOf(id))
	if !ok {
		c.emit(errorReply(nil, fmt.Sprintf("ERR session %q is not known: nothing has touched it since the proxy started, and Postgres does not list it", id)))
		return
	}
	r.sh.Lock()
	st := lru.Stat{Key: r.it.Key, LastAccess: r.it.LastAccess, Hits: r.it.Hits, Bytes: r.it.Bytes}
	state := r.it.Value.state
	why := c.s.obstacleLocked(r, c.s.runs.Current())
	r.sh.Unlock()
	pairs := c.s.sessionPairs(&st)
	if n, err := c.s.countKeys(c.ctx, id); err == nil {
		pairs = append(pairs, pair{"keys", n})
	}
	c.emit(appendPairs(nil, c.ident.Proto, append(pairs, pair{"eviction", explain(state, why)})))
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
	return "would be evicted when memory is over the threshold and it is the least recently used, or when it is idle for inactivity_ttl"
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

// eachSession resolves ids and runs f for each; it answers with how many succeeded, or with what went wrong.
func (c *client) eachSession(args []string, f func(ctx context.Context, id session.ID) error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.rules.wait)
	defer cancel()
	n := int64(0)
	var problems []error
	for _, text := range args {
		id, err := c.s.sessions.resolve(text)
		if err == nil {
			err = f(ctx, id)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("session %q: %w", text, err))
			continue
		}
		n++
	}
	if len(problems) > 0 {
		c.emit(errorReply(nil, fmt.Sprintf("ERR %d of %d done; %s", n, len(args), joined(problems))))
		return
	}
	c.emit(resp.AppendInt(nil, n))
}

func joined(problems []error) string {
	texts := make([]string, len(problems))
	for i, p := range problems {
		texts[i] = p.Error()
	}
	return strings.Join(texts, "; ")
}

// evictWait is how long EVICT waits for a session that is busy for a moment.
const evictWait = 2 * time.Second

func (c *client) adminEvict(args []string) {
	c.eachSession(args, func(ctx context.Context, id session.ID) error {
		ctx, cancel := context.WithTimeout(ctx, evictWait)
		defer cancel()
		for {
			err := c.s.evictNow(ctx, id)
			var not errNotEvictable
			if err == nil || !errors.As(err, &not) {
				return err
			}
			if pause(ctx, 10*time.Millisecond, err) != nil {
				return err
			}
		}
	})
}

func (s *Server) evictNow(ctx context.Context, id session.ID) error {
	if !s.enforcing() {
		return errors.New("another process holds the lock on the memory policy, and may be evicting it")
	}
	r, ok := s.sessions.lookup(s.sessions.identityOf(id))
	if !ok {
		return errors.New("it is not known")
	}
	r.sh.Lock()
	st := r.it.Value.state
	r.sh.Unlock()
	if st == evicted {
		return nil
	}
	n, _, err := s.evictor.evict(ctx, []ref{r})
	if n == 1 {
		return nil
	}
	return orElse(err, errNotEvictable{"it is in use"})
}

func (c *client) adminRestore(args []string) {
	c.eachSession(args, func(ctx context.Context, id session.ID) error {
		identity := []byte(c.s.sessions.identityOf(id))
		for range staleRetries {
			r, err := c.s.enter(ctx, identity, nil, c.s.runs.Current())
			if err == nil {
				r.leave()
				return nil
			}
			if !errors.Is(err, errStaleRun) {
				return err
			}
		}
		return errStaleRun
	})
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
	id, err := c.s.sessions.resolve(text)
	if err != nil {
		c.emit(errorReply(nil, "ERR "+err.Error()))
		return
	}
	r := c.s.add(id, session.Heat{LastAccess: nowMilli()})
	r.sh.Lock()
	r.it.Value.pinned = on
	r.sh.Unlock()
	c.emit(replyOK)
}
