package proxy

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"credproxy/internal/session"
	"credproxy/keyspace"
)

// The remover deletes in Postgres before Redis does: a key that a client has removed must not come back, whatever dies when.
//
//	D1  The removal is committed in Postgres before the command goes to Redis. If it cannot be, the command is not sent.
//	    The key's mark is in Redis before that.
//	D2  From before the commit until after the reply the key is held: not saved (S2). After the reply it is dirty, so
//	    whatever the command really did (an aborted EXEC, a WRONGTYPE) is what Postgres has next.
//	D3  A requester that gives up leaves its hold to the commit under way: a commit that comes late finds nothing saved that
//	    it could destroy, and the key is dirty after it.
//
// At a crash between the two halves Postgres lacks what Redis still has; the key's mark makes the next process save it.
type remover struct {
	s    *Server
	reqs chan *removalReq
}

type removalReq struct {
	removals []session.Removal
	over     atomic.Bool // set by whoever is first: the commit when it ends, the requester when it gives up
	done     chan error  // buffered; gets the outcome if the commit was first
}

// removeGroup bounds how many removals share one commit.
const removeGroup = 2000

// removeTimeout bounds one commit.
const removeTimeout = 10 * time.Second

// removeRest bounds the pause between two commits while removals keep coming.
const removeRest = 3 * time.Millisecond

// run commits removals, all that are waiting in one transaction, until ctx ends.
//
// A commit costs as much as five removals in it. So where some are waiting when one ends, the next is put off for a while, and takes
// what comes meanwhile. Who removes one thing after the other, alone, is never put off.
func (m *remover) run(ctx context.Context) {
	for rest := time.Duration(0); ; {
		group := m.gather(ctx, rest)
		if group == nil {
			return
		}
		begun := time.Now()
		m.commit(ctx, group)
		rest = min(2*time.Since(begun), removeRest)
	}
}

// gather waits for removals and returns those that share the next commit, after a rest if one is there already; nil: ctx has ended.
func (m *remover) gather(ctx context.Context, rest time.Duration) []*removalReq {
	var first *removalReq
	select {
	case first = <-m.reqs:
		_ = pause(ctx, rest, context.Canceled) // at the end the commit says so to those who wait
	default:
		select {
		case first = <-m.reqs:
		case <-ctx.Done():
			return nil
		}
	}
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
	var err error
	if !planted("delete-not-durable") {
		err = m.s.store.Delete(ctx, all)
	}
	for _, req := range group {
		if req.over.CompareAndSwap(false, true) {
			req.done <- err
			continue
		}
		for _, rem := range req.removals {
			m.s.sessions.unhold(m.ref(rem), rem.Key, &m.s.saver.queue)
		}
	}
}

// ref finds the session of a removal: it is held, so it is in the table.
func (m *remover) ref(rem session.Removal) ref {
	r, _ := m.s.sessions.lookup(m.s.sessions.identityOf(rem.Session))
	return r
}

// giveUp leaves a commit that is under way to itself (D3), unless it has just ended.
func (m *remover) giveUp(ctx context.Context, req *removalReq) error {
	for _, rem := range req.removals {
		m.ref(rem).holdOnce(rem.Key)
	}
	if req.over.CompareAndSwap(false, true) {
		return ctx.Err()
	}
	for _, rem := range req.removals {
		m.ref(rem).release(rem.Key)
	}
	return <-req.done
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
			err = m.giveUp(ctx, req)
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

// hold keeps a key from being saved and waits for a save that may have taken it already. Whatever it returns, release must
// follow.
func (r ref) hold(ctx context.Context, key string) error {
	storing := r.holdOnce(key)
	if storing == nil {
		return nil
	}
	select {
	case <-storing:
		return nil
	case <-ctx.Done(): // Postgres is slow, or does not answer
		return fmt.Errorf("wait for the key to be saved: %w", ctx.Err())
	}
}

// holdOnce keeps a key from being saved from now on; it returns what to wait for if a save is being committed, else nil.
func (r ref) holdOnce(key string) (storing chan struct{}) {
	r.sh.Lock()
	defer r.sh.Unlock()
	d := r.it.Value.detailLocked()
	if d.held == nil {
		d.held = map[string]int{}
	}
	d.held[key]++
	return d.storing
}

// unhold ends a hold that its command has left behind: nobody knows what Postgres has of the key, so it is dirty.
func (s *sessions) unhold(r ref, key string, q *saveQueue) {
	r.sh.Lock()
	s.dirtyLocked(r, writeScope{key: []byte(key)}, q)
	r.sh.Unlock()
	r.release(key)
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

// removeFirst commits in Postgres what the group is about to remove from Redis.
func (c *client) removeFirst() error {
	ctx, cancel := context.WithTimeout(c.ctx, c.rules.wait)
	defer cancel()
	if err := c.markRemovals(ctx); err != nil {
		return unavailableError{err}
	}
	var removals []session.Removal
	for i := range c.g.touches {
		if t := &c.g.touches[i]; t.access == keyspace.Remove {
			rem, err := c.s.hold(ctx, t)
			if err != nil {
				return err
			}
			removals = append(removals, rem)
		}
	}
	return c.s.remover.remove(ctx, removals)
}

// hold holds a key that is going to be removed and says what goes.
func (s *Server) hold(ctx context.Context, t *touch) (session.Removal, error) {
	t.held = true
	err := t.ref.hold(ctx, string(t.key))
	rem := session.Removal{Session: s.sessions.id(t.ref.it.Key), Key: string(t.key)}
	if t.write.scope == keyspace.Fields {
		for i := 0; i < len(t.write.fields); i += t.write.step {
			rem.Fields = append(rem.Fields, string(t.write.fields[i]))
		}
	}
	return rem, err
}

// refuseRemovals answers the commands whose removals could not be committed; they are not sent.
func (c *client) refuseRemovals(err error) {
	text := errorReply(nil, gateText(err))
	for i := range c.g.entries {
		e := &c.g.entries[i]
		for j := e.touches[0]; j < e.touches[1]; j++ {
			if c.g.touches[j].access == keyspace.Remove {
				e.local = text
			}
		}
	}
}
