package main

import (
	"context"
	"fmt"
	"io"
)

// measureAll runs every load in every shape. Within a shape the targets take turns, and each round starts with another one,
// so that whatever slows the machine down for a while hits all of them alike.
func measureAll(ctx context.Context, targets []*target, opts options, progress io.Writer) ([]result, error) {
	var all []result
	for _, name := range opts.loads {
		l := newLoad(name, opts)
		for _, t := range targets {
			if err := fill(ctx, t.addr, l, opts.sessions); err != nil {
				return nil, fmt.Errorf("target %s: %w", t.name, err)
			}
		}
		for _, clients := range opts.clients {
			for _, pipeline := range opts.pipelines {
				some, err := measureShape(ctx, targets, l, shape{clients, pipeline}, opts, progress)
				if err != nil {
					return nil, err
				}
				all = append(all, some...)
			}
		}
	}
	return all, nil
}

// measureShape returns one result for each target, in their order.
func measureShape(ctx context.Context, targets []*target, l load, s shape, opts options, progress io.Writer) ([]result, error) {
	results := make([]result, len(targets))
	for i, t := range targets {
		results[i] = result{Load: l.name, Shape: s, Target: t.name}
	}
	for round := range opts.rounds {
		for turn := range targets {
			i := (round + turn) % len(targets)
			got, err := measure(ctx, targets[i], l, s, opts)
			if err != nil {
				return nil, fmt.Errorf("measure %s, load %s, %s: %w", targets[i].name, l.name, s, err)
			}
			results[i].Rounds = append(results[i].Rounds, got)
			fmt.Fprintf(progress, "%s, %s, round %d: %s %.0f/s\n", l.name, s, round+1, targets[i].name, got.OpsPerSecond)
		}
	}
	for i := range results {
		results[i].summarize(results[0])
	}
	return results, nil
}
