package proxy

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// duties are what the proxy does by itself, in the order in which it can be laid down: the chores make work for the saver and
// the remover.
type duties struct {
	chores, stores shift
	acts           sync.RWMutex // held for reading by what operators ask for, for as long as it takes
	off            atomic.Bool  // the duties are laid down
}

// shift is a set of goroutines that are started and stopped together.
type shift struct {
	mu    sync.Mutex // guards ctx and end
	ctx   context.Context
	end   context.CancelFunc // nil: nothing runs
	tasks sync.WaitGroup
}

// open begins a shift; goroutines are added with start.
func (s *shift) open(base context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctx, s.end = context.WithCancel(base)
}

func (s *shift) start(f func(context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end != nil {
		ctx := s.ctx
		s.tasks.Go(func() { f(ctx) })
	}
}

// stop ends the shift and waits for its goroutines.
func (s *shift) stop() {
	s.mu.Lock()
	if s.end != nil {
		s.end()
	}
	s.end = nil
	s.mu.Unlock()
	s.tasks.Wait()
}

func (d *duties) stop() {
	d.chores.stop()
	d.stores.stop()
}

// startDuties begins everything that the proxy does by itself.
func (s *Server) startDuties() {
	d := &s.duties
	d.stores.open(s.base)
	d.stores.start(func(ctx context.Context) { s.saver.run(ctx, s.cfg.Sync.Interval) })
	d.stores.start(s.remover.run)
	d.chores.open(s.base)
	d.chores.start(s.policy.run)
	d.chores.start(s.keepHeat)
	d.chores.start(s.keepOrphans)
	d.chores.start(s.adopter.run)
	d.chores.start(func(ctx context.Context) {
		for ctx.Err() == nil {
			err := s.listEvicted(ctx)
			if err == nil || pause(ctx, time.Second, err) != nil {
				return
			}
		}
	})
	s.policy.wake()
	s.saver.queue.wake() // what an earlier process has left unsaved has waited long enough
}

// brief runs f, which changes a session and comes to an end by itself, in a goroutine of the proxy's.
func (s *Server) brief(f func()) {
	s.underway.Add(1)
	s.tasks.Go(func() {
		defer s.underway.Add(-1)
		f()
	})
}

var errHandingOver = errors.New("the proxy is handing over to a new process: ask that one, in a moment")

// act lets something happen that an operator has asked for; done must be called when it is over.
func (s *Server) act() (done func(), err error) {
	s.duties.acts.RLock()
	if s.duties.off.Load() {
		s.duties.acts.RUnlock()
		return nil, errHandingOver
	}
	return s.duties.acts.RUnlock, nil
}
