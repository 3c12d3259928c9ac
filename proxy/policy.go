package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

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

	written atomic.Int64 // bytes written through the proxy, ever
	sampled atomic.Int64 // value of written when the last sample began
	alarmAt atomic.Int64 // how many bytes written since the last sample call for a new one
	paused  atomic.Bool
	stuck   atomic.Bool // the last pass freed nothing: waiting for room is of no use
	kick    chan struct{}
	passed  chan struct{} // replaced and closed after every enforcement
	passMu  sync.Mutex    // guards passed
}

// sample is one measurement of Redis's memory.
type sample struct {
	used   int64 // used_memory less what Redis does not count for eviction, bytes
	raw    int64 // used_memory, bytes
	lazy   int64 // objects whose memory is being freed in the background
	maxmem int64 // Redis's own maxmemory, bytes, 0: none
	policy string
	at     time.Time
}

const (
	// evictBatch is how many sessions leave together, and evictBytes how many estimated bytes: enough to make a commit
	// worth its wait, little enough that nobody waits long for a session in the batch.
	evictBatch = 32
	evictBytes = 2 << 20
	// lazyPoll and lazyPatience say how often and how long a sample waits for Redis to give freed memory back.
	lazyPoll     = 5 * time.Millisecond
	lazyPatience = 2 * time.Second
	// savePatience is how long one enforcement waits in all for the saver, when every session that might go is unsaved.
	savePatience = 2 * time.Second
	// fruitless is after how many batches without a result, one after the other, eviction gives up until it is asked again.
	fruitless = 3
	// roomPatience is the longest that a write or a restore waits for room when memory is full.
	roomPatience = 2 * time.Second
)

func newPolicy(s *Server, cfg MemoryConfig) *policy {
	p := &policy{s: s, cfg: cfg, kick: make(chan struct{}, 1), passed: make(chan struct{})}
	p.setOrder(cfg)
	return p
}

func (p *policy) config() MemoryConfig {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg
}

func (p *policy) setConfig(cfg MemoryConfig) {
	p.mu.Lock()
	p.cfg = cfg
	p.mu.Unlock()
	p.setOrder(cfg)
	p.wake()
}

func (p *policy) setOrder(cfg MemoryConfig) {
	p.plan.Store(newPlan(p.s.sessions, cfg))
	p.s.sessions.table.SetPolicy(cmp.Or(cfg.Policy, lru.LRU))
}

// sample measures. A failed measurement is an error, never zero bytes.
func (p *policy) sample(ctx context.Context) (sample, error) {
	before := p.written.Load()
	m, err := p.measure(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastErr = err
	if err != nil {
		return sample{}, err
	}
	p.last = m
	p.sampled.Store(before)
	limit := p.cfg.Budget.Max*int64(p.cfg.Budget.Threshold)/100 - m.used
	// Above the threshold with nothing to evict, every hundredth of the budget is soon enough to look again.
	p.alarmAt.Store(max(limit, p.cfg.Budget.Max/100, 1))
	return m, nil
}

func (p *policy) measure(ctx context.Context) (sample, error) {
	info, err := p.s.control.db(0).Info(ctx, "memory").Result()
	if err != nil {
		return sample{}, fmt.Errorf("sample memory: %w", err)
	}
	m := sample{at: time.Now()}
	if m.raw, err = infoInt(info, "used_memory"); err != nil {
		return sample{}, fmt.Errorf("sample memory: %w", err)
	}
	uncounted, _ := infoInt(info, "mem_not_counted_for_evict") // older servers lack it
	m.lazy, _ = infoInt(info, "lazyfree_pending_objects")
	m.maxmem, _ = infoInt(info, "maxmemory")
	m.policy, _ = infoField(info, "maxmemory_policy")
	m.used = m.raw - uncounted
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

// wrote counts bytes on their way to Redis and asks for a sample when they could have crossed the threshold.
func (p *policy) wrote(n int) {
	if p.written.Add(taken(int64(n)))-p.sampled.Load() >= p.alarmAt.Load() {
		p.wake()
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
	total := 0
	p.stuck.Store(true) // until something has gone
	m, err := p.sample(ctx)
	if err != nil {
		return 0, err
	}
	if p.paused.Load() || !p.s.enforcing() {
		return 0, nil
	}
	if total, err = p.enforceSpaces(ctx); err != nil {
		return total, err
	}
	if total > 0 {
		p.stuck.Store(false)
		if m, err = p.settled(ctx); err != nil {
			return total, err
		}
	}
	n, err := p.enforceWhole(ctx, m)
	return total + n, err
}

// enforceWhole is enforce for the budget of the whole, of which m is a sample. The caller holds enforcer.
func (p *policy) enforceWhole(ctx context.Context, m sample) (total int, err error) {
	if !p.config().Budget.Over(m.used) {
		p.sayFull(false, m)
		return 0, nil
	}
	until := time.Now().Add(savePatience)
	for idle := 0; ; {
		excess := m.used - p.target()
		if excess <= 0 {
			p.sayFull(false, m)
			return total, nil
		}
		n, err := p.freeIn(ctx, lru.Every, excess, overMemory, &p.s.stats.memory)
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
			idle = 0
			p.stuck.Store(false)
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
			k, ferr := p.freeIn(ctx, lru.Every, max(m.raw-goal, 64<<10), atMaxmemory, &p.s.stats.rescued)
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

// taken is about how much memory n bytes of payload take: the allocator rounds up by a quarter at most.
func taken(n int64) int64 { return n + n/4 }

// full reports whether what is known of memory, with what was written since, comes close to max: the rest is for what is on its
// way when the sample is taken.
func (p *policy) full(more int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit := p.cfg.Budget.Max - p.cfg.Budget.Max/32
	return p.last.used > 0 && p.last.used+p.written.Load()-p.sampled.Load()+taken(more) >= limit
}

// makeRoom holds a restore or a write back while memory is full and eviction has something to do, for a bounded time.
func (p *policy) makeRoom(ctx context.Context, size int64) {
	if !p.full(size) {
		p.wrote(int(size))
		return
	}
	timer := time.NewTimer(roomPatience)
	defer timer.Stop()
	for first := true; first || !p.stuck.Load(); first = false {
		next := p.nextPass()
		p.wake()
		select {
		case <-next:
		case <-timer.C:
			p.wrote(int(size))
			return
		case <-ctx.Done():
			return
		}
		if !p.full(size) {
			break
		}
	}
	p.wrote(int(size))
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
