package proxy

import (
	"context"
	"sync"
	"time"
)

const (
	// pingEvery is how often Redis and Postgres are asked for a sign of life, pingTimeout how long they may take for it.
	pingEvery   = time.Second
	pingTimeout = 3 * time.Second
)

// pulses are what is known of both stores.
type pulses struct{ redis, postgres pulse }

// pulse watches one store.
type pulse struct {
	mu   sync.Mutex // guards last
	last Pulse
}

// Pulse is the state of a store.
type Pulse struct {
	Known   bool          // it was asked
	Up      bool          // it answered the last time
	Since   time.Time     // of Up
	Latency time.Duration // of the last answer
	Error   string        // why it is not up
}

func (p *pulse) state() Pulse {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// watch asks until ctx ends.
func (p *pulse) watch(ctx context.Context, ping func(context.Context) error) {
	for {
		p.beat(ctx, ping)
		timer := time.NewTimer(pingEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (p *pulse) beat(ctx context.Context, ping func(context.Context) error) {
	limited, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	start := time.Now()
	err := ping(limited)
	if ctx.Err() != nil {
		return // the end says nothing about the store
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if next := err == nil; !p.last.Known || p.last.Up != next {
		p.last = Pulse{Known: true, Up: next, Since: now}
	}
	p.last.Error = ""
	if err != nil {
		p.last.Error = err.Error()
		return
	}
	p.last.Latency = now.Sub(start)
}

// away is for how long the store has not answered, 0 if it has or was not asked yet.
func (p *Pulse) away(now time.Time) time.Duration {
	if !p.Known || p.Up {
		return 0
	}
	return max(now.Sub(p.Since), time.Millisecond)
}

// watchStores asks both stores as long as the proxy lives, whether or not clients do.
func (s *Server) watchStores() {
	s.tasks.Go(func() {
		s.pulses.redis.watch(s.base, func(ctx context.Context) error { return s.control.db(0).Ping(ctx).Err() })
	})
	s.tasks.Go(func() { s.pulses.postgres.watch(s.base, s.store.Ping) })
}
