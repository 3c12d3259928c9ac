package proxy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
)

// DBSIZE and KEYS ask two stores, and sessions move between them meanwhile. A census asks Redis at one moment T and knows
// afterwards, of every stored session, where it was at T.
//
//	C1  Keys go and come (an eviction's EXEC, a part of a restore) only while moves.gate is held for reading, for that one round
//	    trip; Redis is asked while it is held for writing. So T is before or after each such step, never within.
//	C2  Where a session was at T: what it is now, unless it has moved since; then what it was before its first move since T, which
//	    every census under way is told of (C1's lock still held) before the session's state says so.
//	C3  Until its restore has ended, a session counts as outside, however many of its keys are in Redis already. Those, and hashes
//	    under construction, are known by name and taken off Redis's count at T.
//
// Interleavings that matter:
//
//	EXEC before T, the state set after T    the session is in moves.gone: outside, counted from Postgres only.
//	EXEC after T, before Postgres is read   noted as inside: counted by Redis only.
//	restored wholly between T and then      noted as outside: counted from Postgres only, though resident by now.
//	T in the middle of a restore            outside (C3); what was there of it at T is taken off.
//	evicted, restored, evicted since T      only the first move counts.
//	nobody has looked at a session since Redis was started (state unknown)   Redis is asked about each of its keys.
//	a key's last element went, Postgres was read, the session was evicted    noted as inside: Redis's word is the truth.
//
// KEYS names a key that both stores show once. SCAN is many commands and keeps no census; see listing.go.
//
// Rejected: counting sessions by their residency entries (a restore writes its entry after its keys), and stamps of time for moves
// (the clock steps, and what was sent before T may run after it).
type moves struct {
	gate sync.RWMutex

	mu       sync.Mutex // guards the rest
	censuses map[*census]struct{}
	coming   map[*coming]struct{}
	gone     map[string]struct{} // identities: out of Redis, the state does not say so yet
}

// whereabouts of a session at a moment.
type whereabouts uint8

const (
	isInside whereabouts = iota
	isOutside
	isUnknown
)

// census is one count under way.
type census struct {
	m     *moves
	was   map[string]whereabouts // guarded by moves.mu: before the first move since T
	early map[int]int64          // by database: keys in Redis that count as outside
}

// note tells every census what a session was until now.
func (m *moves) note(identity string, was whereabouts) {
	for c := range m.censuses {
		if _, again := c.was[identity]; !again {
			c.was[identity] = was
		}
	}
}

// leaving is called before victims are removed from Redis, and what it returns when Redis has answered.
func (m *moves) leaving(victims []*victim) (done func(gone bool)) {
	m.gate.RLock()
	return func(gone bool) {
		defer m.gate.RUnlock()
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, v := range victims {
			m.note(v.ref.it.Key, isInside)
			if gone {
				if m.gone == nil {
					m.gone = map[string]struct{}{}
				}
				m.gone[v.ref.it.Key] = struct{}{}
			}
		}
	}
}

// left is called when the state of a session says what leaving has done.
func (m *moves) left(identity string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.gone, identity)
}

// coming is a restore under way.
type coming struct {
	m        *moves
	db       int
	identity string
	names    map[string]struct{} // guarded by moves.mu: what may be in Redis of it
}

// arriving begins a restore; it ends with settle or drop.
func (m *moves) arriving(db int, identity string) *coming {
	return &coming{m: m, db: db, identity: identity}
}

// step is called before keys are written, and what it returns when Redis has answered.
func (a *coming) step(names []string) (done func()) {
	if a == nil {
		return func() {}
	}
	a.m.gate.RLock()
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	if a.names == nil {
		a.names = map[string]struct{}{}
		if a.m.coming == nil {
			a.m.coming = map[*coming]struct{}{}
		}
		a.m.coming[a] = struct{}{}
	}
	for _, name := range names {
		a.names[name] = struct{}{}
	}
	return a.m.gate.RUnlock
}

// settle makes the session resident, which resident does.
func (a *coming) settle(resident func()) {
	a.m.gate.RLock()
	defer a.m.gate.RUnlock()
	a.m.mu.Lock()
	a.m.note(a.identity, isOutside)
	delete(a.m.coming, a)
	a.m.mu.Unlock()
	resident()
}

// drop ends a restore that has failed.
func (a *coming) drop() {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	delete(a.m.coming, a)
}

