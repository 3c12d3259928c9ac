package proxy

import (
	"context"
	"fmt"
	"maps"

	"credproxy/internal/session"
	"credproxy/proxy/upstream"
)

// filling brings what is read from Postgres into Redis, part by part while it arrives, and the residency entry after it.
type filling struct {
	s     *Server
	ctx   context.Context
	id    session.ID
	r     ref
	to    *filler
	watch *stopwatch
	keys  int   // whole keys so far
	size  int64 // sizeOf all keys so far
	room  int64 // bytes that room has been made for
	taken int64 // that are reserved for it
	begun bool
}

// expect makes room for the session as far as its size is known from earlier days. It is the time to wait for room: while Postgres
// is sending, its connection is held, and the eviction that makes room needs one too.
func (f *filling) expect() {
	f.r.sh.Lock()
	f.room = f.r.it.Bytes
	f.r.sh.Unlock()
	if f.room > 0 {
		f.makeRoom(f.room)
	}
	f.watch.to(WaitPostgres)
}

func (f *filling) makeRoom(n int64) {
	f.watch.to(WaitRoom)
	ctx, cancel := context.WithTimeout(f.ctx, roomPatience)
	defer cancel()
	n = taken(n)
	f.s.policy.makeRoom(ctx, n)
	f.taken += n
}

// land says that the session is in Redis, or will not be.
func (f *filling) land() { f.s.policy.room.land(f.taken) }

// part takes what the store hands over.
func (f *filling) part(keys []session.Key) error {
	if keys == nil {
		f.keys, f.size = 0, 0
		return f.to.restart()
	}
	progress(f.ctx)
	f.watch.to(WaitRedis)
	defer f.watch.to(WaitPostgres)
	keys = f.s.ownKeys(f.id, keys)
	more := taken(f.count(keys)) // not makeRoom: a connection to Postgres is held
	f.s.policy.wrote(more)
	f.taken += more
	f.begin()
	return f.to.part(keys)
}

// count counts keys that are about to be written; it returns how many bytes they take beyond those that room has been made for.
func (f *filling) count(keys []session.Key) int64 {
	for i := range keys {
		if keys[i].Type != session.Hash || keys[i].Dump != nil {
			f.keys++
		}
	}
	f.size += sizeOf(keys)
	more := max(f.size-f.room, 0)
	f.room += more
	return more
}

func (f *filling) begin() {
	if !f.begun {
		f.s.barrier("restore-before-fill")
	}
	f.begun = true
}

// complete writes what is left of the session, and the entry, unless a key of it is poisoned: a later process would take the
// entry's word that all keys are in Redis, and then their absence for a deletion.
func (f *filling) complete(snap session.Snapshot, run upstream.Run, poison map[string]string) error {
	snap.Keys = f.s.ownKeys(f.id, snap.Keys)
	if more := f.count(snap.Keys); more > 0 {
		f.makeRoom(more)
	}
	f.watch.to(WaitRedis)
	for i := range snap.Keys {
		if snap.Keys[i].Type == session.Hash && snap.Keys[i].Dump == nil {
			f.keys++ // its pieces did not count
		}
	}
	f.begin()
	if len(poison) == 0 && f.fitsScript(snap) {
		done := f.to.coming.step(keyNames(snap.Keys))
		err := f.s.meta.fillAndEnter(f.ctx, f.r, f.id, snap, f.size)
		done()
		if err != nil {
			return err
		}
		f.s.arrive(f.r, snap, f.size, run, poison)
		return nil
	}
	if err := f.to.finish(snap.Keys); err != nil {
		return err
	}
	maps.Copy(poison, f.to.poison)
	for i := range snap.Keys {
		if k := &snap.Keys[i]; k.Apart > 0 {
			why, err := f.apart(k, run)
			if err != nil {
				return err
			}
			if why != "" {
				poison[k.Name] = why
			}
		}
	}
	f.s.barrier("restore-filled")
	f.s.arrive(f.r, snap, f.size, run, poison)
	if len(poison) > 0 {
		return f.s.meta.withhold(f.ctx, f.id)
	}
	return f.s.meta.enter(f.ctx, f.r)
}

func keyNames(keys []session.Key) []string {
	names := make([]string, len(keys))
	for i := range keys {
		names[i] = keys[i].Name
	}
	return names
}

const (
	// scriptKeys and scriptBytes bound a session that is restored by one script: of more keys, Lua's way with values costs more
	// than the round trip that it saves.
	scriptKeys  = 8
	scriptBytes = 16 << 10
)

// fitsScript reports whether a session is so small, and in the clear, that its keys and its entry are written at once. The entry cannot
// be there without the keys, as an error of Redis ends a script.
func (f *filling) fitsScript(snap session.Snapshot) bool {
	if !f.to.untouched() || snap.FromSource || len(snap.Keys) == 0 || len(snap.Keys) > scriptKeys || keysApart() {
		return false
	}
	var size int64
	for i := range snap.Keys {
		k := &snap.Keys[i]
		if k.Apart > 0 || k.Dump != nil || k.Type != session.String && (k.Type != session.Hash || len(k.Fields) == 0) {
			return false
		}
		size += k.Bytes()
	}
	return size <= scriptBytes
}

// heatAfter is the heat of a session when what has been read will be in Redis.
func heatAfter(r ref, snap session.Snapshot, size int64) string {
	r.sh.Lock()
	defer r.sh.Unlock()
	heat := session.Heat{LastAccess: r.it.LastAccess, Hits: r.it.Hits, Bytes: size}
	if r.it.Value.fresh {
		heat.Hits += snap.Heat.Hits
	}
	return encodeHeat(heat)
}

// fillAndEnter restores a small session and writes its entry, in one round trip.
func (m *meta) fillAndEnter(ctx context.Context, r ref, id session.ID, snap session.Snapshot, size int64) error {
	field := heatField(id)
	names := append(make([]string, 0, 2+len(snap.Keys)), runKey, heatKey(field))
	args := append(make([]any, 0, 3+3*len(snap.Keys)), m.runs.ID(), field, heatAfter(r, snap, size))
	for i := range snap.Keys {
		k := &snap.Keys[i]
		names = append(names, k.Name)
		args = append(args, len(k.Fields), k.ExpireAt)
		if k.Type == session.String {
			args = append(args, (*blob)(&k.Value))
		}
		args = appendFields(args, k.Fields)
	}
	n, err := fillScript.Eval(ctx, m.control.db(id.DB), names, args...).Int()
	if err != nil {
		return fmt.Errorf("restore keys in Redis: %w", err)
	}
	return m.entered(id, n)
}
