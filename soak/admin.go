package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// storm evicts sessions at random, as fast as the proxy does it.
func (r *round) storm(ctx context.Context, rng *rand.Rand) {
	cl := dialClient(r.stack.addr)
	defer cl.Close()
	all := append(append([]sess{}, r.sessions...), r.sides...)
	for ctx.Err() == nil {
		args := []any{"CREDPROXY", "EVICT"}
		for range 1 + rng.IntN(3) {
			args = append(args, all[rng.IntN(len(all))].id())
		}
		if f, _ := fateOf(cl.Do(context.Background(), args...).Err()); f != done {
			pause(ctx, errPause) // busy, unknown, or the proxy is away: all of that is expected
		}
	}
}

// watchStats adds up the counters of all incarnations of the proxy. What one has counted since it was last asked dies with it.
func (r *round) watchStats(ctx context.Context) {
	cl := dialClient(r.stack.addr)
	defer cl.Close()
	last := map[string]int64{}
	first := true
	for ctx.Err() == nil {
		pairs, err := cl.Do(ctx, "CREDPROXY", "STATS").Slice()
		if err == nil {
			now := numbers(pairs)
			for _, name := range []string{"evictions", "restores", "restore_errors", "oom_rescues"} {
				switch {
				case now["uptime_seconds"] < last["uptime_seconds"] || now[name] < last[name]:
					r.tally.add(name, now[name])
				case !first:
					r.tally.add(name, now[name]-last[name])
				}
			}
			if r.opt.redisKill {
				r.tally.raise(longestLag, now["sync_lag_ms"])
			}
			last, first = now, false
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// numbers reads the numbers out of a flat array of pairs.
func numbers(pairs []any) map[string]int64 {
	m := map[string]int64{}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		if n, ok := pairs[i+1].(int64); ok {
			m[name] = n
		}
	}
	return m
}

// states asks the proxy where each of its sessions is, by id.
func states(ctx context.Context, cl *redis.Client) (map[string]string, error) {
	list, err := cl.Do(ctx, "CREDPROXY", "SESSIONS", "COUNT", "100000").Slice()
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	m := map[string]string{}
	for _, one := range list {
		pairs, _ := one.([]any)
		text := map[string]string{}
		for i := 0; i+1 < len(pairs); i += 2 {
			text[fmt.Sprint(pairs[i])] = fmt.Sprint(pairs[i+1])
		}
		m[text["keyspace"]+"/"+text["id"]] = text["state"]
	}
	return m, nil
}

// infoField returns the value of one "name:value" line of INFO's text.
func infoField(info, name string) string {
	for line := range strings.SplitSeq(info, "\r\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && k == name {
			return v
		}
	}
	return ""
}
