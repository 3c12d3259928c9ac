package proxy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"credproxy/lru"
)

// SessionInfo is what operators are shown of a session.
type SessionInfo struct {
	ID         string
	Keyspace   string
	DB         int
	State      string
	LastAccess int64 // unix milliseconds
	IdleMS     int64
	Hits       int64
	Bytes      int64 // estimated, in Redis
	Dirty      int   // keys that are not in Postgres yet
	Pinned     bool
	Keys       int64  // -1: not counted
	Eviction   string // why it is where it is and what would change that, in one line; "": not asked
}

// Name is the session's full name, which Session and the actions take.
func (i *SessionInfo) Name() string { return fmt.Sprintf("%s@%d/%s", i.Keyspace, i.DB, i.ID) }

func (i *SessionInfo) pairs() []pair {
	return []pair{
		{"id", i.ID}, {"keyspace", i.Keyspace}, {"db", i.DB}, {"state", i.State}, {"last_access", i.LastAccess}, {"idle_ms", i.IdleMS},
		{"hits", i.Hits}, {"bytes", i.Bytes}, {"dirty", i.Dirty}, {"pinned", boolInt(i.Pinned)},
	}
}

// describe makes an entry of a listing.
func (s *Server) describe(st *lru.Stat) SessionInfo {
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
	return SessionInfo{ID: id.Name, Keyspace: id.Keyspace, DB: id.DB, State: g.state.String(), LastAccess: st.LastAccess,
		IdleMS: max(nowMilli()-st.LastAccess, 0), Hits: int64(st.Hits), Bytes: st.Bytes, Dirty: dirty, Pinned: g.pinned, Keys: -1}
}

// Session describes one session in full.
func (s *Server) Session(ctx context.Context, name string) (SessionInfo, error) {
	id, err := s.sessions.resolve(name)
	if err != nil {
		return SessionInfo{}, err
	}
	r, ok := s.sessions.lookup(s.sessions.identityOf(id))
	if !ok {
		return SessionInfo{}, fmt.Errorf("session %q is not known: nothing has touched it since the proxy started, and Postgres does not list it", id)
	}
	r.sh.Lock()
	st := lru.Stat{Key: r.it.Key, LastAccess: r.it.LastAccess, Hits: r.it.Hits, Bytes: r.it.Bytes}
	r.sh.Unlock()
	info := s.describe(&st)
	n, err := s.countKeys(ctx, id)
	if err == nil {
		info.Keys = n
	}
	f := s.factsOf(r, err != nil)
	info.Eviction = f.sentence()
	return info, nil
}

// SessionQuery chooses sessions of a listing.
type SessionQuery struct {
	Search string // part of the id, of any letter case; "": all
	State  string // "": any
	Order  string // recent, lru, hits, bytes or id; others are lru
	Limit  int    // 1 to 1000
}

// Sessions returns the first sessions that match, and how many match.
func (s *Server) Sessions(q SessionQuery) (list []SessionInfo, matching int) {
	before := sessionOrder(q.Order)
	compare := func(a, b lru.Stat) int {
		switch {
		case before(&a, &b):
			return -1
		case before(&b, &a):
			return 1
		}
		return strings.Compare(a.Key, b.Key)
	}
	search := strings.ToLower(q.Search)
	limit := min(max(q.Limit, 1), maxQueried)
	var best []lru.Stat
	s.sessions.table.Range(func(_ *shard, it *item) bool {
		if (q.State != "" && it.Value.state.String() != q.State) ||
			(search != "" && !strings.Contains(strings.ToLower(it.Key[identityHead:]), search)) {
			return true
		}
		matching++
		best = append(best, lru.Stat{Key: it.Key, LastAccess: it.LastAccess, Hits: it.Hits, Bytes: it.Bytes})
		if len(best) >= 2*limit+sortSlack { // under the lock, so little at a time
			slices.SortFunc(best, compare)
			best = best[:limit]
		}
		return true
	})
	slices.SortFunc(best, compare)
	best = best[:min(len(best), limit)]
	for i := range best {
		list = append(list, s.describe(&best[i]))
	}
	return list, matching
}

const (
	maxQueried = 1000
	// sortSlack keeps short listings from being sorted all the time.
	sortSlack = 500
)

func sessionOrder(name string) func(a, b *lru.Stat) bool {
	switch name {
	case "recent":
		return func(a, b *lru.Stat) bool { return a.LastAccess > b.LastAccess }
	case "hits":
		return lru.MostHits
	case "bytes":
		return lru.MostBytes
	case "id":
		return func(a, b *lru.Stat) bool { return a.Key[identityHead:] < b.Key[identityHead:] }
	}
	return lru.LeastRecent
}

// WaitLimit is the longest that a command, and so an operator's action, waits for Postgres.
func (s *Server) WaitLimit() time.Duration { return s.rules.Load().wait }
