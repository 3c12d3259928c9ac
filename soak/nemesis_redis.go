package main

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

func (r *round) freezeRedis(ctx context.Context, d time.Duration) error {
	if err := r.stack.redis.Pause(); err != nil {
		return err
	}
	pause(ctx, d)
	return r.stack.redis.Resume()
}

// fillRedis leaves Redis no memory: writes are refused until the proxy has made room, if it can.
func (r *round) fillRedis(ctx context.Context, d time.Duration) error {
	heal, cancel := healing()
	defer cancel()
	info, err := r.stack.direct.Info(heal, "memory").Result()
	if err != nil {
		return err
	}
	limit := usedMemory(info) * 9 / 10
	if err := r.stack.direct.ConfigSet(heal, "maxmemory", strconv.FormatInt(limit, 10)).Err(); err != nil {
		return err
	}
	pause(ctx, d/2)
	return r.stack.direct.ConfigSet(heal, "maxmemory", "0").Err()
}

func (r *round) sleepRedis(_ context.Context, d time.Duration) error {
	heal, cancel := healing()
	defer cancel()
	return r.stack.direct.Do(heal, "DEBUG", "SLEEP", strconv.FormatFloat(d.Seconds()/2, 'f', 3, 64)).Err()
}

// busyMoment is how long Redis is busy, and then not, in one of many short turns.
const busyMoment = 15 * time.Millisecond

// busyScript keeps Redis busy for ARGV[1] milliseconds; others get BUSY.
const busyScript = `local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end
local till = now() + tonumber(ARGV[1])
while now() < till do end
return 1`

// busyRedis keeps Redis busy once for long, or again and again for a moment after all connections have been cut: they have to be
// made anew while Redis refuses to greet, and the next command on them comes when it does not any more.
func (r *round) busyRedis(ctx context.Context, d time.Duration) error {
	heal, cancel := healing()
	defer cancel()
	if d.Milliseconds()%3 == 0 {
		return r.stack.direct.Eval(heal, busyScript, nil, (d / 2).Milliseconds()).Err()
	}
	for end := time.Now().Add(d); time.Now().Before(end) && ctx.Err() == nil; pause(ctx, busyMoment) {
		_, err := r.stack.direct.Pipelined(heal, func(p redis.Pipeliner) error {
			p.Do(heal, "CLIENT", "KILL", "TYPE", "normal")
			p.Eval(heal, busyScript, nil, busyMoment.Milliseconds())
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readonlyRedis makes Redis a replica of nobody for a while.
func (r *round) readonlyRedis(ctx context.Context, d time.Duration) error {
	heal, cancel := healing()
	defer cancel()
	if err := r.stack.direct.Do(heal, "REPLICAOF", "127.0.0.1", "1").Err(); err != nil {
		return err
	}
	pause(ctx, d/2)
	return r.stack.direct.Do(heal, "REPLICAOF", "NO", "ONE").Err()
}

// reloadRedis makes Redis write its data down, forget it, and load it again, slowly, in the same run; meanwhile it refuses commands
// with LOADING. Between two keys it looks after its clients.
func (r *round) reloadRedis(ctx context.Context, d time.Duration) error {
	heal, cancel := healing()
	defer cancel()
	keys, err := r.stack.direct.DBSize(heal).Result()
	if err != nil {
		return err
	}
	perKey := (d / 2).Microseconds() / max(keys, 1)
	for _, set := range [][2]string{{"loading-process-events-interval-bytes", "1024"}, {"key-load-delay", strconv.FormatInt(perKey, 10)}} {
		if err := r.stack.direct.ConfigSet(heal, set[0], set[1]).Err(); err != nil {
			return err
		}
	}
	return r.stack.direct.Do(heal, "DEBUG", "RELOAD").Err()
}

// cutRedis cuts every connection to Redis while it has much to answer: it sleeps for a moment, wakes to a heap of commands, runs
// them, and is told to drop its clients before it has written a single reply.
func (r *round) cutRedis(_ context.Context, _ time.Duration) error {
	heal, cancel := healing()
	defer cancel()
	slept := make(chan error, 1)
	go func() { slept <- r.stack.direct.Do(heal, "DEBUG", "SLEEP", "0.03").Err() }()
	cutter := dialClient(r.stack.redis.Addr())
	defer cutter.Close()
	pause(heal, 20*time.Millisecond)
	if err := cutter.Do(heal, "CLIENT", "KILL", "TYPE", "normal").Err(); err != nil {
		return err
	}
	<-slept // its connection may be among those cut
	return nil
}

// resetRedis cuts connections in the middle of replies, again and again: the proxy has the first bytes of one and never gets the rest.
func (r *round) resetRedis(ctx context.Context, d time.Duration) error {
	rng := dice(r.opt.seed, r.n, "reset "+d.String())
	for end := time.Now().Add(d / 2); time.Now().Before(end) && ctx.Err() == nil; pause(ctx, 10*busyMoment) {
		r.stack.relay.cutAll(rng)
	}
	return nil
}
