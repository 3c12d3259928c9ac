package bots

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Stats is what a fleet has done so far.
type Stats struct {
	Bots   int
	Active int   // bots that are not quiet right now
	Ops    int64 // round trips
	Values int64 // values read and verified
	Misses int64 // of these, nil
	Writes int64 // items written or removed
	Wrong  int64 // answers that no correct Redis gives
	Errors int64 // commands that failed; apart from Wrong: an error is an honest answer

	LastWrong string // which item and what is wrong with it, never its bytes
	LastError string

	// Wake is the time of a bot's first reads after a quiet period, over the last thousand or so.
	WakeP50, WakeP99 time.Duration
}

type counters struct {
	active, ops, values, misses, writes, wrong, errors atomic.Int64
}

// Stats returns a snapshot. Any time.
func (f *Fleet) Stats() Stats {
	c := &f.count
	s := Stats{
		Bots: len(f.bots), Active: int(c.active.Load()), Ops: c.ops.Load(), Values: c.values.Load(),
		Misses: c.misses.Load(), Writes: c.writes.Load(), Wrong: c.wrong.Load(), Errors: c.errors.Load(),
	}
	s.WakeP50, s.WakeP99 = f.wakes.quantiles()
	f.mu.Lock()
	defer f.mu.Unlock()
	s.LastWrong, s.LastError = f.lastBad, f.lastFail
	return s
}

func (f *Fleet) wrong(text string) {
	f.count.wrong.Add(1)
	f.tell(&f.lastBad, f.cfg.OnWrong, text)
}

func (f *Fleet) failed(b *bot, what string, err error) {
	f.count.errors.Add(1)
	f.tell(&f.lastFail, f.cfg.OnError, fmt.Sprintf("bot %d (%s) %s: %v", b.n, b.store.shape, what, err))
}

func (f *Fleet) tell(last *string, listener func(string), text string) {
	f.mu.Lock()
	*last = text
	f.mu.Unlock()
	if listener != nil {
		listener(text)
	}
}

// latencies remembers the last times it was given.
type latencies struct {
	mu   sync.Mutex
	ring [1024]time.Duration
	n    int // ever added
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring[l.n%len(l.ring)] = d
	l.n++
}

func (l *latencies) quantiles() (p50, p99 time.Duration) {
	l.mu.Lock()
	kept := slices.Clone(l.ring[:min(l.n, len(l.ring))])
	l.mu.Unlock()
	if len(kept) == 0 {
		return 0, 0
	}
	slices.Sort(kept)
	return kept[len(kept)/2], kept[len(kept)*99/100]
}
