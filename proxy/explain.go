package proxy

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"credproxy/lru"
)

// facts are what is known of a session at one moment, for one line in words. All of it is a copy: sentence is pure.
type facts struct {
	space    string
	state    state
	why      reason
	users    string // what keeps it busy
	obstacle string // of a hard kind, "" for none
	dirty    int
	poisoned int
	cause    cause
	left     time.Duration // since its last eviction; 0: no eviction is known
	avoided  time.Duration // for how long yet it is passed over
	idle     time.Duration
	ttl      time.Duration
	minIdle  time.Duration
	place    place
	policy   lru.Policy
	needed   int64 // bytes, before the whole budget takes it; below 0: not known
	spaceMax int64 // the keyspace's own budget, 0: none
	within   int64 // bytes, before that budget takes it

	paused, notOwner, away bool // eviction is paused, is another process's affair, Postgres did not answer
	wait                   time.Duration
	adopted, toAdopt       int64 // keys
}

// place is where a session stands among the resident ones of its keyspace, the longest unused first.
type place struct {
	rank, of int
	ahead    int64 // bytes of sessions of all keyspaces that may go before it
	within   int64 // the same of its own
}

// placeOf looks at every session.
func (s *Server) placeOf(self *item, v *vantage, at int64) (p place) {
	number, least := numberOf(self.Key), max(s.policy.averageSize()/2, 1)
	p.rank = 1
	s.sessions.table.Range(func(sh *shard, it *item) bool {
		if !sh.Listed(it) {
			return true
		}
		same := numberOf(it.Key) == number
		if same {
			p.of++
		}
		if it == self || cmp.Or(cmp.Compare(it.LastAccess, at), strings.Compare(it.Key, self.Key)) >= 0 {
			return true
		}
		size := int64(0)
		if v.standing(it) == mayGo {
			size = max(it.Bytes, least)
		}
		p.ahead += size
		if same {
			p.rank++
			p.within += size
		}
		return true
	})
	return p
}

// factsOf gathers what explains a session; away says that Postgres did not answer just now.
func (s *Server) factsOf(r ref, away bool) facts {
	v := s.policy.vantage()
	number := int(numberOf(r.it.Key))
	plan := v.plan.of(number)
	m, cfg, _ := s.policy.snapshot()
	f := facts{space: s.sessions.name(uint16(number)), ttl: plan.ttl, minIdle: plan.idle, policy: s.sessions.table.Policy(), needed: -1,
		spaceMax: plan.budget.Max, paused: s.policy.paused.Load(), notOwner: !s.enforcing(), away: away, wait: s.rules.Load().wait,
		adopted: s.adopter.keys.Load(), toAdopt: s.adopter.all.Load()}
	if f.policy != lru.LRU {
		v = v.sparing()
	}
	r.sh.Lock()
	g := &r.it.Value
	at := r.it.LastAccess
	f.state, f.why, f.obstacle, f.users, f.cause = g.state, v.standing(r.it), s.obstacleLocked(r, v.run), g.usersLocked(), g.why
	f.idle = time.Duration(v.now-at) * time.Millisecond
	if g.left > 0 {
		f.left = time.Since(time.Unix(int64(g.left), 0))
	}
	if d := g.more; d != nil {
		f.dirty, f.poisoned, f.avoided = len(d.dirty), len(d.poison), time.Duration(d.avoid-v.now)*time.Millisecond
	}
	r.sh.Unlock()
	if f.state == resident {
		f.place = s.placeOf(r.it, v, at)
		if !m.at.IsZero() {
			f.needed = cfg.Budget.Needed(m.used, f.place.ahead)
		}
		if f.spaceMax > 0 {
			f.within = plan.budget.Needed(s.policy.spaceBytes(number), f.place.within)
		}
	}
	return f
}

// sentence says why the session is where it is, and what would change that.
func (f *facts) sentence() string {
	parts := []string{f.stands()}
	if f.state == resident || f.state == evicting {
		if f.poisoned > 0 {
			parts = append(parts, fmt.Sprintf("%s in Postgres cannot be restored, commands that name them get an error (the log says which)", keysN(f.poisoned)))
		}
		parts = append(parts, f.policyAtRest()...)
	}
	return strings.Join(parts, "; ")
}

