package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// nemesis is one kind of trouble. strike makes it, lets it last for d, and heals it, also when ctx ends meanwhile.
type nemesis struct {
	name   string
	weight int
	strike func(r *round, ctx context.Context, d time.Duration) error
}

var nemeses = []nemesis{
	{"postgres-kill", 2, (*round).killPostgres},
	{"postgres-freeze", 2, (*round).freezePostgres},
	{"redis-freeze", 2, (*round).freezeRedis},
	{"proxy-freeze", 2, (*round).freezeProxy},
	{"redis-full", 3, (*round).fillRedis},
	{"redis-sleep", 2, (*round).sleepRedis},
	{"redis-busy", 2, (*round).busyRedis},
	{"redis-readonly", 3, (*round).readonlyRedis},
	{"redis-cut", 5, (*round).cutRedis},
}

// strikes makes trouble, one kind after the other with pauses in between, until ctx ends.
func (r *round) strikes(ctx context.Context, rng *rand.Rand, list []nemesis) {
	if len(list) == 0 {
		return
	}
	total := 0
	for _, n := range list {
		total += n.weight
	}
	for {
		wait := time.Duration(50+rng.IntN(700)) * time.Millisecond
		lasts := time.Duration(200+rng.IntN(800)) * time.Millisecond
		if rng.IntN(10) == 0 {
			lasts *= 3
		}
		pick := rng.IntN(total)
		i := 0
		for pick >= list[i].weight {
			pick -= list[i].weight
			i++
		}
		if pause(ctx, wait); ctx.Err() != nil {
			return
		}
		r.tally.note("begins: " + list[i].name)
		if err := list[i].strike(r, ctx, lasts); err != nil {
			r.fault(fmt.Errorf("nemesis %s: %w", list[i].name, err))
			return
		}
		r.tally.happened("nemesis " + list[i].name)
	}
}

// healing is a context for what must be undone whatever happens.
func healing() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), startTimeout)
}

func (r *round) killPostgres(ctx context.Context, d time.Duration) error {
	if err := r.stack.pg.Kill(); err != nil {
		return err
	}
	pause(ctx, d/2)
	heal, cancel := healing()
	defer cancel()
	return r.stack.startPostgres(heal, r.stack.pg.Port())
}

// freezePostgres freezes the postmaster first, so that it starts no server process that the list would miss.
func (r *round) freezePostgres(ctx context.Context, d time.Duration) error {
	if err := r.stack.pg.Pause(); err != nil {
		return err
	}
	pids := children(r.stack.pg.PID())
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGSTOP) // it may have ended meanwhile
	}
	pause(ctx, d)
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	return r.stack.pg.Resume()
}

// children lists the processes that a process has started.
func children(pid int) (pids []int) {
	p := strconv.Itoa(pid)
	text, _ := os.ReadFile("/proc/" + p + "/task/" + p + "/children")
	for _, word := range strings.Fields(string(text)) {
		if n, err := strconv.Atoi(word); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}

func (r *round) freezeRedis(ctx context.Context, d time.Duration) error {
	if err := r.stack.redis.Pause(); err != nil {
		return err
	}
	pause(ctx, d)
	return r.stack.redis.Resume()
}

func (r *round) freezeProxy(ctx context.Context, d time.Duration) error {
	c := r.keeper.current()
	if c == nil {
		return nil
	}
	if err := c.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	pause(ctx, d)
	return c.signal(syscall.SIGCONT)
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

// cutRedis cuts every connection to Redis while it has much to answer: it sleeps for a moment, wakes to a heap of commands, runs
// them, and is told to drop its clients before it has written a single reply.
func (r *round) cutRedis(_ context.Context, d time.Duration) error {
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
