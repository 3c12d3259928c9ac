package proxy

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// The adopter finds sessions that were in Redis before the proxy was: a scan of every database, at a bounded rate, makes
// their keys dirty so that they are saved. Until a database has been scanned once in this run of Redis, none of its
// sessions is evicted: part of their keys might be unknown.
type adopter struct {
	s   *Server
	mu  sync.Mutex // guards writes to dbs
	dbs atomic.Pointer[map[int]bool]

	formerOff []int        // databases whose sessions may be away from a time of sync = "off" (O7); written before clients are served
	keys      atomic.Int64 // looked at
	all       atomic.Int64 // about how many there are to look at
	said      time.Time    // when the log last said how far the scan is
}

const (
	// adoptStep keys are looked at, then adoptPause passes: at most some 20,000 keys a second.
	adoptStep  = 500
	adoptPause = 25 * time.Millisecond
	// adoptRetry is the pause after a failure.
	adoptRetry = time.Second
	// adoptReport is how often the log says how far the scan is.
	adoptReport = 10 * time.Second
	// adoptAhead stops the scan while so many keys wait to be saved.
	adoptAhead = 20_000
)

// done reports whether a database holds nothing that is not known. It takes no lock: searches ask it for every candidate.
func (a *adopter) done(db int) bool {
	m := a.dbs.Load()
	return m == nil || !(*m)[db]
}

func (a *adopter) set(db int, pending bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := map[int]bool{}
	if m := a.dbs.Load(); m != nil {
		for k, v := range *m {
			next[k] = v
		}
	}
	if pending {
		next[db] = true
	} else {
		delete(next, db)
	}
	a.dbs.Store(&next)
}

// pending lists the databases that have not been scanned yet.
func (a *adopter) pending() int {
	if m := a.dbs.Load(); m != nil {
		return len(*m)
	}
	return 0
}

// plan finds out, before clients are served, which databases need a scan in this run.
func (a *adopter) plan(ctx context.Context) error {
	dbs, err := a.s.control.databases(ctx)
	if err != nil {
		return err
	}
	for _, db := range dbs {
		if err := a.s.meta.adoptFormat(ctx, db); err != nil {
			return fmt.Errorf("take over the metadata of database %d: %w", db, err)
		}
		id, err := a.s.control.db(db).Get(ctx, adoptedKey).Result()
		if err != nil && err != redis.Nil {
			return fmt.Errorf("read adoption state of database %d: %w", db, err)
		}
		if adopted, err := a.readMark(ctx, db, id); err != nil || adopted {
			if err != nil {
				return err
			}
			continue
		}
		n, err := a.s.control.db(db).DBSize(ctx).Result()
		if err != nil {
			return fmt.Errorf("count the keys of database %d: %w", db, err)
		}
		a.all.Add(n)
		a.set(db, true)
	}
	return nil
}

// readMark reports whether a database with this mark needs no scan. A change between sync = "off" and the other modes is seen here,
// and where keys may have any names, "off" needs a scan in each process (O5).
func (a *adopter) readMark(ctx context.Context, db int, mark string) (adopted bool, err error) {
	off := a.s.sessions.off
	if mark == a.s.sessions.adoptionMark(a.s.runs.ID()) {
		return !off || !a.s.sessions.anyWild(), nil
	}
	if taggedOff(mark) && !off {
		a.formerOff = append(a.formerOff, db)
	}
	if off && mark != offPending {
		if err := a.s.control.db(db).Set(ctx, adoptedKey, offPending, 0).Err(); err != nil {
			return false, fmt.Errorf("note in database %d that sync is off: %w", db, err)
		}
	}
	return false, nil
}

// run scans what plan has found.
func (a *adopter) run(ctx context.Context) {
	m := a.dbs.Load()
	if m == nil {
		return
	}
	for db := range *m {
		for {
			err := a.scan(ctx, db)
			if err == nil {
				break
			}
			a.s.alarms.adopting(db, err)
			if pause(ctx, adoptRetry, err) != nil {
				return
			}
		}
	}
}

