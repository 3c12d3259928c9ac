package proxy

import (
	"context"
	"fmt"
	"time"

	"credproxy/internal/session"
)

// The remover deletes in Postgres before Redis does: a key that a client has removed must not come back, whatever dies when.
//
//	D1  The removal is committed in Postgres before the command goes to Redis. If it cannot be, the command is not sent.
//	D2  From before the commit until after the reply the key is held: not saved (S2). After the reply it is dirty, so
//	    whatever the command really did (an aborted EXEC, a WRONGTYPE) is what Postgres has next.
//
// At a crash between the two halves Postgres lacks what Redis still has; the key's mark makes the next process save it.
type remover struct {
	s    *Server
	reqs chan *removalReq
}

type removalReq struct {
	removals []session.Removal
	done     chan error // buffered: the requester may have left
}

// removeGroup bounds how many removals share one commit.
const removeGroup = 2000

// removeTimeout bounds one commit.
const removeTimeout = 10 * time.Second

// run commits removals, all that are waiting in one transaction, until ctx ends.
func (m *remover) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-m.reqs:
			m.commit(ctx, m.gather(first))
		}
	}
}

func (m *remover) gather(first *removalReq) []*removalReq {
	group, n := []*removalReq{first}, len(first.removals)
	for n < removeGroup {
		select {
		case req := <-m.reqs:
			group = append(group, req)
			n += len(req.removals)
		default:
			return group
		}
	}
	return group
}

func (m *remover) commit(ctx context.Context, group []*removalReq) {
	var all []session.Removal
	for _, req := range group {
		all = append(all, req.removals...)
	}
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	err := m.s.store.Delete(ctx, all)
	for _, req := range group {
		req.done <- err
	}
}

// remove returns when the removals are committed; while Postgres is away it tries again until ctx ends.
func (m *remover) remove(ctx context.Context, removals []session.Removal) error {
	for {
		req := &removalReq{removals: removals, done: make(chan error, 1)}
		var err error
		select {
		case m.reqs <- req:
		case <-ctx.Done():
			return fmt.Errorf("delete in Postgres: %w", ctx.Err())
		}
		select {
		case err = <-req.done:
		case <-ctx.Done():
			return fmt.Errorf("delete in Postgres: %w", ctx.Err())
		}
		if err == nil {
			m.s.barrier("removal-committed")
			return nil
		}
		if err := pause(ctx, loadRetry, fmt.Errorf("delete in Postgres: %w", err)); err != nil {
			return err
		}
	}
}

// hold keeps a key from being saved and waits for a save that may have taken it already.
func (r ref) hold(key string) {
	r.sh.Lock()
	d := r.it.Value.detailLocked()
	if d.held == nil {
		d.held = map[string]int{}
	}
	d.held[key]++
	saving := d.saving
	r.sh.Unlock()
	if saving != nil {
		<-saving
	}
}

// release ends hold.
func (r ref) release(key string) {
	r.sh.Lock()
	defer r.sh.Unlock()
	d := r.it.Value.more
	if d.held[key]--; d.held[key] <= 0 {
		delete(d.held, key)
	}
}
