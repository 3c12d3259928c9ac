package proxy

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// A session that the scan finds is as old as the youngest of its keys, by Redis's own count of seconds (OBJECT IDLETIME). Until the scan of
// its database is over it stands in no order (gate.aging): it cannot be evicted before that, and one sorting in the end is less work
// than a place found for each. A Redis that evicts by frequency keeps no such times: there, sessions are as old as the scan.

// lastUses asks Redis when keys were last used, in unix milliseconds.
func (a *adopter) lastUses(ctx context.Context, db int, keys []string) ([]int64, error) {
	used := make([]int64, len(keys))
	if len(keys) == 0 {
		return used, nil
	}
	idle := make([]*redis.DurationCmd, len(keys))
	cmds, err := a.s.control.db(db).Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			idle[i] = p.ObjectIdleTime(ctx, key)
		}
		return nil
	})
	if err := pipelineError(cmds, err); err != nil {
		return nil, fmt.Errorf("ask Redis how long keys have been idle: %w", err)
	}
	now := time.Now()
	for i := range idle {
		used[i] = now.Add(-idle[i].Val()).UnixMilli()
	}
	return used, nil
}

// age notes that a key of a session was last used at a time. Sessions that the proxy knew before the scan have an age already. What
// was used since this process began, and not by a client, which the gate sees, was read by the proxy itself.
func (a *adopter) age(identity []byte, used int64) {
	sh := a.s.sessions.table.Shard(identity)
	sh.Lock()
	defer sh.Unlock()
	it := sh.Get(identity)
	switch {
	case it == nil:
		it = sh.Add(string(identity), used)
		it.Value.fresh, it.Value.aging = true, true
	case it.Value.aging && used > it.LastAccess && used < a.s.started.UnixMilli():
		it.LastAccess = used
	}
}

// enter passes the gate without an access.
func (a *adopter) enter(ctx context.Context, identity []byte) (ref, error) {
	none := func(*shard, *item, bool) {}
	run := a.s.runs.Current()
	var last error
	for {
		r, fl, err := a.s.sessions.step(identity, nil, run, a.s.load, none)
		if fl == nil {
			return r, err
		}
		if last, err = fl.wait(ctx, last); err != nil {
			return ref{}, err
		}
		if a.s.runs.Current() != run {
			return ref{}, errStaleRun
		}
	}
}

// rank puts the sessions that were found in a database into the order of eviction.
func (a *adopter) rank(db int) {
	a.s.sessions.table.Relist(func(it *item) bool {
		if a.s.sessions.dbOf(it.Key) != db || !it.Value.aging {
			return false
		}
		it.Value.aging = false
		return it.Value.state == resident
	})
}
