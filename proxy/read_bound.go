package proxy

import (
	"context"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
)

// What a reading leaves out, so that no more is held than it may hold: values that are too large to be read with others, and those for which
// there is no room beside the others.

// readMost bounds the values that one readKeys holds, in bytes.
const readMost = 4 << 20

func (rd *reading) leftOut() bool { return rd.apart || rd.later }

// leftOut returns those of the readings that are still to be saved.
func leftOut(all []reading) (left []reading) {
	for i := range all {
		if all[i].leftOut() {
			left = append(left, all[i])
		}
	}
	return left
}

// weighPatches asks how large the fields of patches are where the average says nothing: where the hash is large. A patch that is large is
// read as a whole, which is done in slices.
func (r *reader) weighPatches(ctx context.Context) error {
	if r.most == 0 {
		return nil
	}
	var large []int
	var sizes [][]*redis.IntCmd
	err := r.pipeline(ctx, func(p redis.Pipeliner) {
		for i := range r.keys {
			if r.out[i].change.Op != session.Patch || r.heads[i].memory.Val() < apartFrom {
				continue
			}
			list := make([]*redis.IntCmd, len(r.keys[i].fields))
			for j, f := range r.keys[i].fields {
				list[j] = redis.NewIntCmd(ctx, "HSTRLEN", r.keys[i].key, f)
				_ = p.Process(ctx, list[j]) // queues it
			}
			large, sizes = append(large, i), append(sizes, list)
		}
	})
	for n, i := range large {
		h, c := &r.heads[i], &r.out[i].change
		for _, size := range sizes[n] {
			h.weight += size.Val()
		}
		if h.weight > apartFrom {
			r.keys[i].patch, c.Op, c.Len = false, session.Put, 0
			r.out[i].apart = true
		}
	}
	return err
}

// leaveOut decides what is not read now.
func (r *reader) leaveOut(context.Context) error {
	if r.most == 0 {
		return nil
	}
	var size int64
	for i := range r.keys {
		out, h := &r.out[i], &r.heads[i]
		if out.change.Type == session.None || out.again || out.apart {
			continue
		}
		if fields := int64(0); r.whole(i) {
			if out.change.Type == session.Hash && h.len != nil {
				fields = h.len.Val()
			}
			if out.apart = isApart(out.change.Type, h.memory.Val(), fields); out.apart {
				continue
			}
		}
		n := r.wantedBytes(i)
		out.later = size > 0 && size+n > r.most
		if !out.later {
			size += n
		}
	}
	return nil
}

// wantedBytes estimates what is read of a key; of a patch, its share of the hash.
func (r *reader) wantedBytes(i int) int64 {
	h := &r.heads[i]
	n := h.memory.Val()
	switch {
	case r.out[i].leftOut():
		n = 0
	case r.keys[i].patch && h.weight > 0:
		n = h.weight
	case r.keys[i].patch:
		n = n / max(h.len.Val(), 1) * int64(len(r.keys[i].fields))
	}
	return n
}
