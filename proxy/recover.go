package proxy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
	"credproxy/proxy/upstream"
)

// recover brings back what an earlier process knew: which sessions are resident (from Redis, if it is still the same run), which
// of their keys may be unsaved (marks), and which sessions are evicted (from Postgres). Commands need not wait for it to be
// complete where it is not: a session nobody knows is loaded on first touch.
func (s *Server) recover(ctx context.Context) error {
	run, err := s.control.askRun()
	if err != nil {
		return err
	}
	dbs, err := s.control.databases(ctx)
	if err != nil {
		return err
	}
	found := make([]int, len(dbs))
	for i, db := range dbs {
		if found[i], err = s.recoverResident(ctx, db, run); err != nil {
			return fmt.Errorf("recover database %d: %w", db, err)
		}
	}
	if err := s.recoverAway(ctx, run); err != nil {
		return err
	}
	if err := s.recoverPins(ctx); err != nil {
		return err
	}
	for i, db := range dbs {
		if err := s.recoverMarked(ctx, db, run, found[i]); err != nil {
			return fmt.Errorf("recover database %d: %w", db, err)
		}
	}
	s.sessions.table.Relist(func(it *item) bool { return it.Value.state == resident })
	return nil
}

// recoverResident returns how many sessions of a database are resident.
func (s *Server) recoverResident(ctx context.Context, db int, run upstream.Run) (int, error) {
	same, err := s.meta.sameRun(ctx, db)
	if err != nil || !same {
		return 0, err
	}
	return s.recoverHeat(ctx, db, run)
}

// recoverMarked makes the marked keys of a database dirty, where n sessions are resident, and prepares it for this process.
func (s *Server) recoverMarked(ctx context.Context, db int, run upstream.Run, n int) error {
	marks, err := s.recoverMarks(ctx, db)
	if err != nil {
		return err
	}
	if n > 0 || marks > 0 {
		s.log.Info("sessions of an earlier process recognised in Redis", "db", db, "resident", n, "unsaved_keys", marks)
	}
	return s.meta.prepare(ctx, db, run)
}

// recoverHeat makes every session with an entry resident. Called before clients are served: nobody else has the sessions.
func (s *Server) recoverHeat(ctx context.Context, db int, run upstream.Run) (int, error) {
	cmds, err := s.control.db(db).Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range heatBuckets {
			p.HGetAll(ctx, bucketKey(i))
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read sessions from Redis: %w", err)
	}
	n, off := 0, s.sessions.off || slices.Contains(s.adopter.formerOff, db) // then recoverAway says which are not
	for _, cmd := range cmds {
		for field, value := range cmd.(*redis.MapStringStringCmd).Val() {
			id, ok := splitHeatField(db, field)
			heat, ok2 := decodeHeat(value)
			if !ok || !ok2 || !s.configured(id.Keyspace) {
				continue // it is loaded on first touch instead
			}
			r := s.add(id, heat)
			r.sh.Lock()
			r.it.Value.state, r.it.Value.run, r.it.Value.away = resident, run, off
			r.sh.Unlock()
			n++
		}
	}
	return n, nil
}

func (s *Server) configured(space string) bool {
	p := s.sessions.patterns.Load()
	for ks := range p.matcher.Len() {
		if p.matcher.Spec(ks).Name == space {
			return true
		}
	}
	return false
}

// add puts a session into the table with its heat, unless it is there.
func (s *Server) add(id session.ID, heat session.Heat) ref {
	identity := s.sessions.identityOf(id)
	sh := s.sessions.table.ShardString(identity)
	sh.Lock()
	defer sh.Unlock()
	it := sh.GetString(identity)
	if it == nil {
		it = sh.Add(identity, heat.LastAccess)
		it.Hits = heat.Hits
		sh.SetBytes(it, heat.Bytes)
	}
	return ref{sh, it}
}

// recoverMarks makes the marked keys dirty. Where the session is resident, Redis is the truth, also about what is absent. Where
// it is not (Redis was restarted), what is absent may be lost, so the session is restored before the keys are saved.
func (s *Server) recoverMarks(ctx context.Context, db int) (int, error) {
	marks, err := s.control.db(db).HGetAll(ctx, dirtyMarks).Result()
	if err != nil {
		return 0, fmt.Errorf("read marks from Redis: %w", err)
	}
	n := 0
	var stray []any
	for key, gen := range marks {
		identity, ok := s.sessions.match(nil, db, []byte(key))
		if !ok {
			s.log.Warn("a key of no configured keyspace was not saved by the earlier process; it stays in Redis as it is",
				"db", db, "key", key)
			continue
		}
		if s.sessions.off && !s.isKept(identity) {
			stray = append(stray, key, gen)
			continue
		}
		r := s.add(s.sessions.id(string(identity)), session.Heat{LastAccess: nowMilli()})
		r.sh.Lock()
		d := r.it.Value.detailLocked()
		if d.marks == nil {
			d.marks = map[string]*mark{}
		}
		d.marks[key] = &mark{gen: gen, sure: true}
		s.sessions.dirtyLocked(r, writeScope{key: []byte(key)}, &s.saver.queue)
		r.sh.Unlock()
		n++
	}
	return n, s.meta.unmark(ctx, db, stray)
}

// listEvicted puts the sessions that only Postgres has into the table, so that they show in listings with their heat. It runs
// while clients are served.
func (s *Server) listEvicted(ctx context.Context) error {
	const page = 1000
	var after int64
	for {
		list, err := s.store.Sessions(ctx, after, page)
		if err != nil {
			return fmt.Errorf("list sessions in Postgres: %w", err)
		}
		for i := range list {
			after = list[i].Pos
			if !s.configured(list[i].Session.Keyspace) {
				s.alarms.strange(list[i].Session.Keyspace)
				continue
			}
			r := s.add(list[i].Session, list[i].Heat)
			r.sh.Lock()
			if r.it.Value.state == unknown && r.it.Value.more == nil {
				r.it.Value.state = evicted
			}
			r.sh.Unlock()
		}
		if len(list) < page {
			return nil
		}
	}
}

// orphanRetry is the pause after a session with unsaved changes could not be restored.
const orphanRetry = time.Second

// keepOrphans restores sessions that have unsaved changes but are not resident, until ctx ends: Redis was restarted or emptied
// since, or nobody knows how an eviction ended. Only what is resident can be saved. The saver kicks when it meets one.
func (s *Server) keepOrphans(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.orphans:
		}
		for again := true; again && ctx.Err() == nil; {
			again = false
			for _, identity := range s.listOrphans() {
				again = s.loadOrphan(ctx, identity) != nil || again
			}
			if again {
				_ = pause(ctx, orphanRetry, context.Canceled)
			}
		}
	}
}

func (s *Server) loadOrphan(ctx context.Context, identity string) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	r, err := s.enter(ctx, []byte(identity))
	if err == nil {
		r.leave()
	}
	return err
}

func (s *Server) listOrphans() (identities []string) {
	run := s.runs.Current()
	s.sessions.table.Range(func(_ *shard, it *item) bool {
		if d := it.Value.more; d != nil && len(d.dirty) > 0 && it.Value.orphaned(run) {
			identities = append(identities, it.Key)
		}
		return true
	})
	return identities
}

// orphaned reports whether nothing is under way that would make the session resident in run by itself.
func (g *gate) orphaned(run upstream.Run) bool {
	return g.state == unknown || g.state == evicted || (g.state == resident && g.run != run)
}
