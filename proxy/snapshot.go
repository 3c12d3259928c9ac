package proxy

import (
	"context"
	"iter"
	"time"

	"credproxy/keyspace"
)

// Stats is the proxy at one moment. CREDPROXY STATS, INFO, the metrics and the dashboard all show this, so they agree.
type Stats struct {
	Used, Max         int64 // bytes that Redis uses, and the budget
	Threshold, Target int   // percent of Max
	PercentUsed       float64
	SampledAt         time.Time // of Used; zero: never yet
	RedisMaxMemory    int64     // Redis's own limit, bytes; 0: none
	RedisPolicy       string    // Redis's own maxmemory-policy

	Sessions  SessionCounts
	Evictions EvictionCounts

	DirtyKeys, SavedKeys    int64
	SaveLag                 time.Duration // age of the oldest unsaved change
	Restores, RestoreErrors int64
	RestoreP50, RestoreP99  time.Duration // of the last restores
	Hits, Misses            int64         // commands on resident sessions, and on those that had to be waited for

	Clients, MaxClients int
	Commands            int64
	Families            [len(keyspace.FamilyNames)]int64 // commands by keyspace.Family
	Rescues             int64                            // commands that were sent again after Redis had refused them for want of memory

	AdoptionPending                 int // databases still to be scanned
	AdoptionKeys, AdoptionKeysTotal int64

	Paused     bool // eviction, by an operator
	Enforcing  bool // this process holds the lock on the memory policy
	Closing    bool
	NotSaving  time.Duration // for how long attempts to save have failed; 0: they do not
	MemoryFull bool          // over the threshold, and nothing may be evicted
	Uptime     time.Duration
	Version    string
}

// SessionCounts are sessions by state.
type SessionCounts struct{ Unknown, Loading, Resident, Evicting, Evicted int64 }

// Tracked is how many sessions are known.
func (n SessionCounts) Tracked() int64 {
	return n.Unknown + n.Loading + n.Resident + n.Evicting + n.Evicted
}

// EvictionCounts are evicted sessions by reason. For a moment Total may be ahead of the sum of the others.
type EvictionCounts struct {
	Total      int64
	Memory     int64 // memory was over the threshold
	Inactivity int64 // idle for inactivity_ttl
	Rescue     int64 // Redis was at its maxmemory
	Command    int64 // an operator wanted it
}

// Stats takes a snapshot. It looks at every session, some 30 ns each, and holds no lock for long.
func (s *Server) Stats() Stats {
	m, cfg, _ := s.policy.snapshot()
	st := &s.stats
	out := Stats{
		Used: m.used, Max: cfg.Budget.Max, Threshold: cfg.Budget.Threshold, Target: cfg.Budget.Target,
		PercentUsed: percentOf(m.used, cfg.Budget), SampledAt: m.at, RedisMaxMemory: m.maxmem, RedisPolicy: m.policy,
		Sessions: s.countStates(),
		Evictions: EvictionCounts{Total: st.evictions.Load(), Memory: st.memory.Load(), Inactivity: st.inactivity.Load(),
			Rescue: st.rescued.Load(), Command: st.commanded.Load()},
		DirtyKeys: s.saver.queue.keys.Load(), SavedKeys: s.saver.saved.Load(),
		SaveLag:  time.Duration(s.saver.lag()) * time.Millisecond,
		Restores: st.restores.Load(), RestoreErrors: st.restoreErrors.Load(),
		Hits: st.hits.Load(), Misses: st.misses.Load(),
		Clients: s.clients.count(), MaxClients: s.cfg.MaxClients, Rescues: st.rescues.Load(),
		AdoptionPending: s.adopter.pending(), AdoptionKeys: s.adopter.keys.Load(), AdoptionKeysTotal: s.adopter.all.Load(),
		Paused: s.policy.paused.Load(), Enforcing: s.enforcing(), Closing: s.closing.Load(),
		NotSaving: s.alarms.lasts(alarmSaving), MemoryFull: s.alarms.on(alarmFull),
		Uptime: time.Since(s.started), Version: s.cfg.Version,
	}
	out.Families, out.Commands = st.commands.load()
	out.RestoreP50, out.RestoreP99 = st.percentiles()
	return out
}

func (s *Server) countStates() SessionCounts {
	var n [len(stateNames)]int64
	s.sessions.table.Range(func(_ *shard, it *item) bool {
		n[it.Value.state]++
		return true
	})
	return SessionCounts{Unknown: n[unknown], Loading: n[loading], Resident: n[resident], Evicting: n[evicting], Evicted: n[evicted]}
}

// Values yields the names and values of CREDPROXY STATS, in its order.
func (st *Stats) Values() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for _, p := range st.pairs() {
			if !yield(p.name, p.value) {
				return
			}
		}
	}
}

func (st *Stats) memoryPairs() []pair {
	at := int64(0)
	if !st.SampledAt.IsZero() {
		at = st.SampledAt.UnixMilli()
	}
	return []pair{
		{"used_bytes", st.Used}, {"max_bytes", st.Max}, {"percent_used", st.PercentUsed},
		{"threshold", st.Threshold}, {"target", st.Target}, {"sampled_at", at},
	}
}

func (st *Stats) pairs() []pair {
	var pairs []pair
	for _, p := range st.memoryPairs() {
		pairs = append(pairs, pair{"memory_" + p.name, p.value})
	}
	n, out := st.Sessions, st.Evictions
	return append(pairs,
		pair{"sessions_tracked", n.Tracked()},
		pair{"sessions_resident", n.Resident + n.Evicting},
		pair{"sessions_evicted", n.Evicted},
		pair{"sessions_loading", n.Loading},
		pair{"sessions_unknown", n.Unknown},
		pair{"dirty_keys", st.DirtyKeys},
		pair{"evictions", out.Total},
		pair{"memory_evictions", out.Memory},
		pair{"inactivity_evictions", out.Inactivity},
		pair{"rescue_evictions", out.Rescue},
		pair{"command_evictions", out.Command},
		pair{"restores", st.Restores},
		pair{"restore_errors", st.RestoreErrors},
		pair{"hits", st.Hits},
		pair{"misses", st.Misses},
		pair{"restore_p50_us", st.RestoreP50.Microseconds()},
		pair{"restore_p99_us", st.RestoreP99.Microseconds()},
		pair{"sync_lag_ms", st.SaveLag.Milliseconds()},
		pair{"saved_keys", st.SavedKeys},
		pair{"clients", st.Clients},
		pair{"commands", st.Commands},
		pair{"oom_rescues", st.Rescues},
		pair{"adoption_pending", st.AdoptionPending},
		pair{"adoption_keys", st.AdoptionKeys},
		pair{"adoption_keys_total", st.AdoptionKeysTotal},
		pair{"paused", boolInt(st.Paused)},
		pair{"enforcing", boolInt(st.Enforcing)},
		pair{"uptime_seconds", int64(st.Uptime.Seconds())},
	)
}

// PingRedis asks Redis for a sign of life, PingPostgres the store.
func (s *Server) PingRedis(ctx context.Context) error    { return s.control.db(0).Ping(ctx).Err() }
func (s *Server) PingPostgres(ctx context.Context) error { return s.store.Ping(ctx) }
