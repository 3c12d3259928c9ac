package proxy

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"credproxy/lru"
)

const (
	// quickReturn is within how long after its eviction a session that comes back should not have gone.
	quickReturn = 2 * time.Minute
	// thrashWindow is over how long restores are judged, in thrashSpans parts.
	thrashWindow = 5 * time.Minute
	thrashSpans  = 10
	// thrashLeast is how many quick returns in the window are worth a word at all: ten a minute.
	thrashLeast = 50
	// advised is for how many percent of the quick returns the advised budget would have been enough.
	advised = 90
)

// thrash finds out whether the same sessions are restored and evicted again and again, and which budget would end that (lru.Ghosts). Only
// evictions for want of memory count: who evicts by hand, or what inactivity_ttl says, is no matter of a budget.
type thrash struct {
	quick atomic.Int64 // quick returns, ever

	mu     sync.Mutex // guards the rest; a leaf
	ghosts lru.Ghosts
	spans  [thrashSpans]thrashSpan // a ring by time
}

// thrashSpan is what happened in one part of the window.
type thrashSpan struct {
	number          int64 // of the part, since 1970
	restores, quick int64
	space           int64      // of quick, those that a keyspace's own budget had evicted
	needs           lru.Spread // of the other quick ones: how many bytes Redis would have had to hold to have them still
}

// departure is what a session knows of its last eviction.
type departure struct {
	number uint32 // of lru.Ghosts; 0: none, or one that does not count
	why    cause
	at     uint32 // unix seconds
}

// note is left for a victim whose eviction has come out so; 0: it stays, or there is nothing left of it.
func (t *thrash) note(v *victim, next state) uint32 {
	if next != evicted || v.gone {
		return 0
	}
	return t.left(v.why, v.bytes)
}

// left notes an eviction and returns its number.
func (t *thrash) left(why cause, size int64) uint32 {
	if why != overMemory && why != overSpace && why != atMaxmemory {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ghosts.Leave(size)
}

// returned notes that a session was restored; used is what Redis holds with it.
func (t *thrash) returned(d departure, used int64, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	span := t.spanAt(now)
	span.restores++
	later, known := t.ghosts.Return(d.number)
	if !known || now.Sub(time.Unix(int64(d.at), 0)) >= quickReturn {
		return
	}
	t.quick.Add(1)
	span.quick++
	if d.why == overSpace {
		span.space++
		return
	}
	span.needs.Add(used + later)
}

// spanAt returns the part of the window that now belongs to. The caller holds mu.
func (t *thrash) spanAt(now time.Time) *thrashSpan {
	number := now.UnixNano() / int64(thrashWindow/thrashSpans)
	span := &t.spans[number%thrashSpans]
	if span.number != number {
		*span = thrashSpan{number: number}
	}
	return span
}

// forget begins a new window: there is another budget now.
func (t *thrash) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.spans[:])
}

// reset begins to count anew.
func (t *thrash) reset() {
	t.quick.Store(0)
	t.forget()
}

// Thrashing is what became of evicted sessions in the last five minutes.
type Thrashing struct {
	On        bool  // most restores were of sessions that had to go a moment before
	Restores  int64 // in the window
	Quick     int64 // of these, of sessions that were evicted for want of memory less than two minutes before
	QuickEver int64 // the same, since the start
	Advised   int64 // memory.max, bytes, that would have kept nine tenths of Quick; 0: none is known
	Text      string
}

// judge looks at the window that ends now. kept is how many percent of memory.max are left after an eviction.
func (t *thrash) judge(now time.Time, kept int) Thrashing {
	out := Thrashing{QuickEver: t.quick.Load()}
	var space int64
	var needs lru.Spread
	t.mu.Lock()
	newest := t.spanAt(now).number
	for i := range t.spans {
		span := &t.spans[i]
		if span.number <= newest-thrashSpans {
			continue
		}
		out.Restores, out.Quick, space = out.Restores+span.restores, out.Quick+span.quick, space+span.space
		needs.AddAll(&span.needs)
	}
	t.mu.Unlock()
	if space*2 <= out.Quick { // else another max is too small
		out.Advised = needs.Covering(advised) * 100 / int64(max(kept, 1))
	}
	if out.On = out.Quick >= thrashLeast && out.Quick*2 > out.Restores; out.On {
		out.Text = out.describe(space)
	}
	return out
}

func (t *Thrashing) describe(space int64) string {
	text := fmt.Sprintf("%d %% of %d restores in the last 5 minutes were of sessions evicted less than 2 minutes before", t.Quick*100/t.Restores, t.Restores)
	if space*2 > t.Quick {
		return text + "; most had to go because their keyspace was over its max: raise that"
	}
	return text + fmt.Sprintf("; a budget (memory.max) of about %s would have kept %d %% of them", budgetText(t.Advised), advised)
}

// budgetText writes a size in two digits or more.
func budgetText(n int64) string {
	if n < 10<<30 {
		return fmt.Sprintf("%d MB", (n+1<<20-1)>>20)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
}

// departureOf is how the session has left. The gate of the session is closed (state loading), so it does not leave again meanwhile.
func (r ref) departureOf() departure {
	r.sh.Lock()
	defer r.sh.Unlock()
	g := &r.it.Value
	return departure{number: g.ghost, why: g.why, at: g.left}
}

// holding estimates what Redis uses now: the last sample, and how the resident sessions have grown since.
func (p *policy) holding() int64 {
	last, _, _ := p.snapshot()
	return last.used + p.s.sessions.table.Bytes() - last.sessions
}

// thrashing judges now.
func (s *Server) thrashing() Thrashing {
	return s.thrash.judge(time.Now(), s.policy.config().Budget.Target)
}

// thrashing is told what became of evicted sessions.
func (a *alarms) thrashing(t Thrashing) {
	const what = "thrashing"
	if !t.On {
		a.clear(what)
		return
	}
	if a.raise(what) {
		a.log.Warn("thrashing: the same sessions are evicted and restored again and again", "why", t.Text)
	}
}
