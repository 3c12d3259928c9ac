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
	before := r.histories()
	bad := r.check(before, killed)
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

// What the tally calls acknowledged writes and what became of them. A command that writes three fields makes three writes.
const (
	acknowledged = "writes acknowledged"
	lostWrites   = "writes acknowledged and lost with Redis"
	lostOld      = "writes lost that were older than sync_interval"
	oldestLost   = "age of the oldest lost write, ms"
	longestLag   = "age of the oldest unsaved write that the proxy has reported, ms"
)

// lossReport sums up what the deaths of Redis have cost.
func lossReport(t *tally) string {
	return fmt.Sprintf("Redis was killed %d times: of %d writes acknowledged before, %d were lost. The oldest of them had been acknowledged to its "+
		"client %d ms before the kill, sync_interval is %s; %d were older than that. Saving took until a write was %d ms old, at most.",
		t.get(struck+"redis-kill"), t.get(acknowledged), t.get(lostWrites), t.get(oldestLost), syncInterval, t.get(lostOld), t.get(longestLag))
}

// judgeLosses compares what is left with what was acknowledged. A lost write's age runs from when its client had the reply to just
// before the kill.
func (r *round) judgeLosses(parts map[string][]*op, final map[string]any, killed, audited int64) (bad []string) {
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		if strings.HasSuffix(part, ":"+keySide) {
			continue // nobody has promised anything about what is written behind the proxy's back
		}
		l := loss{part: part, begin: r.stateAt(part), final: final[part], clock: r.clock, audited: audited}
		l.sort(parts[part])
		why := l.judge()
		for _, o := range l.writes {
			if o.fate == done {
				r.tally.add(acknowledged, 1)
			}
		}
		for _, o := range l.lost {
			if text := r.judgeLoss(o, killed); text != "" {
				why = text
			}
		}
		if why != "" && len(bad) < maxViolations {
			bad = append(bad, fmt.Sprintf("round %d: %s: %s; it began with %v and ends with %v; Redis died at %.3f ms\n%s", r.n, part, why,
				l.begin, l.final, float64(killed)/1e6, render(parts[part])))
		}
	}
	return bad
}

// judgeLoss says why a lost write must not be lost, "" if it may.
func (r *round) judgeLoss(o *op, killed int64) string {
	age := time.Duration(killed - o.ret)
	r.tally.add(lostWrites, 1)
	r.tally.raise(oldestLost, age.Milliseconds())
	switch {
	case r.opt.sync == "through":
		return "an acknowledged write is lost: " + o.String()
	case age > lagBound:
		return fmt.Sprintf("a write was acknowledged %s before Redis died, and is lost", age)
	case age > syncInterval:
		r.tally.add(lostOld, 1)
	}
	return ""
}
