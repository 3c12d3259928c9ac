package proxy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"credproxy/internal/session"
	"credproxy/proxy/upstream"
)

// restore.sync = "off": the application keeps its sessions in tables of its own, and restore.source reads them. A session is
// either kept, that is saved as in behind mode, or away: the application's tables are its durable home, and the proxy's tables
// hold at most that fact and the names of its keys.
//
//	O1  Whether a session is away changes only while its gate is closed with nothing inside, or before clients are served. So what
//	    a command found when it began (no mark, no removal ahead of it) still holds when it ends.
//	O2  Of a session that is away nothing is marked, dirty, held, or removed from Postgres ahead of Redis. The first key that is
//	    saved ends the source's say for all of them, so it is saved as a whole or not at all.
//	O3  Away in memory means away in Postgres (or not stored there), and kept means kept. Where a commit that would have changed
//	    it has an unknown outcome, the session counts as kept and all of its keys as dirty: the save that follows holds all of
//	    it, so it is right whichever way the commit went, and the fence keeps the commit from coming later.
//	O4  Eviction, its gate closed, reads Redis and asks the source. All keys equal byte for byte, and none with an expiry: the
//	    session is away. Anything else (a key that only the source has was deleted in Redis): it is saved as a whole and is kept,
//	    until a later eviction finds it equal. If the source cannot be asked, the session stays.
//	O5  Where keys do not follow from the session's id, the names that clients may have written are remembered while it is
//	    resident, as nothing else knows them; a new process scans for them, and evicts nothing before.
//	O6  A new process believes Postgres about who is kept. What of a session that is not was marked by a process that saved it is
//	    forgotten with its mark (O2).
//	O7  What was resident under "off" may be away and changed. So "off" is noted in Redis beside the entries, and a process that
//	    saves (behind, through) makes all keys of such sessions dirty before it serves clients. The note goes when they are saved.
//
// Interleavings that matter:
//
//	EXEC of an eviction fails after its commit   the session stays in Redis and is what was committed: away, its pending changes were
//	                          part of the comparison; or kept, with a later change by the side door unknown to everybody, as in behind.
//	killed between the commit and EXEC           the entry in Redis says resident, Postgres says away or kept: O6.
//	the application changes its row meanwhile    Redis had been equal to what the row held, so nothing of Redis is lost, and the
//	                          next restore brings the new row.
//	FLUSHALL                  sessions that are away get a row that says "kept, no keys": what was flushed does not come back from the
//	                          source. A command inside all the while finds the session kept when it is loaded again, which makes all
//	                          of its keys dirty (O3).
//	SWAPDB                    is refused: the source does not know of databases, so it would have each session on both sides.

// fate is what an eviction has done to a session in Postgres, whatever becomes of it in Redis.
type fate uint8

const (
	unmoved  fate = iota // away or kept as before
	handed               // it is away
	kept                 // it is kept
	doubtful             // nobody knows (O3)
)

const textSwapOff = "NOPERM credproxy: SWAPDB is not possible with restore.sync = \"off\": restore.source does not know of databases, " +
	"it would have the sessions in both"

// isAway reports whether a session that a command is in is away.
func (r ref) isAway() bool {
	r.sh.Lock()
	defer r.sh.Unlock()
	return r.it.Value.away
}

// noteLocked remembers a key that a session which is away may have (O5).
func (s *sessions) noteLocked(r ref, key []byte) {
	if !s.wild(r.it.Key) {
		return
	}
	d := r.it.Value.detailLocked()
	if d.names == nil {
		d.names = map[string]struct{}{}
	}
	d.names[string(key)] = struct{}{}
}

// wild reports whether a session may have keys that do not follow from its id.
func (s *sessions) wild(identity string) bool {
	p := s.patterns.Load()
	for ks, number := range p.numbers {
		if number == numberOf(identity) {
			return p.matcher.Wild(ks)
		}
	}
	return true
}

// anyWild reports whether some keyspace has such keys.
func (s *sessions) anyWild() bool {
	m := s.patterns.Load().matcher
	for ks := range m.Len() {
		if m.Wild(ks) {
			return true
		}
	}
	return false
}

