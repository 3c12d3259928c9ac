package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// sleepers are the cold sessions of a load that keeps their share: the bots wake so many of them in a second, and what has been
// woken is evicted again soon. All other commands are for the rest of the sessions.
type sleepers struct {
	first, n int // they are sessions first to first+n-1
	wakes    atomic.Int64
	woken    chan wake
}

// wake is a session that a bot has woken.
type wake struct {
	id int
	at time.Time
}

const (
	// wakesPerSecond: of a hundred cold sessions each sleeps for five seconds, then.
	wakesPerSecond = 20
	// awake is how long a session that was woken is left alone.
	awake = 200 * time.Millisecond
)

// coldTenth is the mix of bots while a tenth of the sessions is cold.
func coldTenth(name string, sessions int) load {
	cold := max(sessions/10, 1)
	s := &sleepers{first: sessions - cold, n: cold, woken: make(chan wake, wakesPerSecond*60)}
	began := time.Now()
	l := newBots(name, false, sessions, func(rng *rand.Rand) int { return s.pick(rng, time.Since(began)) }).load(name)
	l.cold, l.kept = .1, s
	return l
}

// pick chooses a session: now and then, as the clock says, one of the sleepers, in turns.
func (s *sleepers) pick(rng *rand.Rand, clock time.Duration) int {
	due := int64(clock.Seconds() * wakesPerSecond)
	if n := s.wakes.Load(); n < due && s.wakes.CompareAndSwap(n, due) { // wakes that were missed are left out
		id := s.first + int(due%int64(s.n))
		select {
		case s.woken <- wake{id, time.Now()}:
			return id
		default: // nobody evicts them
		}
	}
	return rng.IntN(max(s.first, 1))
}

// keep evicts what has been woken, until ctx ends.
func (s *sleepers) keep(ctx context.Context, t *target, l load) error {
	c, err := t.dial(ctx, time.Now().Add(maxDuration))
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case w := <-s.woken:
			if wait(ctx, time.Until(w.at.Add(awake))) != nil {
				return nil
			}
			if err := c.do(command(nil, "CREDPROXY", "EVICT", l.session(w.id)), 1); err != nil && ctx.Err() == nil {
				return fmt.Errorf("evict a session that was woken: %w", err)
			}
		}
	}
}

// forget lets go of wakes that nobody has dealt with.
func (s *sleepers) forget() {
	for {
		select {
		case <-s.woken:
		default:
			return
		}
	}
}
