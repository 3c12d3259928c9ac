package proxy

import (
	"context"
	"sync"
	"time"
)

// advancing is a context for work of any size: it ends when nothing has got done for a while, not after a while. With a limit for all of it a
// session of many bytes could be evicted and never come back.
type advancing struct {
	context.Context // what ends it besides
	limit           time.Duration
	done            chan struct{}

	mu    sync.Mutex // guards what follows
	err   error
	until time.Time
	timer *time.Timer
}

type advancingKey struct{}

// stallLimit is how long work may stand still that has got on before: a disk takes its time with the commit of hundreds of megabytes.
const stallLimit = 30 * time.Second

// whileAdvancing returns a context that ends when progress has not been called for limit, or stallLimit once it has, or when parent ends; cancel frees what it needs.
func whileAdvancing(parent context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	a := &advancing{Context: parent, limit: limit, done: make(chan struct{}), until: time.Now().Add(limit)}
	a.mu.Lock()
	a.timer = time.AfterFunc(limit, a.stuck)
	a.mu.Unlock()
	stop := context.AfterFunc(parent, func() { a.end(parent.Err()) })
	return a, func() {
		stop()
		a.end(context.Canceled)
	}
}

// progress says that something has got done, to a context of whileAdvancing or one made from it.
func progress(ctx context.Context) {
	a, ok := ctx.Value(advancingKey{}).(*advancing)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		limit := max(a.limit, stallLimit)
		a.until = time.Now().Add(limit)
		a.timer.Reset(limit)
	}
}

func (a *advancing) stuck() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !time.Now().Before(a.until) { // else there was progress just now
		a.endLocked(context.DeadlineExceeded)
	}
}

func (a *advancing) end(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endLocked(err)
}

func (a *advancing) endLocked(err error) {
	if a.err == nil {
		a.err = err
		a.timer.Stop()
		close(a.done)
	}
}

// Deadline is when it ends as things stand.
func (a *advancing) Deadline() (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if d, ok := a.Context.Deadline(); ok && d.Before(a.until) {
		return d, true
	}
	return a.until, true
}

// Done is closed when the context has ended.
func (a *advancing) Done() <-chan struct{} { return a.done }

// Err says why.
func (a *advancing) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// Value finds the context itself for progress, and what parent has.
func (a *advancing) Value(key any) any {
	if key == (advancingKey{}) {
		return a
	}
	return a.Context.Value(key)
}