// keepLocked makes a session kept, and all keys that it may have dirty (O3).
func (s *Server) keepLocked(r ref, more []string) {
	g := &r.it.Value
	g.away = false
	d := g.detailLocked()
	keys, _ := s.sessions.literals(s.sessions.id(r.it.Key))
	keys = slices.AppendSeq(slices.Concat(keys, more), maps.Keys(d.names))
	d.names = nil
	for _, key := range keys {
		s.sessions.dirtyLocked(r, writeScope{key: []byte(key)}, &s.saver.queue)
	}
}

// arriveOffLocked says who holds a session that the restore has brought to Redis.
func (s *Server) arriveOffLocked(r ref, snap session.Snapshot) {
	g := &r.it.Value
	was := g.away
	g.detailLocked().grown = false
	if g.away = !snap.Found; !g.away {
		if was {
			s.keepLocked(r, nil)
		}
		return
	}
	d := g.detailLocked()
	s.saver.queue.keys.Add(-int64(len(d.dirty)))
	d.dirty, d.settled = nil, "" // O2; its marks go with the saver's next pass
	for i := range snap.Keys {
		s.sessions.noteLocked(r, []byte(snap.Keys[i].Name))
	}
}

// askSource asks the application's own tables for the victims.
func (e *evictor) askSource(ctx context.Context, victims []*victim) error {
	ids := make([]session.ID, len(victims))
	for i, v := range victims {
		ids[i] = v.id
	}
	found, err := e.s.store.Sources(ctx, ids)
	e.s.alarms.source(err)
	if err != nil {
		return fmt.Errorf("ask restore.source what to compare with: %w", err)
	}
	for i, v := range victims {
		v.source = e.s.sourceKeys(v.id, found[i])
	}
	return nil
}

// agrees reports whether the source has exactly what was read from Redis.
func (v *victim) agrees(read []reading) bool {
	if len(v.skip) > 0 {
		return false // keys that Postgres has and cannot give back are in neither
	}
	theirs := make(map[string]*session.Key, len(v.source))
	for i := range v.source {
		theirs[v.source[i].Name] = &v.source[i]
	}
	for i := range read {
		c := &read[i].change
		if c.Op == session.Delete {
			continue
		}
		k := theirs[c.Name]
		if k == nil || !sameKey(&c.Key, k) {
			return false
		}
		delete(theirs, c.Name)
	}
	return len(theirs) == 0
}

// stubsOf returns names and types of the keys that were read.
func stubsOf(read []reading) (stubs []session.KeyChange) {
	for i := range read {
		if c := &read[i].change; c.Op != session.Delete {
			stubs = append(stubs, session.KeyChange{Key: session.Key{Name: c.Name, Type: c.Type}})
		}
	}
	return stubs
}

// sameStubs reports whether Postgres has just these.
func sameStubs(known session.Snapshot, stubs []session.KeyChange) bool {
	if !known.Elsewhere || len(known.Stubs) != len(stubs) {
		return false
	}
	types := make(map[string]session.Type, len(stubs))
	for i := range known.Stubs {
		types[known.Stubs[i].Name] = known.Stubs[i].Type
	}
	for i := range stubs {
		if types[stubs[i].Name] != stubs[i].Type {
			return false
		}
	}
	return true
}

// handOver commits that sessions are away.
func (e *evictor) handOver(ctx context.Context, changes []session.Change, victims []*victim) error {
	if len(changes) == 0 {
		return nil
	}
	for _, v := range victims {
		if v.known.Found {
			v.fate = doubtful
		}
	}
	if err := e.s.store.SaveElsewhere(ctx, changes); err != nil {
		return fmt.Errorf("note before eviction what the application's tables hold: %w", err)
	}
	for i, v := range victims {
		v.fate, v.known = handed, session.Snapshot{Elsewhere: true}
		for j := range changes[i].Keys {
			v.known.Stubs = append(v.known.Stubs, changes[i].Keys[j].Key)
		}
	}
	return nil
}

// source notes whether the source can be asked.
func (a *alarms) source(err error) {
	if err == nil {
		a.clear("source")
	} else if a.raise("source") {
		a.log.Error("restore.source cannot be asked: sessions that need it stay in Redis", "error", err)
	}
}

