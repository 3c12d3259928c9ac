package proxy

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"credproxy/lru"
)

// budgetsEvery is how often the budgets of keyspaces are looked at: that costs a lock of each shard, no question to Redis.
const budgetsEvery = time.Second

// spacePatience bounds how long the budgets of keyspaces are seen to before that of the whole.
const spacePatience = 2 * time.Second

// schedule says when the policy looks by itself.
type schedule struct{ due time.Time } // of the next look at everything; zero: not set yet

// wait returns how long to wait from now on, at most until the interval is over; a shorter interval counts at once.
func (c *schedule) wait(now time.Time, interval time.Duration, budgets bool) time.Duration {
	if next := now.Add(interval); c.due.IsZero() || next.Before(c.due) {
		c.due = next
	}
	d := max(c.due.Sub(now), 0)
	if budgets {
		d = min(d, budgetsEvery)
	}
	return d
}

// arrived reports whether everything is to be looked at now, and if so begins a new interval.
func (c *schedule) arrived(now time.Time) bool {
	if now.Before(c.due) {
		return false
	}
	c.due = time.Time{}
	return true
}

// overBudget returns a keyspace whose resident sessions take more than its threshold, and its number.
func (p *policy) overBudget() (number int, over bool) {
	plan := p.plan.Load()
	if len(plan.budgets) == 0 {
		return 0, false
	}
	used := p.s.sessions.table.Groups(nil)
	for _, number := range plan.budgets {
		if number < len(used) && plan.of(number).budget.Over(used[number].Bytes) {
			return number, true
		}
	}
	return 0, false
}

// enforceSpaces brings every keyspace that is over a budget of its own under it, as far as its sessions may go. The caller holds
// enforcer.
func (p *policy) enforceSpaces(ctx context.Context) (total int, err error) {
	plan := p.plan.Load()
	until := time.Now().Add(savePatience)
	for _, number := range plan.budgets {
		n, err := p.enforceSpace(ctx, number, plan.of(number), until)
		if total += n; err != nil {
			return total, err
		}
	}
	return total, nil
}

func (p *policy) enforceSpace(ctx context.Context, number int, space spacePlan, until time.Time) (total int, err error) {
	excess := space.budget.Excess(p.spaceBytes(number))
	stuck := 0
	for goal := p.spaceBytes(number) - excess; excess > 0 && stuck < fruitless; excess = p.spaceBytes(number) - goal {
		n, err := p.freeIn(ctx, number, excess, overSpace, &p.s.stats.space, false)
		if total += n; err != nil {
			return total, err
		}
		if n == 0 && !p.awaitSaver(ctx, until) {
			stuck++
		}
		if ctx.Err() != nil || time.Now().After(until.Add(spacePatience)) {
			return total, nil // the whole must not wait for one keyspace that fills as fast as it is emptied
		}
	}
	p.s.alarms.space(space.name, stuck >= fruitless && space.budget.Over(p.spaceBytes(number)))
	return total, nil
}

// spaceBytes is what the resident sessions of a keyspace take, by estimate.
func (p *policy) spaceBytes(number int) int64 {
	if used := p.s.sessions.table.Groups(nil); number < len(used) {
		return used[number].Bytes
	}
	return 0
}

// pickIn chooses among the sessions of one keyspace, or of all (lru.Every). patient: rather none than one that stays if the saver is
// waited for.
func (p *policy) pickIn(number int, want int64, patient bool) []ref {
	v := p.vantage()
	v.passed = &passedOver{}
	var items []*item
	if p.s.sessions.table.Policy() != lru.LRU {
		items = p.s.sessions.table.VictimsIn(number, nil, evictBatch, v.sparing().evictable)
	}
	if len(items) == 0 {
		*v.passed = passedOver{}
		items = p.s.sessions.table.VictimsIn(number, nil, evictBatch, v.evictable)
	}
	if patient {
		items = v.worthIt(items)
	}
	refs, until := p.upTo(items, want)
	v.passed.count(until, &p.s.stats.passed)
	return refs
}

// atHand is how lately a session must have been used to be one that is wanted again at once.
const atHand = time.Second

