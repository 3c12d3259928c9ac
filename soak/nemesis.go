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
)

// nemesis is one kind of trouble. strike makes it, lets it last for d, and heals it, also when ctx ends meanwhile.
type nemesis struct {
	name   string
	track  track
	strike func(r *round, ctx context.Context, d time.Duration) error
}

// track keeps troubles of one process apart; those of different tracks overlap as they come. pause is how long a track rests at
// most between two.
type track struct {
	name  string
	pause time.Duration
}

var (
	atRedis = track{"redis", 600 * time.Millisecond}
	atRest  = track{"postgres and proxy", 1200 * time.Millisecond}
)

var nemeses = []nemesis{
	{"postgres-kill", atRest, (*round).killPostgres},
	{"postgres-freeze", atRest, (*round).freezePostgres},
	{"proxy-freeze", atRest, (*round).freezeProxy},
	{"redis-freeze", atRedis, (*round).freezeRedis},
	{"redis-full", atRedis, (*round).fillRedis},
	{"redis-sleep", atRedis, (*round).sleepRedis},
	{"redis-busy", atRedis, (*round).busyRedis},
	{"redis-readonly", atRedis, (*round).readonlyRedis},
	{"redis-loading", atRedis, (*round).reloadRedis},
	{"redis-cut", atRedis, (*round).cutRedis},
	{"redis-reset", atRedis, (*round).resetRedis},
}

// struck is how the tally calls a nemesis.
const struck = "nemesis "

// strikes makes trouble on one track, one kind after the other with pauses in between, until ctx ends.
func (r *round) strikes(ctx context.Context, rng *rand.Rand, t track) {
	var list []nemesis
	for _, n := range r.nemeses {
		if n.track == t {
			list = append(list, n)
		}
	}
	for len(list) > 0 {
		wait := 50*time.Millisecond + time.Duration(rng.Int64N(int64(t.pause)))
		lasts := time.Duration(150+rng.IntN(600)) * time.Millisecond
		if rng.IntN(12) == 0 {
			lasts *= 4
		}
		n := list[rarest(r.tally, rng, len(list), func(i int) string { return struck + list[i].name })]
		if pause(ctx, wait); ctx.Err() != nil {
			return
		}
		r.tally.note("begins: " + n.name)
		if err := n.strike(r, ctx, lasts); err != nil {
			r.fault(fmt.Errorf("nemesis %s: %w", n.name, err))
			return
		}
		r.tally.happened(struck + n.name)
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
	pause(ctx, d/3)
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
