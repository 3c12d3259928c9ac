package admin

import (
	"sync"
	"time"

	"credproxy/proxy"
)

const (
	historyEvery  = 5 * time.Second
	historyPoints = 720 // an hour
)

// point is the proxy at one moment, with what happened since the point before.
type point struct {
	At                                  int64   // unix milliseconds
	Used, Max                           int64   // bytes
	Threshold, Target                   int     // percent
	Commands                            float64 // a second
	Restores, RestoreErrors             int64
	P50, P99                            int64 // microseconds, of the last restores; 0: none since the point before
	Memory, Inactivity, Rescue, Command int64 // evictions by reason, with the next
	Keyspace                            int64 // a keyspace over its own budget
	Lag                                 int64 // milliseconds
	Dirty                               int64
	Resident, Evicted                   int64
	Clients                             int
	Hits, Misses                        int64
	Redis, Postgres                     bool
}

// history is a ring of the last hour, so that a fresh page has a past. It takes some 150 KB.
type history struct {
	mu    sync.Mutex // guards the rest
	ring  [historyPoints]point
	count int64 // points ever
	last  proxy.Stats
	at    time.Time // of last

	tallies []tally
}

// add takes a snapshot up and returns what is worth an event.
func (h *history) add(now time.Time, st proxy.Stats, redis, postgres bool) []Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	first := h.count == 0
	p := h.next(now, &st)
	p.Redis, p.Postgres = redis, postgres
	h.ring[h.count%historyPoints] = p
	h.count++
	h.last, h.at = st, now
	if first {
		return nil
	}
	return h.happened(now, &p)
}

func (h *history) next(now time.Time, st *proxy.Stats) point {
	p := point{At: now.UnixMilli(), Used: st.Used, Max: st.Max, Threshold: st.Threshold, Target: st.Target,
		Lag: st.SaveLag.Milliseconds(), Dirty: st.DirtyKeys, Resident: st.Sessions.Resident + st.Sessions.Evicting,
		Evicted: st.Sessions.Evicted, Clients: st.Clients}
	if st.SampledAt.IsZero() {
		p.Used = -1
	}
	if h.count == 0 {
		return p // what happened before the first point is no rate of anything
	}
	was := &h.last
	p.Restores, p.RestoreErrors = rise(was.Restores, st.Restores), rise(was.RestoreErrors, st.RestoreErrors)
	p.Hits, p.Misses = rise(was.Hits, st.Hits), rise(was.Misses, st.Misses)
	p.Memory, p.Inactivity = rise(was.Evictions.Memory, st.Evictions.Memory), rise(was.Evictions.Inactivity, st.Evictions.Inactivity)
	p.Rescue, p.Command = rise(was.Evictions.Rescue, st.Evictions.Rescue), rise(was.Evictions.Command, st.Evictions.Command)
	p.Keyspace = rise(was.Evictions.Keyspace, st.Evictions.Keyspace)
	if p.Restores > 0 {
		p.P50, p.P99 = st.RestoreP50.Microseconds(), st.RestoreP99.Microseconds()
	}
	if span := now.Sub(h.at).Seconds(); span > 0 {
		p.Commands = float64(rise(was.Commands, st.Commands)) / span
	}
	return p
}

// rise is by how much a counter went up; one that was reset began at 0.
func rise(before, after int64) int64 {
	if after < before {
		return after
	}
	return after - before
}

// tally adds up what happens all the time, so that the list of events has one line for it in half a minute and not one for each
// time. history.mu guards it.
type tally struct {
	kind, level, one, many, what string
	n                            int64
	said                         time.Time
}

const tallyEvery = 30 * time.Second

func newTallies() []tally {
	return []tally{
		{kind: "evict", level: "info", one: "session", many: "sessions", what: "evicted: memory was over the threshold"},
		{kind: "evict", level: "info", one: "session", many: "sessions", what: "evicted: idle for inactivity_ttl"},
		{kind: "evict", level: "warn", one: "session", many: "sessions", what: "evicted: Redis was at its maxmemory"},
		{kind: "evict", level: "info", one: "session", many: "sessions", what: "evicted by an operator"},
		{kind: "evict", level: "info", one: "session", many: "sessions", what: "evicted: their keyspace was over its max"},
		{kind: "restore", level: "info", one: "session", many: "sessions", what: "restored from Postgres"},
		{kind: "restore", level: "error", one: "restore", many: "restores", what: "failed"},
	}
}

// happened says in words what happened up to a point; the first of its kind at once.
func (h *history) happened(now time.Time, p *point) (list []Event) {
	if h.tallies == nil {
		h.tallies = newTallies()
	}
	for i, n := range []int64{p.Memory, p.Inactivity, p.Rescue, p.Command, p.Keyspace, p.Restores, p.RestoreErrors} {
		t := &h.tallies[i]
		if t.n += n; t.n == 0 || now.Sub(t.said) < tallyEvery {
			continue
		}
		list = append(list, Event{Kind: t.kind, Level: t.level, Text: counted(t.n, t.one, t.many) + " " + t.what})
		t.n, t.said = 0, now
	}
	return list
}

// columns is the history as the dashboard takes it: a list a value, since names at every point would be most of the bytes.
type columns struct {
	Next    int64            `json:"next"` // what to ask for the next time
	EveryMS int64            `json:"every_ms"`
	Points  map[string][]any `json:"points"`
}

// known is a figure, or null for one that is not known.
func known(n int64) any {
	if n < 0 {
		return nil
	}
	return n
}

// since returns the points from number after on that are still there.
func (h *history) since(after int64) columns {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := columns{Next: h.count, EveryMS: historyEvery.Milliseconds(), Points: map[string][]any{}}
	if after < 0 || after > h.count {
		after = 0 // of an earlier process
	}
	for n := max(after, h.count-historyPoints); n < h.count; n++ {
		p := &h.ring[n%historyPoints]
		for name, v := range map[string]any{
			"t": p.At, "used": known(p.Used), "max": p.Max, "threshold": p.Threshold, "target": p.Target, "commands": p.Commands,
			"restores": p.Restores, "errors": p.RestoreErrors, "p50": p.P50, "p99": p.P99, "lag": p.Lag, "dirty": p.Dirty,
			"resident": p.Resident, "evicted": p.Evicted, "clients": p.Clients, "hits": p.Hits, "misses": p.Misses,
			"by_memory": p.Memory, "by_inactivity": p.Inactivity, "by_rescue": p.Rescue, "by_command": p.Command,
			"by_keyspace": p.Keyspace,
			"redis":       p.Redis, "postgres": p.Postgres,
		} {
			out.Points[name] = append(out.Points[name], v)
		}
	}
	return out
}
