package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// soaking is one run: what outlives its rounds.
type soaking struct {
	opt      options
	stack    *stack
	keeper   *keeper
	tally    *tally
	clock    clock
	next     atomic.Int64
	sessions []sess
	sides    []sess         // those that somebody writes to behind the proxy's back
	begin    map[string]any // the state of every partition at the beginning of the round
	nemeses  []nemesis
	crash    bool
}

// result is what came of a run.
type result struct {
	took       time.Duration
	rounds     int
	tally      *tally
	kinds      []string // of trouble
	violations []string
}

// sideSessions is how many sessions the side door writes to.
const sideSessions = 6

// soak runs rounds until the time is up or a violation is found.
func soak(ctx context.Context, binary string, opt options) (res result, err error) {
	res.tally = newTally()
	s := &soaking{opt: opt, tally: res.tally, clock: res.tally.clock, begin: map[string]any{},
		sessions: makeSessions(opt.sessions, "s"), sides: makeSessions(sideSessions, "side")}
	if s.nemeses, s.crash, err = opt.chosen(); err != nil {
		return res, err
	}
	res.kinds = s.kinds()
	for _, kind := range res.kinds {
		s.tally.add(kind, 0) // what never happens is worth a line too
	}
	if s.stack, err = startStack(ctx, binary, opt, s.tally); err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, s.stack.close()) }()
	s.keeper = &keeper{stack: s.stack, tally: s.tally}
	defer s.keeper.end()
	if err := s.keeper.calm(ctx); err != nil {
		return res, err
	}
	start := time.Now()
	defer func() { res.took = time.Since(start) }()
	for len(res.violations) == 0 && (time.Since(start) < opt.duration || s.wanting()) && ctx.Err() == nil {
		r := &round{soaking: s, n: res.rounds}
		play := r.play
		if opt.redisKill {
			play = r.playRedisKill
		}
		if res.violations, err = play(ctx); err != nil {
			return res, fmt.Errorf("round %d: %w; the proxy said last:\n%s", r.n, err, s.keeper.current().said())
		}
		res.rounds++
	}
	return res, nil
}

// kinds lists the kinds of trouble that the run makes, as the tally calls them.
func (s *soaking) kinds() (list []string) {
	if s.opt.redisKill {
		return []string{struck + "redis-kill"}
	}
	for _, n := range s.nemeses {
		list = append(list, struck+n.name)
	}
	if s.crash {
		list = append(list, diedAnywhere)
		for _, b := range barriers {
			list = append(list, diedAt+b.name)
		}
	}
	return list
}

// wanting reports whether some kind of trouble has not happened as often as was asked for.
func (s *soaking) wanting() bool {
	if s.opt.each == 0 {
		return false
	}
	_, n := s.tally.fewest(s.kinds())
	return n < int64(s.opt.each)
}

// round is one round of a run.
type round struct {
	*soaking
	n       int
	workers []*worker

	mu  sync.Mutex // guards err
	err error      // what went wrong with the harness itself
}

func (r *round) fault(err error) {
	r.mu.Lock()
	r.err = errors.Join(r.err, err)
	r.mu.Unlock()
}

func (r *round) faults() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// play lets clients and nemeses loose, then heals everything and checks.
func (r *round) play(ctx context.Context) ([]string, error) {
	work, stop := context.WithTimeout(ctx, r.opt.round)
	defer stop()
	var clients, trouble sync.WaitGroup
	r.open()
	defer r.closeClients()
	r.begins(work, &clients)
	for _, t := range []track{atRedis, atRest} {
		trouble.Go(func() { r.strikes(work, dice(r.opt.seed, r.n, "nemesis "+t.name), t) })
	}
	if r.crash {
		trouble.Go(func() { r.keeper.crashes(work, dice(r.opt.seed, r.n, "crash")) })
	}
	<-work.Done()
	trouble.Wait()
	if r.crash {
		if err := r.keeper.calm(ctx); err != nil { // also ends what clients still wait for
			return nil, err
		}
	}
	clients.Wait()
	if err := r.faults(); err != nil || ctx.Err() != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	final := r.audit(ctx)
	bad, err := r.agree(ctx, final)
	if err != nil {
		return nil, err
	}
	parts := r.histories()
	bad = append(bad, r.countOnce(parts, final)...)
	bad = append(bad, r.keeper.strange()...)
	if bad = append(bad, r.check(parts, forever)...); len(bad) > 0 {
		err = r.trace(r.opt.trace)
	}
	r.begin = final
	return bad, err
}

// sideWriter and sideReader are the numbers of the clients that work on the side door's sessions.
const (
	sideWriter = 1000
	sideReader = 1001
)

// open connects the round's clients.
func (r *round) open() {
	for i := range r.opt.clients {
		r.workers = append(r.workers, newWorker(i, dice(r.opt.seed, r.n, fmt.Sprint("client", i)), r.stack.addr, r.clock, &r.next))
	}
	r.workers = append(r.workers,
		newWorker(sideWriter, dice(r.opt.seed, r.n, "side writer"), r.stack.redis.Addr(), r.clock, &r.next),
		newWorker(sideReader, dice(r.opt.seed, r.n, "side reader"), r.stack.addr, r.clock, &r.next))
}

func (r *round) closeClients() {
	for _, w := range r.workers {
		w.cl.Close()
	}
}

// begins starts the clients, the side door, the eviction storm and the counting.
func (r *round) begins(ctx context.Context, wg *sync.WaitGroup) {
	for _, w := range r.workers[:r.opt.clients] {
		wg.Go(func() { w.run(ctx, r.sessions) })
	}
	writer, reader := r.workers[r.opt.clients], r.workers[r.opt.clients+1]
	wg.Go(func() { writer.runSide(ctx, r.sides, writer.set) })
	wg.Go(func() { reader.runSide(ctx, r.sides, reader.get) })
	wg.Go(func() { r.storm(ctx, dice(r.opt.seed, r.n, "storm")) })
	wg.Go(func() { r.watchStats(ctx) })
}

// runSide works on the side door's keys at a moderate pace.
func (w *worker) runSide(ctx context.Context, sides []sess, do func(key string) fate) {
	for ctx.Err() == nil {
		do(sides[w.rng.IntN(len(sides))].key(keySide))
		pause(ctx, time.Duration(1+w.rng.IntN(5))*time.Millisecond)
	}
}