// worthIt returns the items that go whatever the saver does. Where much is written, all older sessions may wait to be saved; then the next
// in order is one that is being read, and its reader would wait for its eviction and its restore. In a moment the others are saved.
func (v *vantage) worthIt(items []*item) []*item {
	oldest := int64(math.MaxInt64)
	for i, why := range v.passed.why {
		if why == notSaved {
			oldest = min(oldest, v.passed.at[i])
		}
	}
	return slices.DeleteFunc(items, func(it *item) bool {
		sh := v.s.sessions.table.ShardString(it.Key)
		sh.Lock()
		defer sh.Unlock()
		return it.LastAccess > oldest && v.now-it.LastAccess < atHand.Milliseconds()
	})
}

// inactive evicts sessions that nothing has touched for the inactivity_ttl of their keyspace.
func (p *policy) inactive(ctx context.Context) {
	if p.paused.Load() || !p.s.enforcing() {
		return
	}
	p.enforcer.Lock()
	defer p.enforcer.Unlock()
	plan := p.plan.Load()
	for number := range p.s.sessions.count() {
		if ttl := plan.of(number).ttl; ttl > 0 {
			p.inactiveIn(ctx, number, ttl)
		}
	}
}

func (p *policy) inactiveIn(ctx context.Context, number int, ttl time.Duration) {
	before := time.Now().Add(-ttl).UnixMilli()
	for ctx.Err() == nil {
		v := p.vantage()
		refs, _ := p.upTo(p.s.sessions.table.OldestIn(number, nil, evictBatch, before, v.evictable), evictBytes)
		if len(refs) == 0 {
			return
		}
		n, _, err := p.s.evictor.evict(ctx, refs, idleTooLong)
		p.s.stats.inactivity.Add(int64(n))
		if err != nil && ctx.Err() == nil {
			p.s.alarms.policy(err)
		}
		if n == 0 {
			return
		}
	}
}

// Keyspace is how a keyspace stands with its budget.
type Keyspace struct {
	Name     string
	Resident int   // sessions
	Bytes    int64 // that they take, by estimate
	Max      int64 // its own budget, 0: none
}

// Keyspaces tells of every keyspace in the order of the configuration.
func (s *Server) Keyspaces() []Keyspace {
	plan, used := s.policy.plan.Load(), s.sessions.table.Groups(nil)
	patterns := s.sessions.patterns.Load()
	var list []Keyspace
	for i, number := range patterns.numbers {
		k := Keyspace{Name: patterns.matcher.Spec(i).Name, Max: plan.of(int(number)).budget.Max}
		if int(number) < len(used) {
			k.Resident, k.Bytes = used[number].Listed, used[number].Bytes
		}
		list = append(list, k)
	}
	return list
}

// upTo takes of the sessions as many as make about so many bytes; until is when the last of them was used.
func (p *policy) upTo(items []*item, want int64) (refs []ref, until int64) {
	least := p.averageSize() / 2 // of a session whose size is not known yet
	for _, it := range items {
		sh := p.s.sessions.table.ShardString(it.Key)
		refs = append(refs, ref{sh, it})
		sh.Lock()
		want -= max(it.Bytes, least, 1)
		until = max(until, it.LastAccess)
		sh.Unlock()
		if want <= 0 {
			return refs, until
		}
	}
	return refs, cmp.Or(until, 1<<62) // without any, all were passed over
}

// freeIn evicts one batch of the sessions of a keyspace, or of all, that are next to go, of about excess bytes, fewer if fewer may
// go. What it really freed is for the next sample to say: sizes are estimates. They are counted in counter, too.
func (p *policy) freeIn(ctx context.Context, number int, excess int64, why cause, counter *atomic.Int64, patient bool) (int, error) {
	batch := p.pickIn(number, min(excess, evictBytes), patient)
	if len(batch) == 0 {
		return 0, nil
	}
	n, _, err := p.s.evictor.evict(ctx, batch, why)
	counter.Add(int64(n))
	return p.afterBatch(ctx, n, err)
}

// keyspacePairs are what STATS tells of budgets of keyspaces, and of what stood in the way of eviction.
func (st *Stats) keyspacePairs() (pairs []pair) {
	for _, k := range st.Keyspaces {
		if k.Max > 0 {
			pairs = append(pairs, pair{"keyspace_" + k.Name + "_bytes", k.Bytes}, pair{"keyspace_" + k.Name + "_max_bytes", k.Max})
		}
	}
	for _, r := range st.PassedOver {
		pairs = append(pairs, pair{"passed_over_" + r.Reason, r.N})
	}
	return pairs
}
