package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/lru"
)

// policy samples Redis's memory and decides when sessions go.
type policy struct {
	s *Server

	mu       sync.Mutex // guards cfg, last, lastErr
	cfg      MemoryConfig
	last     sample
	lastErr  error
	enforcer sync.Mutex // one enforcement at a time; held over I/O, and nothing that serves clients waits for it
	plan     atomic.Pointer[plan]
	floored  time.Time              // when every session was last asked what keeps it; guarded by enforcer
	blocked  atomic.Pointer[string] // what keeps the sessions in Redis while memory is full and nothing may go

	room   room
	paused atomic.Bool
	kick   chan struct{}
	passed chan struct{} // replaced and closed after every sample and every enforcement
	passMu sync.Mutex    // guards passed
}

// sample is one measurement of Redis's memory.
type sample struct {
	used   int64 // used_memory less what Redis does not count for eviction, bytes
	raw    int64 // used_memory, bytes
	lazy   int64 // objects whose memory is being freed in the background
	maxmem int64 // Redis's own maxmemory, bytes, 0: none
	rss    int64 // memory that Redis's process has of the system, bytes; 0: not known
	policy string
	at     time.Time

	sessions int64 // estimated bytes of the resident sessions then

	ahead   int64 // what tables of keys take with the next keys, bytes
	buffers int64 // buffers of clients, bytes, part of used
	swing   int64 // what those came to lately
	due     int64 // used, ahead, and what is on its way: what eviction goes by
}

const (
	// evictBatch is how many sessions leave together, and evictBytes how many estimated bytes: enough to make a commit
	// worth its wait, little enough that nobody waits long for a session in the batch.
	evictBatch = 32
	evictBytes = 2 << 20
	// lazyPoll and lazyPatience say how often and how long a sample waits for Redis to give freed memory back.
	lazyPoll     = 5 * time.Millisecond
	lazyPatience = 2 * time.Second
	// savePatience is how long one enforcement waits for the saver since it freed something, when every session that might go is unsaved.
	savePatience = 2 * time.Second
	// fruitless is after how many batches without a result, one after the other, eviction gives up until it is asked again.
	fruitless = 3
	// roomPatience is the longest that a restore waits for room when memory is full: it holds things that others need. A write waits up to
	// restore.wait.
	roomPatience = 5 * time.Second
)

func newPolicy(s *Server, cfg MemoryConfig) *policy {
	p := &policy{s: s, cfg: cfg, kick: make(chan struct{}, 1), passed: make(chan struct{})}
	p.setOrder(cfg)
	p.room.unsampled()
	return p
}

func (p *policy) config() MemoryConfig {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg
}

func (p *policy) setConfig(cfg MemoryConfig) {
	p.mu.Lock()
	other := p.cfg.Budget != cfg.Budget || p.cfg.MaxFromRedis != cfg.MaxFromRedis
	p.cfg = cfg
	p.followLocked()
	p.mu.Unlock()
	if other {
		p.s.thrash.forget()
	}
	p.setOrder(cfg)
	p.wake()
}

func (p *policy) setOrder(cfg MemoryConfig) {
	p.plan.Store(newPlan(p.s.sessions, cfg))
	p.s.sessions.table.SetPolicy(cmp.Or(cfg.Policy, lru.LRU))
}

// sample measures. A failed measurement is an error, never zero bytes.
func (p *policy) sample(ctx context.Context) (sample, error) {
	landed, written := p.room.landed.Load(), p.room.written.Load()
	m, err := p.measure(ctx)
	defer p.announce()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastErr = err
	if err != nil {
		return sample{}, err
	}
	m.swing = max(m.buffers, p.last.swing-p.last.swing/32)
	p.last = m
	p.followLocked()
	p.room.sampled(&p.last, landed, written, &p.cfg)
	return p.last, nil
}

