package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// readers is how many clients read sessions of their own meanwhile, and readerPause how long each waits after a reply:
	// a steady load that leaves the processors room, as saturated ones would only show how they are shared.
	readers     = 8
	readerPause = time.Millisecond
	// quietTime is how long is measured between two restores.
	quietTime = 200 * time.Millisecond
)

// Phases of the disturbance. What begins in phase idle does not count.
const (
	idle = iota
	quiet
	restoring
	barelyRestoring
	phases
)

var phaseNames = [phases]string{"", "quiet", "a 17 MB session is restored", "its floor: bare pgx and HSETs, no proxy"}

// disturbance is what the readers share.
type disturbance struct {
	phase   atomic.Int32
	done    atomic.Bool
	mu      sync.Mutex // guards latency
	latency [phases]*hdrhistogram.Histogram
}

// disturb lets clients read their resident sessions through the proxy while it restores the largest one, and while the floor does
// the same in the proxy's Redis under names that are nobody's session.
func (b *restoreBench) disturb(ctx context.Context, proxy *target, restores int) ([]otherResult, error) {
	large := restoreShapes[len(restoreShapes)-1]
	same, err := openFloor(ctx, proxy.dsn, proxy.redisAddr)
	if err != nil {
		return nil, err
	}
	defer same.close()
	d := &disturbance{}
	for i := range d.latency {
		d.latency[i] = newHistogram()
	}
	conns, err := dialMany(ctx, proxy, readers, time.Now().Add(startTime))
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	errs := make(chan error, readers)
	var all sync.WaitGroup
	for i, c := range conns {
		all.Go(func() { errs <- d.read(ctx, c, "restore:reader"+strconv.Itoa(i)+":0") })
	}
	err = b.alternate(ctx, d, large, same, max(restores/8, 1))
	d.done.Store(true)
	all.Wait()
	for range readers {
		if e := <-errs; err == nil {
			err = e
		}
	}
	if err != nil {
		return nil, err
	}
	return d.results(), nil
}

// alternate leads through the phases, rounds times.
func (b *restoreBench) alternate(ctx context.Context, d *disturbance, s restoreShape, same *floor, rounds int) error {
	calm := func() error {
		d.phase.Store(quiet)
		defer d.phase.Store(idle)
		return wait(ctx, quietTime)
	}
	for range rounds {
		if err := calm(); err != nil {
			return err
		}
		if err := b.evict(s); err != nil {
			return err
		}
		d.phase.Store(restoring)
		_, err := b.proxied.timed(s.touch(nil))
		d.phase.Store(idle)
		if err != nil {
			return err
		}
		if err := calm(); err != nil {
			return err
		}
		d.phase.Store(barelyRestoring)
		rows, err := same.read(ctx, s)
		if err == nil {
			err = same.writeAs(ctx, floorKey, rows)
		}
		d.phase.Store(idle)
		if err != nil {
			return err
		}
		if err := b.behind.do(command(nil, "UNLINK", floorKey), 1); err != nil {
			return err
		}
		if err := b.behind.freed(); err != nil {
			return err
		}
	}
	return nil
}

// floorKey belongs to no session.
const floorKey = "bench:floor"

// read is one client: it reads the string of its session, waits a little, and again.
func (d *disturbance) read(ctx context.Context, c *conn, key string) error {
	if err := c.do(command(nil, "SET", key, fmt.Sprintf("%0500d", 1)), 1); err != nil {
		return err
	}
	request := command(nil, "GET", key)
	for !d.done.Load() {
		phase := d.phase.Load()
		took, err := c.timed(request)
		if err != nil {
			return err
		}
		if phase != idle {
			d.note(phase, took)
		}
		// Spread, so that the clients do not come in step.
		if err := wait(ctx, readerPause/2+rand.N(readerPause)); err != nil {
			return err
		}
	}
	return nil
}

// note counts a latency, and for one that is longer than the pause also those of the requests that an unhindered client would have
// sent meanwhile: else a stall of 20 ms would count as one late reply.
func (d *disturbance) note(phase int32, took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.latency[phase].RecordCorrectedValue(min(int64(took), int64(time.Minute)), int64(readerPause)) // within its range
}

func (d *disturbance) results() []otherResult {
	var all []otherResult
	for phase := quiet; phase < phases; phase++ {
		h := d.latency[phase]
		us := func(q float64) float64 { return float64(h.ValueAtPercentile(q)) / 1e3 }
		all = append(all, otherResult{
			While: phaseNames[phase], Requests: h.TotalCount(), P50: us(50), P99: us(99), P999: us(99.9), Max: float64(h.Max()) / 1e3,
		})
	}
	for i := range all {
		all[i].P99OfQuiet = all[i].P99 / max(all[0].P99, 1e-3)
	}
	return all
}
