package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// auditPatience is how long a key may take to be readable after everything has been healed.
const auditPatience = 15 * time.Second

// audit reads every key through the proxy. The readings are part of the histories, and what cannot be read is noted as
// odd; the states that they show are returned.
func (r *round) audit(ctx context.Context) map[string]any {
	all := append(slices.Clone(r.sessions), r.sides...)
	readers := r.workers[:r.opt.clients]
	var wg sync.WaitGroup
	found := make([]map[string]any, len(readers))
	for i, w := range readers {
		found[i] = map[string]any{}
		wg.Go(func() {
			for j := i; j < len(all); j += len(readers) {
				w.readSession(ctx, all[j], slices.Contains(r.sides, all[j]), found[i])
			}
		})
	}
	wg.Wait()
	final := map[string]any{}
	for _, m := range found {
		for part, state := range m {
			final[part] = state
		}
	}
	return final
}

// readSession reads a session's keys and says what state each partition is in.
func (w *worker) readSession(ctx context.Context, s sess, side bool, final map[string]any) {
	if side {
		w.insist(ctx, s.key(keySide), func() fate { return w.get(s.key(keySide)) })
		final[s.key(keySide)] = w.last(s.key(keySide), vGet).out
		return
	}
	for _, suffix := range []string{keyA, keyB} {
		key := s.key(suffix)
		w.insist(ctx, key, func() fate { return w.get(key) })
		final[key] = w.last(key, vGet).out
	}
	w.insist(ctx, s.key(keyHash), func() fate { return w.hgetall(s.key(keyHash)) })
	for _, f := range fields {
		part := fieldPart(s.key(keyHash), f)
		final[part] = w.last(part, vGet).out
	}
	w.insist(ctx, s.key(keyCounter), func() fate { return w.count(s.key(keyCounter)) })
	final[s.key(keyCounter)] = w.last(s.key(keyCounter), vGet).out
	w.insist(ctx, s.key(keyList), func() fate { return w.elements(s.key(keyList)) })
	final[s.key(keyList)] = w.last(s.key(keyList), vRange).list
	w.readLease(ctx, s.key(keyLease), final)
}

func (w *worker) readLease(ctx context.Context, key string, final map[string]any) {
	w.insist(ctx, key, func() fate { return w.get(key) })
	val := w.last(key, vGet).out
	w.insist(ctx, key, func() fate { return w.deadline(key) })
	at := w.last(key, vExpireAt).out
	final[key] = lease{}
	if val != 0 && at > 0 { // else it has expired, between the two readings at the latest
		final[key] = lease{val: val, lo: at, hi: at, ttl: math.MaxInt64 / 8}
	}
}

// insist reads until there is an answer.
func (w *worker) insist(ctx context.Context, key string, read func() fate) {
	ctx, cancel := context.WithTimeout(ctx, auditPatience)
	defer cancel()
	for read() != done {
		if pause(ctx, 20*time.Millisecond); ctx.Err() != nil {
			w.odd = append(w.odd, fmt.Sprintf("key %s cannot be read %s after everything was healed", key, auditPatience))
			return
		}
	}
}

// last returns the client's newest reading of a partition.
func (w *worker) last(part string, v verb) op {
	for i := len(w.log) - 1; i >= 0; i-- {
		if w.log[i].part == part && w.log[i].verb == v {
			return w.log[i]
		}
	}
	return op{}
}