func (p *policy) measure(ctx context.Context) (sample, error) {
	var memory, tables *redis.StringCmd
	_, err := p.s.control.db(0).Pipelined(ctx, func(pipe redis.Pipeliner) error {
		memory, tables = pipe.Info(ctx, "memory"), pipe.Info(ctx, "keyspace")
		return nil
	})
	if err != nil {
		return sample{}, fmt.Errorf("sample memory: %w", err)
	}
	info := memory.Val()
	m := sample{at: time.Now(), ahead: growth(tables.Val())}
	if m.raw, err = infoInt(info, "used_memory"); err != nil {
		return sample{}, fmt.Errorf("sample memory: %w", err)
	}
	uncounted, _ := infoInt(info, "mem_not_counted_for_evict") // older servers lack it
	m.lazy, _ = infoInt(info, "lazyfree_pending_objects")
	m.maxmem, _ = infoInt(info, "maxmemory")
	m.buffers, _ = infoInt(info, "mem_clients_normal")
	m.rss, _ = infoInt(info, "used_memory_rss")
	m.policy, _ = infoField(info, "maxmemory_policy")
	m.used, m.sessions = m.raw-uncounted, p.s.sessions.table.Bytes()
	return m, nil
}

// settled samples until Redis has given back what it frees in the background.
func (p *policy) settled(ctx context.Context) (sample, error) {
	deadline := time.Now().Add(lazyPatience)
	for {
		m, err := p.sample(ctx)
		if err != nil || m.lazy == 0 || time.Now().After(deadline) {
			return m, err
		}
		if err := pause(ctx, lazyPoll, context.Canceled); err != nil {
			return m, err
		}
	}
}

func (p *policy) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// run enforces the policy by the clock and when woken, until ctx ends.
func (p *policy) run(ctx context.Context) {
	var clock schedule
	for {
		budgets := len(p.plan.Load().budgets) > 0
		timer := time.NewTimer(clock.wait(time.Now(), p.config().CheckInterval, budgets))
		kicked := false
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-p.kick:
			kicked = true
		}
		timer.Stop()
		if clock.arrived(time.Now()) {
			p.inactive(ctx)
		} else if _, over := p.overBudget(); !over && !kicked {
			continue
		}
		if _, err := p.enforce(ctx); err != nil && ctx.Err() == nil {
			p.s.alarms.policy(err)
			_ = pause(ctx, loadRetry, err) // a wake-up per write must not become a storm of failing samples
		}
	}
}

// enforce samples and, above the threshold, evicts until the target is reached or nothing more may go. It returns how many
// sessions it evicted.
func (p *policy) enforce(ctx context.Context) (int, error) {
	p.enforcer.Lock()
	defer p.enforcer.Unlock()
	defer p.announce()
	want := p.room.wanted.Swap(0)
	m, err := p.sample(ctx)
	if err != nil {
		p.room.freeing(false)
		return 0, err
	}
	p.lookAtRedis()
	if p.paused.Load() || !p.s.enforcing() {
		return 0, nil
	}
	total, err := p.enforceSpaces(ctx)
	if err == nil && total > 0 {
		m, err = p.settled(ctx)
	}
	if err == nil {
		var n int
		n, err = p.enforceWhole(ctx, m, want)
		total += n
	}
	last, _, _ := p.snapshot()
	p.room.freeing(total > 0 || err == nil && p.goal(&last, want) == 0)
	return total, err
}

// goal is how many bytes have to go by a sample, with somebody waiting for want bytes; 0: none.
func (p *policy) goal(m *sample, want int64) int64 {
	b := p.config().Budget
	top := ceiling(b.Max, m)
	if want = min(want, b.Max*3/4); !b.Over(m.due) && (want == 0 || m.due+want <= top) {
		return 0
	}
	return max(m.due-min(p.target(), top-want), 1)
}

// enforceWhole is enforce for the budget of the whole, of which m is a sample; somebody waits for want bytes. The caller holds enforcer.
func (p *policy) enforceWhole(ctx context.Context, m sample, want int64) (total int, err error) {
	goal := m.due - p.goal(&m, want)
	until := time.Now().Add(savePatience)
	for idle := 0; ; {
		excess := m.due - goal
		if excess <= 0 {
			p.sayFull(false, m)
			return total, nil
		}
		patient := time.Now().Before(until) && p.s.saver.queue.keys.Load() > 0
		n, err := p.freeIn(ctx, lru.Every, excess, overMemory, &p.s.stats.memory, patient)
		total += n
		if err != nil {
			return total, err
		}
		if n == 0 {
			if p.awaitSaver(ctx, until) {
				continue
			}
			if idle++; idle >= fruitless {
				p.sayFull(p.config().Budget.Over(m.used), m)
				return total, p.s.saver.obstacle()
			}
		} else {
			idle, until = 0, time.Now().Add(savePatience)
			p.room.freeing(true)
		}
		if m, err = p.settled(ctx); err != nil {
			return total, err
		}
	}
}

