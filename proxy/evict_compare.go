package proxy

import (
	"bytes"
	"context"
	"fmt"
	"slices"

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
	for i, v := range victims {
		v.known = snaps[i]
		for key := range poison {
			v.skip[key] = true
		}
		v.keys, _ = e.s.sessions.literals(v.id)
		for j := range v.known.Keys {
			v.keys = append(v.keys, v.known.Keys[j].Name)
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
	if a.Type != b.Type || a.ExpireAt != b.ExpireAt || len(a.Fields) != len(b.Fields) ||
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
