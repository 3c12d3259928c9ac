package proxy

import (
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
	RSS               int64     // bytes that Redis's process has of the system
	Fragmentation     float64   // RSS by what Redis uses in all
	MemoryWarnings    []string  // what is wrong with Redis's own limits and its process, and what will happen

	Sessions   SessionCounts
	Evictions  EvictionCounts
	PassedOver []ReasonCount // how often sessions stayed that stood before the one that went, by reason; a fixed list
	Keyspaces  []Keyspace    // in the order of the configuration

	DirtyKeys, SavedKeys    int64
	SaveLag                 time.Duration // age of the oldest unsaved change
	Restores, RestoreErrors int64
	RestoreP50, RestoreP99  time.Duration // of the last restores
	Thrashing               Thrashing
	SlowWaits               int64 // commands that have waited for their session for as long as log.slow or longer
	Hits, Misses            int64 // commands on resident sessions, and on those that had to be waited for

	Clients, MaxClients int
	Commands            int64
	Families            [len(keyspace.FamilyNames)]int64 // commands by keyspace.Family
	Rescues             int64                            // commands that were sent again after Redis had refused them for want of memory

	AdoptionPending                 int // databases still to be scanned
	AdoptionKeys, AdoptionKeysTotal int64

	Redis, Postgres Pulse // whether they answer

	Paused     bool // eviction, by an operator
	Enforcing  bool // this process holds the lock on the memory policy
	Closing    bool
	NotSaving  time.Duration // for how long attempts to save have failed; 0: they do not
	MemoryFull bool          // over the threshold, and nothing may be evicted
	FullFor    time.Duration // since when; 0: it is not
	FullWhy    string        // what keeps the sessions then, and what to do about it
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
	Bytes      int64 // what they took in Redis, by its own measure
	Memory     int64 // memory was over the threshold
	Inactivity int64 // idle for inactivity_ttl
	Rescue     int64 // Redis was at its maxmemory
	Command    int64 // an operator wanted it
	Keyspace   int64 // the keyspace was over its own max
}

// Stats takes a snapshot. It looks at every session, some 30 ns each, and holds no lock for long.
func (s *Server) Stats() Stats {
	m, cfg, _ := s.policy.snapshot()
	st := &s.stats
	out := Stats{
		Used: m.used, Max: cfg.Budget.Max, Threshold: cfg.Budget.Threshold, Target: cfg.Budget.Target,
		PercentUsed: percentOf(m.used, cfg.Budget), SampledAt: m.at, RedisMaxMemory: m.maxmem, RedisPolicy: m.policy,
		RSS: m.rss, Fragmentation: m.fragmentation(), MemoryWarnings: memoryWarnings(cfg.Budget, m),
		Sessions: s.countStates(),
		Evictions: EvictionCounts{Total: st.evictions.Load(), Bytes: st.evictedBytes.Load(), Memory: st.memory.Load(), Inactivity: st.inactivity.Load(),
			Rescue: st.rescued.Load(), Command: st.commanded.Load(), Keyspace: st.space.Load()},
		PassedOver: st.passedOver(), Keyspaces: s.Keyspaces(), FullWhy: s.policy.fullWhy(),
		DirtyKeys: s.saver.queue.keys.Load(), SavedKeys: s.saver.saved.Load(),
		SaveLag:  time.Duration(s.saver.lag()) * time.Millisecond,
		Restores: st.restores.Load(), RestoreErrors: st.restoreErrors.Load(), Thrashing: s.thrashing(),
		Hits: st.hits.Load(), Misses: st.misses.Load(), SlowWaits: st.slow.Load(),
		Clients: s.clients.count(), MaxClients: s.cfg.MaxClients, Rescues: st.rescues.Load(),
		AdoptionPending: s.adopter.pending(), AdoptionKeys: s.adopter.keys.Load(), AdoptionKeysTotal: s.adopter.all.Load(),
		Redis: s.pulses.redis.state(), Postgres: s.pulses.postgres.state(),
		Paused: s.policy.paused.Load(), Enforcing: s.enforcing(), Closing: s.closing.Load(),
		NotSaving: s.alarms.lasts(alarmSaving), MemoryFull: s.alarms.on(alarmFull), FullFor: s.alarms.lasts(alarmFull),
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
	pairs = append(pairs, pair{"memory_rss_bytes", st.RSS}, pair{"memory_fragmentation", st.Fragmentation}, pair{"redis_maxmemory_bytes", st.RedisMaxMemory})
	return append(append(pairs, st.counterPairs()...), st.keyspacePairs()...)
}

func (st *Stats) counterPairs() []pair {
	n, out, now := st.Sessions, st.Evictions, time.Now()
	return []pair{
		{"sessions_tracked", n.Tracked()},
		{"sessions_resident", n.Resident + n.Evicting},
		{"sessions_evicted", n.Evicted},
		{"sessions_loading", n.Loading},
		{"sessions_unknown", n.Unknown},
		{"dirty_keys", st.DirtyKeys},
		{"evictions", out.Total},
		{"evicted_bytes", out.Bytes},
		{"memory_evictions", out.Memory},
		{"inactivity_evictions", out.Inactivity},
		{"rescue_evictions", out.Rescue},
		{"command_evictions", out.Command},
		{"keyspace_evictions", out.Keyspace},
		{"restores", st.Restores},
		{"restore_errors", st.RestoreErrors},
		{"quick_restores", st.Thrashing.QuickEver},
		{"thrashing", boolInt(st.Thrashing.On)},
		{"advised_max_bytes", st.Thrashing.Advised},
		{"hits", st.Hits},
		{"misses", st.Misses},
		{"slow_waits", st.SlowWaits},
		{"restore_p50_us", st.RestoreP50.Microseconds()},
		{"restore_p99_us", st.RestoreP99.Microseconds()},
		{"sync_lag_ms", st.SaveLag.Milliseconds()},
		{"saved_keys", st.SavedKeys},
		{"clients", st.Clients},
		{"commands", st.Commands},
		{"oom_rescues", st.Rescues},
		{"adoption_pending", st.AdoptionPending},
		{"adoption_keys", st.AdoptionKeys},
		{"adoption_keys_total", st.AdoptionKeysTotal},
		{"paused", boolInt(st.Paused)},
		{"enforcing", boolInt(st.Enforcing)},
		{"redis_away_ms", st.Redis.away(now).Milliseconds()},
		{"postgres_away_ms", st.Postgres.away(now).Milliseconds()},
		{"not_saving_ms", st.NotSaving.Milliseconds()},
		{"memory_full", boolInt(st.MemoryFull)},
		{"closing", boolInt(st.Closing)},
		{"maxclients", st.MaxClients},
		{"uptime_seconds", int64(st.Uptime.Seconds())},
	}
}