// afterBatch is the result of a batch: n sessions went.
func (p *policy) afterBatch(ctx context.Context, n int, err error) (int, error) {
	if n > 0 || errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return n, nil // a session of the batch was wanted, so all stayed: the others are tried again
	}
	if errors.As(err, new(errNotEvictable)) {
		return n, nil // it was used since it was chosen
	}
	return n, err
}

// floorEvery is how often every session is asked why it stays while memory is full: of a million that takes a third of a second.
const floorEvery = 5 * time.Second

// sayFull notes whether memory is full and nothing may go, and says why. The caller holds enforcer.
func (p *policy) sayFull(on bool, m sample) {
	why := ""
	if on && p.fullWhy() != "" && time.Since(p.floored) < floorEvery {
		return
	}
	if on {
		p.floored = time.Now()
		why = p.floor()
		if m.maxmem == 0 {
			why += "; Redis has no maxmemory of its own, so it goes on growing"
		}
	}
	p.blocked.Store(&why)
	p.s.alarms.full(on, m, why)
}

// awaitSaver waits a little for unsaved sessions to become evictable; false: none are unsaved, or it is past until.
func (p *policy) awaitSaver(ctx context.Context, until time.Time) bool {
	if p.s.saver.queue.keys.Load() == 0 || time.Now().After(until) {
		return false
	}
	p.s.saver.queue.wake()
	return pause(ctx, lazyPoll, context.Canceled) == nil
}

// target is where eviction stops, in bytes.
func (p *policy) target() int64 {
	b := p.config().Budget
	return b.Max / 100 * int64(b.Target)
}

// averageSize is what a resident session takes on average, in bytes.
func (p *policy) averageSize() int64 {
	last, _, _ := p.snapshot()
	return last.used / int64(max(p.s.sessions.table.Listed(), 1))
}

// rescue evicts because Redis has refused a write for want of memory, whatever the budget says; it returns how many went.
func (p *policy) rescue(ctx context.Context) int {
	if p.paused.Load() || !p.s.enforcing() {
		return 0
	}
	n, err := p.enforce(ctx)
	if n > 0 {
		return n
	}
	p.enforcer.Lock()
	defer p.enforcer.Unlock()
	if m, serr := p.sample(ctx); serr == nil && m.maxmem > 0 {
		until := time.Now().Add(savePatience)
		for goal := m.maxmem * 9 / 10; serr == nil && m.raw > goal; {
			k, ferr := p.freeIn(ctx, lru.Every, max(m.raw-goal, 64<<10), atMaxmemory, &p.s.stats.rescued, false)
			n, err = n+k, ferr
			if k == 0 && (n > 0 || !p.awaitSaver(ctx, until)) {
				break
			}
			m, serr = p.settled(ctx)
		}
	}
	if err != nil && ctx.Err() == nil {
		p.s.alarms.policy(err)
	}
	return n
}

// announce tells those who wait for room that memory may have been freed.
func (p *policy) announce() {
	p.passMu.Lock()
	defer p.passMu.Unlock()
	close(p.passed)
	p.passed = make(chan struct{})
}

func (p *policy) nextPass() <-chan struct{} {
	p.passMu.Lock()
	defer p.passMu.Unlock()
	return p.passed
}

// snapshot returns the last sample, the policy and the error of the last attempt.
func (p *policy) snapshot() (sample, MemoryConfig, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last, p.cfg, p.lastErr
}

func percentOf(used int64, b lru.Budget) float64 {
	if b.Max <= 0 {
		return 0
	}
	return float64(used) * 100 / float64(b.Max)
}