// settleLocked says in the session's record what became of it; the caller holds its shard's lock.
func (e *evictor) settleLocked(v *victim) {
	g := &v.ref.it.Value
	switch v.fate {
	case handed:
		g.away, v.dirty = true, nil // the changes were part of what was compared
	case kept:
		g.away = false
	case doubtful:
		e.s.keepLocked(v.ref, v.keys)
	}
}

// offTag ends what adoptedKey holds while sessions may be away, offPending is all of it before the scan is over.
const (
	offTag     = " off"
	offPending = "pending" + offTag
)

func taggedOff(adoption string) bool { return strings.HasSuffix(adoption, offTag) }

// recoverAway finds out which of the resident sessions are away. Called before clients are served; every session that was found
// in Redis counts as away.
func (s *Server) recoverAway(ctx context.Context, run upstream.Run) error {
	if !s.sessions.off && len(s.adopter.formerOff) == 0 {
		return nil
	}
	if err := s.listKept(ctx); err != nil || s.sessions.off {
		return err
	}
	for _, db := range s.adopter.formerOff {
		if err := s.takeBack(ctx, db, run); err != nil {
			return fmt.Errorf("take back the sessions of database %d after sync = \"off\": %w", db, err)
		}
	}
	return nil
}

func (s *Server) listKept(ctx context.Context) error {
	const page = 1000
	var after int64
	for {
		list, err := s.store.Kept(ctx, after, page)
		if err != nil {
			return fmt.Errorf("list sessions in Postgres: %w", err)
		}
		for i := range list {
			after = list[i].Pos
			if s.configured(list[i].Session.Keyspace) {
				r := s.add(list[i].Session, list[i].Heat)
				r.sh.Lock()
				r.it.Value.away = false
				r.sh.Unlock()
			}
		}
		if len(list) < page {
			return nil
		}
	}
}

// takeBack makes the resident sessions of a database that are away kept ones, all their keys dirty (O7).
func (s *Server) takeBack(ctx context.Context, db int, run upstream.Run) error {
	if s.sessions.anyWild() {
		if err := s.noteAll(ctx, db); err != nil {
			return err
		}
	}
	n, start := 0, time.Now()
	s.sessions.table.Range(func(sh *shard, it *item) bool {
		if g := &it.Value; s.sessions.dbOf(it.Key) == db && g.away && g.state == resident && g.run == run {
			s.keepLocked(ref{sh, it}, nil)
			n++
		}
		return true
	})
	if n > 0 {
		s.log.Info("sessions that sync = \"off\" had left to the application's tables are saved now", "db", db, "sessions", n,
			"took", time.Since(start).Round(time.Millisecond).String())
	}
	return nil
}

// noteAll remembers every key in a database that belongs to a session which is away.
func (s *Server) noteAll(ctx context.Context, db int) error {
	var cursor uint64
	for {
		keys, next, err := s.control.db(db).Scan(ctx, cursor, "", 1000).Result()
		if err != nil {
			return fmt.Errorf("scan Redis: %w", err)
		}
		for _, key := range keys {
			identity, ok := s.sessions.match(nil, db, []byte(key))
			if !ok {
				continue
			}
			if r, ok := s.sessions.lookup(string(identity)); ok {
				r.sh.Lock()
				if r.it.Value.away {
					s.sessions.noteLocked(r, []byte(key))
				}
				r.sh.Unlock()
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// isKept reports whether a session that an earlier process has left is kept (O6).
func (s *Server) isKept(identity []byte) bool {
	r, ok := s.sessions.lookup(string(identity))
	return ok && !r.isAway()
}

// emptyAway stores of every session that is away that it has no keys: they are being flushed, and the source would bring them back.
func (s *Server) emptyAway(ctx context.Context, hit func(db int) bool) error {
	var changes []session.Change
	s.sessions.table.Range(func(_ *shard, it *item) bool {
		if it.Value.away && hit(s.sessions.dbOf(it.Key)) {
			changes = append(changes, session.Change{Session: s.sessions.id(it.Key), Heat: session.Heat{LastAccess: it.LastAccess}})
		}
		return true
	})
	for part := range slices.Chunk(changes, 1000) {
		if _, err := s.store.Save(ctx, part, nowMilli()); err != nil {
			return fmt.Errorf("note that sessions are flushed: %w", err)
		}
	}
	return nil
}