// beginCensus sets T: until counted is called, no key goes or comes, and whoever calls it asks Redis meanwhile. close ends the
// census.
func (s *Server) beginCensus(ctx context.Context) (*census, error) {
	m := &s.moves
	m.gate.Lock()
	c := m.beginWatch()
	c.early = map[int]int64{}
	names := map[int][]string{}
	m.mu.Lock()
	for a := range m.coming {
		names[a.db] = slices.AppendSeq(names[a.db], maps.Keys(a.names))
	}
	m.mu.Unlock()
	for db, list := range names {
		n, err := s.howMany(ctx, db, list)
		if err != nil {
			c.counted()
			c.close()
			return nil, err
		}
		c.early[db] = n
	}
	return c, nil
}

// beginWatch begins a census without a T: it only notes who moves.
func (m *moves) beginWatch() *census {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &census{m: m, was: map[string]whereabouts{}}
	if m.censuses == nil {
		m.censuses = map[*census]struct{}{}
	}
	m.censuses[c] = struct{}{}
	return c
}

// hasLeft reports whether a session that was in Redis has left it since.
func (c *census) hasLeft(identity string) bool {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	was, moved := c.was[identity]
	return moved && was == isInside
}

func (c *census) counted() { c.m.gate.Unlock() }

func (c *census) close() {
	if c == nil {
		return
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	delete(c.m.censuses, c)
}

// howMany counts those of the keys that are in Redis.
func (s *Server) howMany(ctx context.Context, db int, keys []string) (n int64, err error) {
	pipe := s.control.db(db).Pipeline()
	var counts []*redis.IntCmd
	for part := range slices.Chunk(keys, unlinkStep) {
		counts = append(counts, pipe.Exists(ctx, part...))
	}
	if cmds, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("count keys of sessions on the move: %w", orElse(pipelineError(cmds, err), err))
	}
	for _, c := range counts {
		n += c.Val()
	}
	return n, nil
}

// whereWas says where a stored key's session was at the census's T.
func (s *Server) whereWas(c *census, id session.ID) whereabouts {
	identity := s.sessions.identityOf(id)
	for {
		st := s.stateOf(identity)
		c.m.mu.Lock()
		was, moved := c.was[identity]
		_, gone := c.m.gone[identity]
		c.m.mu.Unlock()
		switch {
		case moved:
			return was
		case gone:
			return isOutside
		case st == evicting && s.stateOf(identity) != evicting:
			continue // it has ended meanwhile: was it gone before T?
		case st == resident || st == evicting:
			return isInside
		case st == loading || st == evicted:
			return isOutside
		}
		return isUnknown
	}
}

// stateOf is a session's state, unknown for one of a run of Redis that is over.
func (s *Server) stateOf(identity string) state {
	r, ok := s.sessions.lookup(identity)
	if !ok {
		return unknown
	}
	r.sh.Lock()
	defer r.sh.Unlock()
	g := &r.it.Value
	if g.state == resident && g.run != s.runs.Current() {
		return unknown
	}
	return g.state
}

// storedOutside calls f for every stored key of a database that is wanted and was not in Redis at T, or maybe not (doubt).
func (s *Server) storedOutside(ctx context.Context, c *census, db int, want func(*session.Entry) bool, f func(e *session.Entry, doubt bool)) error {
	var after int64
	for {
		page, err := s.page(ctx, db, after, listPage)
		if err != nil {
			return err
		}
		for i := range page {
			e := &page[i]
			if !s.configured(e.Session.Keyspace) || !want(e) {
				continue
			}
			if was := s.whereWas(c, e.Session); was != isInside {
				f(e, was == isUnknown)
			}
		}
		if len(page) < listPage {
			return nil
		}
		after = page[len(page)-1].Pos
	}
}

// countOutside counts the stored keys of a database that were not in Redis at T.
func (s *Server) countOutside(ctx context.Context, c *census, db int) (n int64, err error) {
	var doubts []string
	err = s.storedOutside(ctx, c, db, anyEntry, func(e *session.Entry, doubt bool) {
		if n++; doubt {
			doubts = append(doubts, e.Key)
		}
	})
	if err != nil || len(doubts) == 0 {
		return n, err
	}
	there, err := s.howMany(ctx, db, doubts)
	if err != nil {
		return 0, unavailableError{err}
	}
	return n - there, nil
}
