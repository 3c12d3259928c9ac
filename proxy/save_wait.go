package proxy

import (
	"context"
	"fmt"
	"time"

	"credproxy/proxy/upstream"
)

// unsavedLocked reports whether some change waits to be saved or is being saved.
func (g *gate) unsavedLocked() bool {
	d := g.more
	return d != nil && (len(d.dirty) > 0 || d.saving != nil || g.state == evicting)
}

// announceLocked wakes those who wait for a save; they look for themselves.
func (d *detail) announceLocked() {
	if d.saved != nil {
		close(d.saved)
		d.saved = nil
	}
}

// waitSaved returns when a session's changes up to seq are in Postgres. They were made in run (0: any): once the session belongs to
// a later one, what is saved of it is what has come back from Postgres, and the changes may be lost.
func (v *saver) waitSaved(ctx context.Context, r ref, seq uint64, run upstream.Run) error {
	for {
		r.sh.Lock()
		d := r.it.Value.more
		if run != 0 && r.it.Value.run != run {
			r.sh.Unlock()
			return errStaleRun
		}
		if d == nil || d.savedSeq >= seq || !r.it.Value.unsavedLocked() { // savedSeq starts anew when a session was at rest
			r.sh.Unlock()
			return nil
		}
		if d.saved == nil {
			d.saved = make(chan struct{})
		}
		saved := d.saved
		v.queue.addLocked(r)
		r.sh.Unlock()
		v.queue.wake()
		select {
		case <-saved:
		case <-ctx.Done():
			if err := v.lastErr.Load(); err != nil {
				return *err
			}
			return ctx.Err()
		}
	}
}

// sync waits until everything that is dirty now is in Postgres and returns how many keys were saved meanwhile.
func (v *saver) sync(ctx context.Context) (int64, error) {
	before := v.saved.Load()
	type place struct {
		r   ref
		seq uint64
	}
	var places []place
	v.s.sessions.table.Range(func(sh *shard, it *item) bool {
		d := it.Value.more
		switch {
		case d == nil:
		case it.Value.state == evicting: // it saves too, or puts back what it has taken
			places = append(places, place{ref{sh, it}, d.dirtySeq})
		case it.Value.state == resident && (len(d.dirty) > 0 || d.saving != nil):
			places = append(places, place{ref{sh, it}, d.dirtySeq})
		}
		return true
	})
	for _, p := range places {
		if err := v.waitSaved(ctx, p.r, p.seq, 0); err != nil {
			return v.saved.Load() - before, err
		}
	}
	return v.saved.Load() - before, nil
}

// lag returns how long the oldest unsaved change has waited, in milliseconds.
func (v *saver) lag() int64 {
	if v.queue.keys.Load() == 0 {
		return 0
	}
	if at := v.queue.oldest.Load(); at > 0 {
		return max(time.Now().UnixMilli()-at, 0)
	}
	return 0
}

// defaultUnsaved bounds how many changed keys may wait to be saved while Postgres is away: what is remembered of each takes some 200
// bytes here, and the key cannot leave Redis.
const defaultUnsaved = 500_000

// crowded reports whether no more changes should be taken on.
func (v *saver) crowded() bool { return v.queue.keys.Load() >= v.bound }

// room holds a write back until changes have been saved: a client that waits loses nothing.
func (v *saver) room(ctx context.Context) error {
	for v.crowded() {
		v.queue.wake()
		why := fmt.Errorf("%d changed keys wait to be saved, and no more are taken on", v.queue.keys.Load())
		if last := v.lastErr.Load(); last != nil {
			why = fmt.Errorf("%w: %w", why, *last)
		}
		if err := pause(ctx, loadRetry, why); err != nil {
			return err
		}
	}
	return nil
}

// obstacle says why changes that wait are not being saved, nil if they are.
func (v *saver) obstacle() error {
	last := v.lastErr.Load()
	if last == nil || v.queue.keys.Load() == 0 {
		return nil
	}
	return fmt.Errorf("%d changed keys must be saved before their sessions may go: %w", v.queue.keys.Load(), *last)
}
