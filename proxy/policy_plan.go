package proxy

import (
	"time"

	"credproxy/lru"
	"credproxy/proxy/upstream"
)

// plan is the memory policy as its searches need it: by number of keyspace instead of by name. A reload replaces it as a whole.
type plan struct {
	rest    spacePlan         // of keyspaces that say nothing
	spaces  map[int]spacePlan // of those that do
	budgets []int             // numbers of those with a budget of their own, ascending
}

// spacePlan is what holds for one keyspace.
type spacePlan struct {
	name      string
	budget    lru.Budget // Max 0: none of its own
	ttl, idle time.Duration
}

func newPlan(s *sessions, cfg MemoryConfig) *plan {
	p := &plan{rest: spacePlan{ttl: cfg.InactivityTTL, idle: cfg.MinIdle}, spaces: map[int]spacePlan{}}
	for name, k := range cfg.Keyspaces {
		budget := lru.Budget{Max: k.Max, Threshold: cfg.Budget.Threshold, Target: cfg.Budget.Target}
		p.spaces[int(s.number(name))] = spacePlan{name: name, budget: budget, ttl: k.InactivityTTL, idle: k.MinIdle}
	}
	for number := range s.count() {
		if p.spaces[number].budget.Max > 0 {
			p.budgets = append(p.budgets, number)
		}
	}
	return p
}

// of returns what holds for a keyspace.
func (p *plan) of(number int) spacePlan {
	if k, ok := p.spaces[number]; ok {
		return k
	}
	return p.rest
}

// vantage is from where a search looks at sessions: what it has to know of the moment.
type vantage struct {
	s    *Server
	plan *plan
	run  upstream.Run
	now  int64 // unix milliseconds
	// fresh is when a session must have been restored to be spared, unix nanoseconds; 0: none is.
	fresh int64
	// passed collects the sessions that were asked about and stay; nil: nobody wants to know.
	passed *passedOver
}

func (p *policy) vantage() *vantage {
	return &vantage{s: p.s, plan: p.plan.Load(), run: p.s.runs.Current(), now: nowMilli()}
}

// restoredLately is for how long after its restore a session is spared where the policy is not LRU. With LRU it is among the last
// anyway; gdsf would take a large one first, and restore it again for the client that waits for it.
const restoredLately = 2 * time.Second

// sparing is the same view with regard for what was restored a moment ago.
func (v *vantage) sparing() *vantage {
	c := *v
	c.fresh = time.UnixMilli(v.now).Add(-restoredLately).UnixNano()
	return &c
}
