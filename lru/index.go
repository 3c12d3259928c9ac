package lru

import "math/bits"

// index finds the items of a shard by their hashes: open addressing, linear probing, no tombstones. A slot holds the whole hash
// beside the pointer, so that a lookup waits for one cache line here and for the item; Go's map needs three such waits, one
// after the other, which at a million sessions was half of what a touch cost. It is single-threaded; Shard adds the lock.
type index[V any] struct {
	slots []slot[V] // a power of two of them
	shift uint8     // a hash's first slot is hash >> shift: the low bits have chosen the shard
	len   int
}

type slot[V any] struct {
	hash uint64
	item *Item[V] // nil: empty
}

const leastSlots = 8

// get returns the item of key, nil if there is none. Equal hashes of other keys are stepped over.
func (x *index[V]) get(hash uint64, key string) *Item[V] {
	if len(x.slots) == 0 {
		return nil
	}
	for mask, i := len(x.slots)-1, int(hash>>x.shift); ; i++ {
		s := &x.slots[i&mask]
		if s.item == nil {
			return nil
		}
		if s.hash == hash && s.item.Key == key {
			return s.item
		}
	}
}

// put adds an item whose key is not there.
func (x *index[V]) put(hash uint64, it *Item[V]) {
	if x.len >= len(x.slots)/16*13 { // above that, the runs to step over grow fast
		x.grow()
	}
	x.place(slot[V]{hash, it})
	x.len++
}

// place fills the first empty slot from the hash's own on.
func (x *index[V]) place(s slot[V]) {
	mask, i := len(x.slots)-1, int(s.hash>>x.shift)
	for x.slots[i&mask].item != nil {
		i++
	}
	x.slots[i&mask] = s
}

func (x *index[V]) grow() {
	old := x.slots
	x.slots = make([]slot[V], max(2*len(old), leastSlots))
	x.shift = uint8(64 - bits.TrailingZeros(uint(len(x.slots))))
	for _, s := range old {
		if s.item != nil {
			x.place(s)
		}
	}
}

// remove takes an item out, if it is there, and moves those behind it up that would not be found beyond the gap.
func (x *index[V]) remove(hash uint64, it *Item[V]) {
	if len(x.slots) == 0 {
		return
	}
	mask, gap := len(x.slots)-1, int(hash>>x.shift)
	for ; x.slots[gap&mask].item != it; gap++ {
		if x.slots[gap&mask].item == nil {
			return
		}
	}
	gap &= mask
	for i := gap + 1; ; i++ {
		s := x.slots[i&mask]
		if s.item == nil {
			break
		}
		// It may fill the gap unless its own slot lies behind the gap: distances are counted backwards from where it is.
		if own := int(s.hash >> x.shift); (i-own)&mask >= (i-gap)&mask {
			x.slots[gap], gap = s, i&mask
		}
	}
	x.slots[gap] = slot[V]{}
	x.len--
}

// items appends all items to dst.
func (x *index[V]) items(dst []*Item[V]) []*Item[V] {
	for i := range x.slots {
		if it := x.slots[i].item; it != nil {
			dst = append(dst, it)
		}
	}
	return dst
}
