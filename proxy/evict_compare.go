package proxy

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"credproxy/internal/session"
)

// recall reads what Postgres has of the victims: it names their keys, and shows what differs.
func (e *evictor) recall(ctx context.Context, victims []*victim) error {
	ids := make([]session.ID, len(victims))
	for i, v := range victims {
		ids[i] = v.id
	}
	// Time zero: keys that have expired are wanted too, they may still stand in Redis with a new expiry.
	snaps, err := e.s.store.LoadStored(ctx, ids, 0)
	poison, err := splitPoison(err)
	if err != nil {
		return fmt.Errorf("read sessions to evict from Postgres: %w", err)
	}
	if e.s.sessions.off {
		if err := e.askSource(ctx, victims); err != nil {
			return err
		}
	}
	for i, v := range victims {
		v.known = snaps[i]
		v.known.Keys, v.known.Stubs = e.s.ownKeys(v.id, v.known.Keys), e.s.ownKeys(v.id, v.known.Stubs)
		v.bad = map[string]bool{}
		for key := range poison {
			if v.bad[key] = e.s.owns(nil, v.ref.it.Key, v.id.DB, key); v.bad[key] {
				v.keys = append(v.keys, key)
			}
		}
		literals, _ := e.s.sessions.literals(v.id)
		v.keys = append(v.keys, literals...)
		v.keys = append(v.keys, v.names...)
		for _, list := range [][]session.Key{v.known.Keys, v.known.Stubs, v.source} {
			for j := range list {
				v.keys = append(v.keys, list[j].Name)
			}
		}
		for key := range v.dirty {
			v.keys = append(v.keys, key)
		}
		slices.Sort(v.keys)
		v.keys = slices.Compact(v.keys)
		v.keys = slices.DeleteFunc(v.keys, func(k string) bool { return v.skip[k] })
	}
	return nil
}

// verdict says what has to be committed before victims may go. The lists of changes and of their victims are parallel.
type verdict struct {
	save, stubs   []session.Change
	saved, handed []*victim
}

// judge compares what was read of a victim's keys with what Postgres has and, with sync = "off", with the source.
func (d *verdict) judge(v *victim, read []reading, off bool) {
	c := session.Change{Session: v.id, Heat: v.heat}
	read = slices.DeleteFunc(read, func(rd reading) bool { return rd.change.Op == session.Delete && v.bad[rd.change.Name] })
	present := slices.ContainsFunc(read, func(rd reading) bool { return rd.change.Op != session.Delete })
	v.same = false
	v.gone = !present && !v.known.Found && !v.known.Elsewhere && len(v.source) == 0 && len(v.skip) == 0
	switch {
	case v.gone:
		return
	case off && v.agrees(read):
		c.Keys = stubsOf(read)
		if v.same = sameStubs(v.known, c.Keys); !v.same {
			d.stubs, d.handed = append(d.stubs, c), append(d.handed, v)
			return
		}
		c.Keys = nil // only the heat is saved
	case v.known.Elsewhere || v.anew: // all of it, also what is not there
		for i := range read {
			if !read[i].leftOut() {
				c.Keys = append(c.Keys, read[i].change)
			}
		}
	default:
		c.Keys = differing(read, v.known.Keys)
	}
	d.save, d.saved = append(d.save, c), append(d.saved, v)
}

// keep commits what differs from Postgres.
func (e *evictor) keep(ctx context.Context, changes []session.Change, victims []*victim) error {
	if len(changes) == 0 {
		return nil
	}
	for _, v := range victims {
		if e.s.sessions.off && !v.same && !v.known.Found {
			v.fate = doubtful
		}
	}
	if _, err := e.s.store.Save(ctx, changes, time.Now().UnixMilli()); err != nil {
		return fmt.Errorf("save sessions before eviction: %w", err)
	}
	for _, v := range victims {
		if v.same {
			v.fate = handed
		} else {
			v.fate, v.anew, v.known = kept, true, session.Snapshot{Found: true}
		}
	}
	return nil
}

// differing returns what must change in Postgres so that it holds what was read.
func differing(read []reading, known []session.Key) []session.KeyChange {
	byName := make(map[string]*session.Key, len(known))
	for i := range known {
		byName[known[i].Name] = &known[i]
	}
	var changes []session.KeyChange
	for i := range read {
		c := &read[i].change
		k := byName[c.Name]
		if read[i].leftOut() {
			continue
		}
		if c.Op == session.Delete {
			if k != nil {
				changes = append(changes, *c)
			}
			continue
		}
		if k == nil || !sameKey(&c.Key, k) {
			changes = append(changes, *c)
		}
	}
	return changes
}

// sameKey compares byte for byte. A DUMP is compared as it is: the same set may have two forms, it is then saved once more.
func sameKey(a, b *session.Key) bool {
	if b.Apart > 0 || a.Type != b.Type || a.ExpireAt != b.ExpireAt || len(a.Fields) != len(b.Fields) ||
		(a.Dump == nil) != (b.Dump == nil) || !bytes.Equal(a.Value, b.Value) || !bytes.Equal(a.Dump, b.Dump) {
		return false
	}
	fields := make(map[string][]byte, len(b.Fields))
	for i := range b.Fields {
		fields[b.Fields[i].Name] = b.Fields[i].Value
	}
	for i := range a.Fields {
		v, ok := fields[a.Fields[i].Name]
		if !ok || !bytes.Equal(v, a.Fields[i].Value) {
			return false
		}
	}
	return true
}