// policyAtRest are the reasons for which nothing at all is evicted.
func (f *facts) policyAtRest() (parts []string) {
	if f.away {
		parts = append(parts, "Postgres does not answer, so nothing is evicted until it does")
	}
	if f.paused {
		parts = append(parts, "eviction is paused (CREDPROXY RESUME ends that)")
	}
	if f.notOwner {
		parts = append(parts, "this process does not hold the lock on the memory policy and evicts nothing")
	}
	return parts
}

func (f *facts) stands() string {
	switch f.state {
	case evicted:
		return f.gone()
	case unknown:
		return "unknown: nothing has touched it in this run of Redis, or a restore has failed; the next command on it looks in Postgres" + f.unanswered()
	case loading:
		return "loading: it is being restored from Postgres, commands on it wait" + f.unanswered()
	case evicting:
		return "evicting: it is being taken out of Redis, which takes milliseconds"
	}
	if f.why == mayGo {
		return "resident: " + f.turn()
	}
	return "resident, would not be evicted now: " + f.stays()
}

// gone explains an evicted session.
func (f *facts) gone() string {
	text := "evicted "
	if f.left > 0 {
		text += ago(f.left) + " ago "
	}
	return text + causeTexts[f.cause] + ": its keys are in Postgres, the next command on it or CREDPROXY RESTORE brings it back" + f.unanswered()
}

// unanswered is what becomes of a command that needs Postgres while it is away.
func (f *facts) unanswered() string {
	if !f.away {
		return ""
	}
	return fmt.Sprintf("; Postgres does not answer: a command on it waits up to %s, then gets TRYAGAIN", f.wait)
}

// stays explains a session that the policy leaves alone.
func (f *facts) stays() string {
	switch f.why {
	case isPinned:
		return "it is pinned (CREDPROXY UNPIN lets it go)"
	case isBusy:
		return "it is in use: " + f.users
	case notSaved:
		if f.dirty > 0 {
			return keysN(f.dirty) + " of it are not in Postgres yet, it can go when they are"
		}
		return cmp.Or(f.obstacle, "it is being saved")
	case notAdopted:
		return fmt.Sprintf("keys that were in Redis before the proxy are still being saved (%s of about %s looked at)", thousands(f.adopted), thousands(f.toAdopt))
	case wasRefused:
		return fmt.Sprintf("it could not be evicted (the log says why) and is tried again in %s", ago(f.avoided+time.Second))
	case isFresh:
		return "it was restored a moment ago, others go first"
	case usedLately:
		return fmt.Sprintf("it was used %s ago and min_idle is %s", ago(f.idle), f.minIdle)
	}
	return cmp.Or(f.obstacle, reasonTexts[f.why])
}

// turn says when a session's turn comes that may go.
func (f *facts) turn() string {
	text := fmt.Sprintf("%s of %s by recency in %s", ordinal(f.place.rank), thousands(int64(f.place.of)), f.space)
	switch {
	case f.policy != lru.LRU:
		text += fmt.Sprintf("; memory.policy %s decides when it goes, which weighs more than recency", f.policy)
	case f.spaceMax > 0 && (f.needed < 0 || f.within < f.needed):
		text += "; " + goesWhen(f.within, "its keyspace, whose max is "+bytesText(f.spaceMax)+", ")
	case f.needed >= 0:
		text += "; " + goesWhen(f.needed, "")
	}
	if f.ttl > 0 {
		text += fmt.Sprintf(", or when idle for %s (idle for %s now)", ago(f.ttl), ago(f.idle))
	}
	return text
}

func goesWhen(needed int64, who string) string {
	if needed == 0 {
		return "goes next, memory is over the threshold"
	}
	if who == "" {
		return "goes when about " + bytesText(needed) + " more are needed"
	}
	return "goes when " + who + "needs about " + bytesText(needed) + " more"
}

func keysN(n int) string {
	if n == 1 {
		return "1 key"
	}
	return thousands(int64(n)) + " keys"
}

// bytesText is a size for people.
func bytesText(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%d MB", (n+1<<19)>>20)
	}
	return fmt.Sprintf("%d KB", (n+1<<10-1)>>10)
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func ordinal(n int) string {
	suffix := "th"
	if tens := n % 100; tens < 11 || tens > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return thousands(int64(n)) + suffix
}
