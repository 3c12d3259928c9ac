package proxy

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// reason is why the policy leaves a session where it is.
type reason uint8

const (
	mayGo reason = iota
	notResident
	otherRun
	isPinned
	isBusy
	notSaved
	notAdopted
	wasRefused
	isFresh
	usedLately
	reasons
)

// reasonNames are labels of metrics and names in STATS, so they stay as they are.
var reasonNames = [reasons]string{"none", "not_resident", "redis_restarted", "pinned", "busy", "not_saved", "not_adopted", "refused",
	"just_restored", "min_idle"}

// reasonTexts complete "12 ..." in messages, and remedies what follows them.
var (
	reasonTexts = [reasons]string{"may go", "are not resident", "are of a Redis that was restarted", "are pinned", "are in use", "are not saved yet",
		"wait for the adoption of what was in Redis before the proxy", "could not be evicted a moment ago", "have just been restored",
		"were used less than min_idle ago"}
	remedies = [reasons]string{
		mayGo:      "see why eviction fails: the log and /readyz say whether Postgres is away",
		isPinned:   "unpin some (CREDPROXY UNPIN id)",
		isBusy:     "see which clients block, WATCH or keep a transaction open (CLIENT LIST)",
		notSaved:   "see why saving fails or lags (sync_lag_ms in CREDPROXY STATS, the log)",
		notAdopted: "wait until adoption is over (adoption_keys in CREDPROXY STATS)",
		wasRefused: "see the log for what Postgres or Redis refuses",
		isFresh:    "raise memory.max: what is in use at once does not fit",
		usedLately: "lower min_idle, or raise memory.max",
	}
)

// standing returns why the policy would leave a session where it is, mayGo if it would not. The caller holds its shard's lock. A
// session with changes that wait to be saved is left to the saver, which does not close its gate: to save much takes longer
// than clients should wait.
func (v *vantage) standing(it *item) reason {
	g := &it.Value
	switch d := g.more; {
	case g.state != resident:
		return notResident
	case g.run != v.run:
		return otherRun
	case g.pinned:
		return isPinned
	case g.inFlight() > 0:
		return isBusy
	case d != nil && (d.saving != nil || len(d.held) > 0 || len(d.dirty) > 0):
		return notSaved
	case d != nil && d.avoid > v.now:
		return wasRefused
	case !v.s.adopter.done(v.s.sessions.dbOf(it.Key)):
		return notAdopted
	case v.usedLately(it):
		return usedLately
	case v.fresh != 0 && g.loaded > v.fresh:
		return isFresh
	}
	return mayGo
}

// usedLately reports whether min_idle keeps a session.
func (v *vantage) usedLately(it *item) bool {
	idle := v.plan.rest.idle
	if len(v.plan.spaces) > 0 {
		idle = v.plan.of(int(numberOf(it.Key))).idle
	}
	return idle > 0 && v.now-it.LastAccess < idle.Milliseconds()
}

// evictable is standing as searches ask for it.
func (v *vantage) evictable(it *item) bool {
	why := v.standing(it)
	if why != mayGo && v.passed != nil {
		v.passed.add(why, it.LastAccess)
	}
	return why == mayGo
}

// passedOver notes the sessions that one search has found and left. It asks about more than it needs, and only those that stood
// before the last one that goes were passed over.
type passedOver struct {
	why []reason
	at  []int64
}

func (p *passedOver) add(why reason, at int64) {
	p.why, p.at = append(p.why, why), append(p.at, at)
}

// count adds those up that were last used at or before the given time.
func (p *passedOver) count(until int64, into *[reasons]atomic.Int64) {
	for i, why := range p.why {
		if p.at[i] <= until {
			into[why].Add(1)
		}
	}
}

// ReasonCount is for how many sessions a reason to stay in Redis holds, or has held.
type ReasonCount struct {
	Reason string // one of a fixed list
	N      int64
}

// passedOver are the counts of all reasons that can stand in the way of an eviction.
func (st *stats) passedOver() (list []ReasonCount) {
	for why := isPinned; why < reasons; why++ {
		list = append(list, ReasonCount{reasonNames[why], st.passed[why].Load()})
	}
	return list
}

// fullWhy is what the last look has found that keeps the sessions in Redis, "" while some may go.
func (p *policy) fullWhy() string {
	if why := p.blocked.Load(); why != nil {
		return *why
	}
	return ""
}

// floor says, when nothing may go, what keeps the sessions, and what to do about that. It looks at every session.
func (p *policy) floor() string {
	var n [reasons]int64
	v := p.vantage()
	p.s.sessions.table.Range(func(_ *shard, it *item) bool {
		if why := v.standing(it); why != notResident {
			n[why]++
		}
		return true
	})
	return describeFloor(n)
}

// describeFloor is floor without the looking.
func describeFloor(n [reasons]int64) string {
	var parts []string
	most := notResident
	for why := range reasons {
		if n[why] == 0 {
			continue
		}
		if parts = append(parts, fmt.Sprintf("%d %s", n[why], reasonTexts[why])); n[why] > n[most] {
			most = why
		}
	}
	if parts == nil {
		return "no session is in Redis, so what fills it are keys of no keyspace: see which (redis-cli --bigkeys), or raise memory.max"
	}
	text := "of the sessions in Redis " + strings.Join(parts, ", ")
	if remedies[most] != "" {
		text += "; " + remedies[most]
	}
	return text
}

// ago writes how long ago something was, as people do: "4s", "12m", "3h20m", "5d".
func ago(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return d.Truncate(time.Second).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
