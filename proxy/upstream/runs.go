package upstream

import (
	"sync"
	"sync/atomic"
)

// Run numbers the lives of the upstream Redis process, from 1. Zero means that none has been seen yet.
type Run uint32

// Runs recognises restarts of the upstream: INFO's run_id is new in every life of the process.
type Runs struct {
	current atomic.Uint32

	mu     sync.Mutex
	id     string
	change func(run Run, id string)
}

// NewRuns returns a registry that calls change (which must not block) for every new run.
func NewRuns(change func(run Run, id string)) *Runs {
	return &Runs{change: change}
}

// Current returns the newest run seen.
func (r *Runs) Current() Run { return Run(r.current.Load()) }

// ID returns the run_id of the newest run seen.
func (r *Runs) ID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.id
}

// Observe takes the run_id that a fresh connection reported and returns its run. Two connections that were made around a
// restart may report in the wrong order; the number then rises once too often, which costs reloads and is never unsafe.
func (r *Runs) Observe(id string) Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id != r.id {
		r.id = id
		run := Run(r.current.Add(1))
		if r.change != nil {
			r.change(run, id)
		}
		return run
	}
	return Run(r.current.Load())
}
