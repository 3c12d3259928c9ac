package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// lagBound is how old, at most, a write may have been that a Redis without persistence takes with it when it dies (behind).
const lagBound = 2 * time.Second

// playRedisKill lets clients work, kills Redis under them, sometimes the proxy as well, and checks what is left.
func (r *round) playRedisKill(ctx context.Context) ([]string, error) {
	rng := dice(r.opt.seed, r.n, "redis kill")
	work, stop := context.WithTimeout(ctx, 500*time.Millisecond+time.Duration(rng.Int64N(int64(r.opt.round/3))))
	defer stop()
	var clients sync.WaitGroup
	r.open()
	defer r.closeClients()
	r.begins(work, &clients)
	<-work.Done()
	killed := r.clock.now()
	if err := r.killRedis(ctx, rng.IntN(3) == 0); err != nil {
		return nil, err
	}
	clients.Wait()
	if err := r.faults(); err != nil || ctx.Err() != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	bad := r.check(killed)
	before := r.histories()
	audited := r.clock.now()
	for _, w := range r.workers {
		w.log, w.odd = nil, nil
	}
	final := r.audit(ctx)
	for _, w := range r.workers {
		bad = append(bad, w.odd...)
	}
	bad = append(bad, r.judgeLosses(before, final, killed, audited)...)
	r.begin = final
	return bad, nil
}

func (r *round) killRedis(ctx context.Context, both bool) error {
	if err := r.stack.redis.Kill(); err != nil {
		return err
	}
	r.tally.happened("nemesis redis-kill")
	if err := r.stack.startRedis(ctx, r.stack.redis.Port()); err != nil {
		return err
	}
	if !both {
		return nil
	}
	r.tally.happened("nemesis redis-kill with proxy")
	return r.keeper.calm(ctx)
}

// judgeLosses compares what is left with what was acknowledged.
func (r *round) judgeLosses(parts map[string][]*op, final map[string]any, killed, audited int64) (bad []string) {
	var oldest time.Duration
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		if strings.HasSuffix(part, ":"+keySide) {
			continue // nobody has promised anything about what is written behind the proxy's back
		}
		l := loss{part: part, begin: r.stateAt(part), final: final[part], clock: r.clock, audited: audited}
		l.sort(parts[part])
		why := l.judge()
		r.tally.add("acknowledged writes lost with Redis", int64(len(l.lost)))
		for _, o := range l.lost {
			oldest = max(oldest, time.Duration(killed-o.ret))
			if r.opt.sync == "through" {
				why = "an acknowledged write is lost: " + o.String()
			} else if time.Duration(killed-o.ret) > lagBound {
				why = fmt.Sprintf("a write was acknowledged %s before Redis died, and is lost", time.Duration(killed-o.ret))
			}
		}
		if why != "" && len(bad) < maxViolations {
			bad = append(bad, fmt.Sprintf("round %d: %s: %s; it began with %v and ends with %v; Redis died at %.3f ms\n%s", r.n, part, why,
				l.begin, l.final, float64(killed)/1e6, render(parts[part])))
		}
	}
	if oldest > time.Duration(r.tally.get("oldest loss, ms"))*time.Millisecond {
		r.tally.add("oldest loss, ms", oldest.Milliseconds()-r.tally.get("oldest loss, ms"))
	}
	return bad
}
