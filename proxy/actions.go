package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"credproxy/internal/session"
)

// What operators can do, by CREDPROXY and by the dashboard alike. Sessions are named as CREDPROXY SESSION takes them: keyspace/id,
// keyspace@db/id, or the bare id where only one session has it.

// Evict takes sessions out of Redis and returns how many went; the error names those that could not, and says why.
func (s *Server) Evict(ctx context.Context, names []string) (int64, error) {
	return s.eachSession(ctx, names, s.evictPatiently)
}

// Restore brings sessions into Redis and returns how many are there now.
func (s *Server) Restore(ctx context.Context, names []string) (int64, error) {
	return s.eachSession(ctx, names, s.restoreNow)
}

// Check samples memory, enforces the policy and returns how many sessions it evicted.
func (s *Server) Check(ctx context.Context) (int64, error) {
	done, err := s.act()
	if err != nil {
		return 0, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	before := s.stats.inactivity.Load()
	s.policy.inactive(ctx)
	n, err := s.policy.enforce(ctx)
	if err != nil {
		return 0, err
	}
	return int64(n) + s.stats.inactivity.Load() - before, nil
}

// Sync waits until everything that is unsaved now is in Postgres and returns how many keys were saved.
func (s *Server) Sync(ctx context.Context) (int64, error) {
	done, err := s.act()
	if err != nil {
		return 0, err
	}
	defer done()
	n, err := s.saver.sync(ctx)
	if err != nil {
		return 0, fmt.Errorf("%d keys are not in Postgres yet: %w", s.saver.queue.keys.Load(), err)
	}
	return n, nil
}

// Pin makes the policy leave a session alone, or lets it be evicted again. Postgres notes it first, so that it outlives the process.
func (s *Server) Pin(name string, on bool) error {
	id, err := s.sessions.resolve(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.base, controlTimeout)
	defer cancel()
	if err := s.store.Pin(ctx, id, on); err != nil {
		return err
	}
	s.setPinned(id, session.Heat{LastAccess: nowMilli()}, on)
	return nil
}

func (s *Server) setPinned(id session.ID, heat session.Heat, on bool) {
	r := s.add(id, heat)
	r.sh.Lock()
	r.it.Value.pinned = on
	r.sh.Unlock()
}

// recoverPins pins what an earlier process had pinned. Called before clients are served.
func (s *Server) recoverPins(ctx context.Context) error {
	list, err := s.store.Pins(ctx)
	if err != nil {
		return err
	}
	for i := range list {
		if !s.configured(list[i].Session.Keyspace) {
			continue
		}
		heat := list[i].Heat
		heat.LastAccess = cmp.Or(heat.LastAccess, nowMilli())
		s.setPinned(list[i].Session, heat, true)
	}
	return nil
}

// Pause stops eviction until Resume or the end of the process: one that is forgotten must not fill Redis after the next restart, too.
func (s *Server) Pause() {
	s.policy.paused.Store(true)
	s.log.Warn("eviction is paused")
}

// Resume lets sessions be evicted again.
func (s *Server) Resume() {
	s.policy.paused.Store(false)
	s.policy.wake()
	s.log.Info("eviction is resumed")
}

// eachSession resolves names and runs f for each; it returns how many succeeded, and what went wrong with the others.
func (s *Server) eachSession(ctx context.Context, names []string, f func(ctx context.Context, id session.ID) error) (int64, error) {
	done, err := s.act()
	if err != nil {
		return 0, err
	}
	defer done()
	n := int64(0)
	var problems []string
	for _, text := range names {
		id, err := s.sessions.resolve(text)
		if err == nil {
			err = f(ctx, id)
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("session %q: %v", text, err))
			continue
		}
		n++
	}
	if len(problems) > 0 {
		return n, fmt.Errorf("%d of %d done; %s", n, len(names), strings.Join(problems, "; "))
	}
	return n, nil
}

// evictWait is how long Evict waits for a session that is busy for a moment.
const evictWait = 2 * time.Second

func (s *Server) evictPatiently(ctx context.Context, id session.ID) error {
	busy, cancel := context.WithTimeout(ctx, evictWait)
	defer cancel()
	for {
		err := s.evictNow(ctx, id)
		var not errNotEvictable
		if err == nil || !errors.As(err, &not) {
			return err
		}
		if pause(busy, 10*time.Millisecond, err) != nil {
			return err
		}
	}
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
	n, _, err := s.evictor.evict(ctx, []ref{r}, byHand)
	s.stats.commanded.Add(int64(n))
	if n == 1 {
		return nil
	}
	return orElse(err, errNotEvictable{"it is in use"})
}

func (s *Server) restoreNow(ctx context.Context, id session.ID) error {
	identity := []byte(s.sessions.identityOf(id))
	for range staleRetries {
		r, err := s.enter(ctx, identity)
		if err == nil {
			r.leave()
			return nil
		}
		if !errors.Is(err, errStaleRun) {
			return err
		}
	}
	return errStaleRun
}