func (a *adopter) scan(ctx context.Context, db int) error {
	cl, mark := a.s.control.db(db), a.s.sessions.adoptionMark(a.s.runs.ID())
	start, found := time.Now(), 0
	var cursor uint64
	for {
		keys, next, err := cl.Scan(ctx, cursor, "", adoptStep).Result()
		if err != nil {
			return fmt.Errorf("scan Redis: %w", err)
		}
		n, err := a.page(ctx, db, keys)
		if err != nil {
			return err
		}
		found += n
		a.keys.Add(int64(len(keys)))
		a.report()
		if cursor = next; cursor == 0 {
			break
		}
		if err := a.breathe(ctx); err != nil {
			return err
		}
	}
	a.rank(db)
	if err := a.s.meta.flush(ctx, 0); err != nil {
		return fmt.Errorf("note how old the sessions are: %w", err)
	}
	if _, err := a.s.saver.sync(ctx); err != nil {
		return fmt.Errorf("save adopted keys: %w", err)
	}
	if err := cl.Set(ctx, adoptedKey, mark, 0).Err(); err != nil {
		return fmt.Errorf("note adoption: %w", err)
	}
	a.set(db, false)
	if found > 0 {
		a.s.log.Info("keys that were in Redis before the proxy are saved", "db", db, "keys", found, "took", time.Since(start).Round(time.Millisecond).String())
	}
	a.s.policy.wake()
	return nil
}

// report says in the log how far the scan is, now and then.
func (a *adopter) report() {
	if a.said.IsZero() {
		a.said = time.Now() // a short scan need not be reported
	}
	if time.Since(a.said) < adoptReport {
		return
	}
	a.said = time.Now()
	looked, all := a.keys.Load(), a.all.Load()
	a.s.log.Info("keys that were in Redis before the proxy are being saved, until then their sessions are not evicted",
		"keys_looked_at", looked, "keys_about", all, "percent", min(looked*100/max(all, 1), 100), "keys_waiting", a.s.saver.queue.keys.Load())
}

// breathe keeps the scan's rate, and waits while the saver is behind.
func (a *adopter) breathe(ctx context.Context) error {
	for {
		if err := pause(ctx, adoptPause, context.Canceled); err != nil {
			return err
		}
		if a.s.saver.queue.keys.Load() < adoptAhead {
			return nil
		}
	}
}

// page adopts the keys of a page of the scan, and returns how many are of a session.
func (a *adopter) page(ctx context.Context, db int, keys []string) (found int, err error) {
	var mine []string
	var identities [][]byte
	for _, key := range keys {
		if identity, ok := a.s.sessions.match(nil, db, []byte(key)); ok {
			mine, identities = append(mine, key), append(identities, identity)
		}
	}
	used, err := a.lastUses(ctx, db, mine) // before the saver reads the keys, which Redis takes for a use
	if err != nil {
		return 0, err
	}
	for i, key := range mine {
		if err := a.adopt(ctx, identities[i], key, used[i]); err != nil {
			return 0, fmt.Errorf("adopt key %q: %w", key, err)
		}
	}
	return len(mine), nil
}

// adopt makes a session's key dirty and its session resident. A session that is resident is not touched: that the proxy was
// started is no access.
func (a *adopter) adopt(ctx context.Context, identity []byte, key string, used int64) error {
	w := writeScope{key: []byte(key)}
	a.age(identity, used)
	if a.s.dirtyIfResident(identity, w) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, a.s.cfg.Sync.Wait)
	defer cancel()
	r, err := a.enter(ctx, identity)
	if err != nil {
		return err
	}
	a.s.sessions.endWrite(r, w, &a.s.saver.queue)
	return nil
}

// dirtyIfResident makes a key dirty if its session is resident in the current run of Redis.
func (s *Server) dirtyIfResident(identity []byte, w writeScope) bool {
	sh := s.sessions.table.Shard(identity)
	sh.Lock()
	defer sh.Unlock()
	it := sh.Get(identity)
	if it == nil || it.Value.state != resident || it.Value.run != s.runs.Current() {
		return false
	}
	s.sessions.dirtyLocked(ref{sh, it}, w, &s.saver.queue)
	return true
}
