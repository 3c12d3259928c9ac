package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// shape is how a load is sent.
type shape struct {
	Clients  int     `json:"clients"`
	Pipeline int     `json:"pipeline"`
	Rate     float64 `json:"rate,omitempty"` // commands per second in the open loop, 0: closed
}

func (s shape) String() string {
	text := fmt.Sprintf("%d clients, %d deep", s.Clients, s.Pipeline)
	if s.Rate > 0 {
		text += fmt.Sprintf(", %.0f/s", s.Rate)
	}
	return text
}

// Phases of one measurement.
const (
	warming int32 = iota
	measuring
	stopping
)

const (
	// slack is how long after the end the replies to the last pipelines may take before connections are given up.
	slack = 30 * time.Second
	// maxLatency is the longest that is counted.
	maxLatency = time.Minute
)

// measure runs one load against one target and returns what it did during opts.duration.
func measure(ctx context.Context, t *target, l load, s shape, opts options) (sample, error) {
	if opts.driver == driverRedis {
		return measureByRedis(ctx, t, l, s, opts)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, opts.warmup+opts.duration+slack, errSlow)
	defer cancel()
	ctx, give := context.WithCancelCause(ctx)
	defer give(nil)
	r := &runner{target: t, load: l, pipeline: s.Pipeline, began: time.Now(), latency: newHistogram()}
	clients, err := r.connect(ctx, s, opts)
	defer func() {
		for _, c := range clients {
			c.close()
		}
	}()
	if err != nil {
		return sample{}, err
	}
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() {
			if err := c.run(ctx); err != nil {
				give(err)
			}
		})
	}
	w, err := r.conduct(ctx, opts)
	r.phase.Store(stopping)
	all.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return sample{}, err
	}
	return r.sample(w), nil
}

var errSlow = fmt.Errorf("the last replies did not come within %s", slack)

// runner is what the clients of one measurement share.
type runner struct {
	target   *target
	load     load
	pipeline int
	began    time.Time
	phase    atomic.Int32
	ended    atomic.Int64 // when the measured phase was over, on the runner's clock

	mu      sync.Mutex // guards all below; a loop takes it at its end and for a wrong reply, a worker for each reply
	latency *hdrhistogram.Histogram
	ops     int64
	wrong   int64
	example string // the first wrong reply
}

// clock is the time since the runner began: cheaper to read and to compare than the time of day.
func (r *runner) clock() time.Duration { return time.Since(r.began) }

// driver is one or many clients.
type driver interface {
	run(ctx context.Context) error
	close()
}

// connect opens the connections of all clients; with an error it returns those that it has opened.
func (r *runner) connect(ctx context.Context, s shape, opts options) ([]driver, error) {
	var all []driver
	if opts.goroutines {
		for i := range s.Clients {
			w, err := newWorker(ctx, r, i)
			if err != nil {
				return all, err
			}
			all = append(all, w)
		}
	} else {
		loops := min(opts.loops, s.Clients)
		makeRoom(loops)
		for i := range loops {
			l, err := newLoop(r, s.Clients*(i+1)/loops-s.Clients*i/loops)
			if err != nil {
				return all, err
			}
			all = append(all, l)
		}
	}
	if s.Rate > 0 {
		r.plan(all, s)
	}
	return all, nil
}

// plan gives all clients their times to send. It begins a moment after now, when all run.
func (r *runner) plan(all []driver, s shape) {
	start := r.clock() + time.Millisecond
	for i, d := range all {
		switch d := d.(type) {
		case *loop:
			share := time.Duration(i) * time.Millisecond / time.Duration(len(all)) // so that loops do not come in step
			d.arrive = newSchedule(start+share, s.Rate, s.Pipeline, len(d.clients), s.Clients)
		case *worker:
			d.arrive = newSchedule(start, s.Rate, s.Pipeline, s.Clients, s.Clients)
		}
	}
}

// newHistogram holds nanoseconds up to the longest latency, to 0.1 %.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(100, int64(maxLatency), 3) }

// window is the measured phase, with the processes' counters at both ends.
type window struct {
	length        time.Duration
	before, after usage
}

// conduct leads through the phases.
func (r *runner) conduct(ctx context.Context, opts options) (w window, err error) {
	if err = wait(ctx, opts.warmup); err != nil {
		return w, err
	}
	runtime.GC() // what was needed to connect; in the measured phase nothing is left
	if w.before, err = r.target.usage(ctx); err != nil {
		return w, err
	}
	start := r.clock()
	r.phase.Store(measuring)
	err = wait(ctx, opts.duration)
	r.ended.Store(int64(r.clock()))
	r.phase.Store(warming) // what is in flight does not count
	w.length = time.Duration(r.ended.Load()) - start
	if err != nil {
		return w, err
	}
	w.after, err = r.target.usage(ctx)
	return w, err
}

// wait returns after d, or with the cause when ctx ends before.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// merge adds a client's figures.
func (r *runner) merge(latency *hdrhistogram.Histogram, ops int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latency.Merge(latency)
	r.ops += ops
}

// count takes one latency of a client that has no histogram of its own.
func (r *runner) count(took time.Duration, commands int) {
	r.late(took, commands)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops += int64(commands)
}

// late takes the latency of commands that have no reply yet.
func (r *runner) late(took time.Duration, commands int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.latency.RecordValues(int64(min(took, maxLatency)), int64(commands)) // within its range, so it cannot fail
}

// note counts a wrong reply, also one outside the measured phase.
func (r *runner) note(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wrong++; r.wrong == 1 {
		r.example = what
	}
}

// sample turns counters into figures. All clients have ended.
func (r *runner) sample(w window) sample {
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	s := sample{
		OpsPerSecond: float64(r.ops) / w.length.Seconds(),
		P50:          us(r.latency.ValueAtPercentile(50)),
		P99:          us(r.latency.ValueAtPercentile(99)),
		P999:         us(r.latency.ValueAtPercentile(99.9)),
		Max:          us(r.latency.Max()),
		Wrong:        r.wrong,
		Example:      r.example,
	}
	w.fill(&s, r.ops)
	return s
}

// fill adds what the processes have used for so many operations.
func (w window) fill(s *sample, ops int64) {
	perOp := func(from, to process) float64 {
		return float64((to.cpu - from.cpu).Nanoseconds()) / 1e3 / float64(max(ops, 1))
	}
	s.ProxyCPU = perOp(w.before.proxy, w.after.proxy)
	s.RedisCPU = perOp(w.before.redis, w.after.redis)
	s.PostgresCPU = perOp(w.before.postgres, w.after.postgres)
	s.ClientCPU = perOp(w.before.client, w.after.client)
	s.ProxyRSS, s.RedisRSS = w.after.proxy.rss, w.after.redis.rss
	s.Restores = float64(w.after.restores-w.before.restores) / w.length.Seconds()
}
