package main

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// measureAll runs every load in every shape. Within a shape the targets take turns, and each round starts with another one,
// so that whatever slows the machine down for a while hits all of them alike.
func measureAll(ctx context.Context, targets []*target, opts options, progress io.Writer) ([]result, error) {
	var all []result
	for _, name := range opts.loads {
		for _, l := range loadsOf(name, opts) {
			some, err := measureLoad(ctx, targets, l, opts, progress)
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
	}
	return all, nil
}

// measureLoad fills all targets and measures one load in every shape.
func measureLoad(ctx context.Context, targets []*target, l load, opts options, progress io.Writer) ([]result, error) {
	for _, t := range targets {
		if err := t.prepare(ctx, l, opts); err != nil {
			return nil, fmt.Errorf("target %s: %w", t.name, err)
		}
	}
	var all []result
	for _, s := range opts.shapesOf(l) {
		some, err := measureShape(ctx, turns(targets, l, s), opts, progress)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// turn is what is measured once in a round.
type turn struct {
	target *target
	load   load
	shape  shape
	beside disturber
	base   int // the turn of the first target beside the same disturbance
	quiet  int // the turn of the same target beside none
}

// turns are those of all targets, undisturbed and then beside each disturbance of the load.
func turns(targets []*target, l load, s shape) []turn {
	besides := []disturber{quietly}
	if l.besides != nil {
		besides = l.besides
	}
	var all []turn
	for _, d := range besides {
		base := len(all)
		for i, t := range targets {
			if !d.onlySaving || t.saves {
				all = append(all, turn{target: t, load: l, shape: s, beside: d, base: base, quiet: i})
			}
		}
	}
	return all
}

// measureShape returns one result for each turn.
func measureShape(ctx context.Context, all []turn, opts options, progress io.Writer) ([]result, error) {
	results := make([]result, len(all))
	for i, u := range all {
		results[i] = result{Load: u.load.name, Size: u.load.size, Shape: u.shape, Target: u.target.name, While: u.beside.name}
	}
	for round := range opts.rounds {
		for n := range all {
			i := (round + n) % len(all)
			got, err := all[i].measure(ctx, opts)
			if err != nil {
				return nil, fmt.Errorf("measure %s, %s: %w", results[i].Target, results[i].Heading(), err)
			}
			results[i].Rounds = append(results[i].Rounds, got)
			fmt.Fprintf(progress, "%s, round %d: %s %.0f/s\n", results[i].Heading(), round+1, results[i].Target, got.OpsPerSecond)
		}
	}
	for i, u := range all {
		results[i].summarize(results[u.base])
		if u.beside.name != "" && results[u.quiet].P99.Median > 0 {
			results[i].OfQuiet = results[i].P99.Median / results[u.quiet].P99.Median
		}
	}
	return results, nil
}

// measure runs the load, beside the disturbance.
func (u turn) measure(ctx context.Context, opts options) (sample, error) {
	if u.load.cold == 1 {
		opts.warmup = 0 // it would restore what is to be restored in the measured time
	}
	if err := u.target.settle(ctx); err != nil {
		return sample{}, err
	}
	if err := u.target.chill(ctx, u.load, opts.sessions); err != nil {
		return sample{}, err
	}
	if u.load.kept != nil {
		return u.measureKept(ctx, opts)
	}
	if u.beside.name == "" {
		return measure(ctx, u.target, u.load, u.shape, opts)
	}
	if err := u.beside.setUp(ctx, u.target); err != nil {
		return sample{}, err
	}
	ctx, give := context.WithCancelCause(ctx)
	defer give(nil)
	stop, err := u.beside.start(ctx, u.target, give)
	if err != nil {
		return sample{}, err
	}
	got, err := measure(ctx, u.target, u.load, u.shape, opts)
	got.Beside = stop()
	return got, err
}

// measureKept runs a load whose cold sessions are kept cold, where there is somewhere to evict to.
func (u turn) measureKept(ctx context.Context, opts options) (sample, error) {
	defer u.load.kept.forget()
	if !u.target.saves || u.target.limited {
		return measure(ctx, u.target, u.load, u.shape, opts)
	}
	keeping, end := context.WithCancel(ctx)
	kept := make(chan error, 1)
	go func() { kept <- u.load.kept.keep(keeping, u.target, u.load) }()
	got, err := measure(ctx, u.target, u.load, u.shape, opts)
	end()
	return got, errors.Join(err, <-kept)
}
