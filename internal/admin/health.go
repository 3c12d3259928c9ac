package admin

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"credproxy/proxy"
)

const (
	// pingEvery is how often Redis and Postgres are asked for a sign of life, pingTimeout how long they may take for it.
	pingEvery   = time.Second
	pingTimeout = 3 * time.Second
	// patience is how long Postgres may be away, saving fail, memory be full or the lock be lost before the proxy is not ready:
	// sessions in Redis are served meanwhile, and a restart of Postgres should not take every proxy out of service.
	patience = 10 * time.Second
)

// health is what is known of both stores.
type health struct{ redis, postgres pulse }

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

// Finding is one thing that is not as it should be, with its consequence in words.
type Finding struct {
	Code   string `json:"code"`
	Level  string `json:"level"` // error, warning or note
	Text   string `json:"text"`
	Blocks bool   `json:"blocks_readiness"`
}

// findings judges. It is pure: the same stats and pulses give the same findings.
func findings(st *proxy.Stats, redis, postgres Pulse, now time.Time) []Finding {
	list := []Finding{}
	add := func(when bool, code, level string, blocks bool, text string) {
		if when {
			list = append(list, Finding{code, level, text, blocks})
		}
	}
	waiting := ""
	if st.DirtyKeys > 0 {
		waiting = fmt.Sprintf(" %s to be saved.", counted(st.DirtyKeys, "key waits", "keys wait"))
	}
	away := postgres.Known && !postgres.Up
	add(st.Closing, "closing", "warning", true, "The proxy is shutting down: it takes no new clients and saves what is unsaved."+waiting)
	add(redis.Known && !redis.Up, "redis_away", "error", true,
		"Redis is away: commands are answered with an error at once, and nothing is lost. They work again when Redis does.")
	add(away, "postgres_away", "error", now.Sub(postgres.Since) >= patience,
		"Postgres is away: nothing can be evicted, evicted sessions and deletes wait; sessions in Redis are served."+waiting)
	add(!away && st.NotSaving > 0, "saving_fails", "error", st.NotSaving >= patience,
		"Changed keys cannot be saved: they stay in Redis, marked, and are not evicted; the log says why."+waiting)
	add(st.MemoryFull, "memory_full", "error", st.FullFor >= patience,
		"Memory is over the threshold and no session may be evicted: Redis will refuse writes when it is full."+reasonOf(st.FullWhy))
	// With Postgres the lock is away, too, and comes back soon after it.
	add(!away && !st.Enforcing, "not_enforcing", "error", now.Sub(postgres.Since) >= patience,
		"The lock on the memory policy is not held: this proxy evicts nothing until it has the lock.")
	add(st.Paused, "paused", "warning", false, "Eviction is paused by an operator: memory can grow past the threshold.")
	add(st.RedisPolicy != "" && st.RedisPolicy != "noeviction", "redis_policy", "warning", false,
		fmt.Sprintf("Redis's maxmemory-policy is %s: Redis may drop single keys of a session by itself. Set it to noeviction.", st.RedisPolicy))
	add(st.Thrashing.On, "thrashing", "warning", false, "Thrashing: "+st.Thrashing.Text+".")
	for _, text := range st.MemoryWarnings {
		add(true, "redis_memory", "warning", false, text+".")
	}
	add(st.AdoptionPending > 0, "adopting", "note", false,
		fmt.Sprintf("Sessions from before the proxy are being adopted (%s looked at): until that is over, none of them is evicted.",
			counted(st.AdoptionKeys, "key", "keys")))
	return list
}

// reasonOf makes a sentence of what the policy has found.
func reasonOf(why string) string {
	if why == "" {
		return ""
	}
	return " " + strings.ToUpper(why[:1]) + why[1:] + "."
}

// counted is a number with thousands separated, and its noun.
func counted(n int64, one, many string) string {
	noun := many
	if n == 1 {
		noun = one
	}
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits + " " + noun
}

// judge judges the proxy now.
func (s *Site) judge(st *proxy.Stats) (list []Finding, ready bool) {
	list = findings(st, s.health.redis.state(), s.health.postgres.state(), time.Now())
	for i := range list {
		if list[i].Blocks {
			return list, false
		}
	}
	return list, true
}
