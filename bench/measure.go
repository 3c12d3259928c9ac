package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// shape is how a load is sent.
type shape struct {
	Clients  int `json:"clients"`
	Pipeline int `json:"pipeline"`
}

func (s shape) String() string { return fmt.Sprintf("%d clients, %d deep", s.Clients, s.Pipeline) }

// Phases of one measurement. Workers look after every batch.
const (
	warming int32 = iota
	measuring
	stopping
)

// slack is how long after the end the replies to the last batches may take before connections are given up.
const slack = 30 * time.Second

// measure runs one load against one target and returns what it did during opts.duration.
func measure(ctx context.Context, t *target, l load, s shape, opts options) (sample, error) {
	if err := t.settle(ctx); err != nil {
		return sample{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conns, err := connect(ctx, t.addr, s.Clients, time.Now().Add(opts.warmup+opts.duration+slack))
	hangUp := sync.OnceFunc(func() {
		for _, c := range conns {
			c.Close()
		}
	})
	defer hangUp()
	if err != nil {
		return sample{}, err
	}
	context.AfterFunc(ctx, hangUp) // so that no worker waits for a reply any longer

	r := &runner{load: l, pipeline: s.Pipeline, latency: newHistogram()}
	var workers sync.WaitGroup
	for _, c := range conns {
		workers.Go(func() {
			if err := r.work(c); err != nil {
				cancel(err)
			}
		})
	}
	w, err := r.conduct(ctx, t, opts)
	r.phase.Store(stopping)
	workers.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return sample{}, err
	}
	return r.sample(w), nil
}

// connect opens n connections; with an error it returns those that it has opened.
func connect(ctx context.Context, addr string, n int, deadline time.Time) ([]*conn, error) {
	conns := make([]*conn, 0, n)
	for range n {
		c, err := dial(ctx, addr, deadline)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

// runner is what the workers of one measurement share.
type runner struct {
	load     load
	pipeline int
	phase    atomic.Int32

	mu      sync.Mutex // guards all below; workers hold it once in hundreds of operations
	latency *hdrhistogram.Histogram
	wrong   int64
	example string // the first wrong reply
}

// newHistogram holds nanoseconds up to a minute, to 0.1 %.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(100, int64(time.Minute), 3) }

// window is the measured phase, with the processes' counters at both ends.
type window struct {
	length        time.Duration
	before, after usage
}

// conduct leads through the phases.
func (r *runner) conduct(ctx context.Context, t *target, opts options) (w window, err error) {
	if err = wait(ctx, opts.warmup); err != nil {
		return w, err
	}
	if w.before, err = t.usage(); err != nil {
		return w, err
	}
	start := time.Now()
	r.phase.Store(measuring)
	err = wait(ctx, opts.duration)
	r.phase.Store(warming) // what is in flight does not count
	w.length = time.Since(start)
	if err != nil {
		return w, err
	}
	w.after, err = t.usage()
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

// batchSize is how many latencies a worker gathers before it takes the lock.
const batchSize = 512

// work is one client: send a pipeline, read its replies, again. A latency runs from the write of the pipeline to the
// reading of the command's own reply.
func (r *runner) work(c *conn) error {
	rng := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	var requests []byte
	want := make([]byte, r.pipeline)
	latencies := make([]int64, 0, batchSize+r.pipeline)
	for r.phase.Load() != stopping {
		requests = requests[:0]
		for i := range want {
			requests, want[i] = r.load.next(requests, rng)
		}
		start := time.Now()
		if _, err := c.Write(requests); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		first := len(latencies)
		for _, kind := range want {
			got, err := c.read()
			if err != nil {
				return err
			}
			latencies = append(latencies, int64(time.Since(start)))
			if !got.ok(kind) {
				r.note(got)
			}
		}
		if r.phase.Load() != measuring {
			latencies = latencies[:first]
		}
		if len(latencies) >= batchSize {
			latencies = r.record(latencies)
		}
	}
	r.record(latencies)
	return nil
}

// record takes latencies over and returns the emptied slice.
func (r *runner) record(latencies []int64) []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ns := range latencies {
		_ = r.latency.RecordValue(min(ns, int64(time.Minute))) // within its range, so it cannot fail
	}
	return latencies[:0]
}

// note counts a wrong reply, also one outside the measured phase.
func (r *runner) note(got reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wrong++; r.wrong == 1 {
		r.example = got.String()
	}
}

// sample turns counters into figures. All workers have ended.
func (r *runner) sample(w window) sample {
	ops := r.latency.TotalCount()
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	perOp := func(from, to process) float64 { return us(int64(to.cpu-from.cpu)) / float64(max(ops, 1)) }
	return sample{
		OpsPerSecond: float64(ops) / w.length.Seconds(),
		P50:          us(r.latency.ValueAtPercentile(50)),
		P99:          us(r.latency.ValueAtPercentile(99)),
		P999:         us(r.latency.ValueAtPercentile(99.9)),
		Max:          us(r.latency.Max()),
		ProxyCPU:     perOp(w.before.proxy, w.after.proxy),
		RedisCPU:     perOp(w.before.redis, w.after.redis),
		PostgresCPU:  perOp(w.before.postgres, w.after.postgres),
		ProxyRSS:     w.after.proxy.rss,
		RedisRSS:     w.after.redis.rss,
		Wrong:        r.wrong,
		Example:      r.example,
	}
}
