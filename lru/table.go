package lru

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"sync"
)

const (
	defaultShards = 64
	maxShards     = 1 << 12
	// sliceItems bounds how many items are visited under one hold of a lock.
	sliceItems = 1000
)

// Table holds sessions by key. It is safe for many goroutines by the rules of the package.
type Table[V any] struct {
	seed   maphash.Seed // secret, so that clients cannot aim their keys at one shard
	mask   uint64
	shards []Shard[V]

	searching sync.Mutex // one search at a time: searches mark the items they have seen. Taken before any shard's lock
	searches  uint32
}

// New makes an empty table of shards parts, rounded up to a power of two and at most 4096; 0 or less means 64.
func New[V any](shards int) *Table[V] {
	if shards <= 0 {
		shards = defaultShards
	}
	shards = 1 << bits.Len(uint(min(shards, maxShards)-1))
	t := &Table[V]{seed: maphash.MakeSeed(), mask: uint64(shards - 1), shards: make([]Shard[V], shards)}
	for i := range t.shards {
		t.shards[i].seed, t.shards[i].items = t.seed, make(map[uint64]*Item[V])
	}
	return t
}

// Shard returns the shard that key belongs to, unlocked. It does not allocate or keep key.
func (t *Table[V]) Shard(key []byte) *Shard[V] {
	return &t.shards[maphash.Bytes(t.seed, key)&t.mask]
}

// ShardString is Shard for a string.
func (t *Table[V]) ShardString(key string) *Shard[V] {
	return &t.shards[maphash.String(t.seed, key)&t.mask]
}

// Acquire locks the shard of key and returns both it and the item, nil if there is none: what a command does first. It hashes
// the key once, and before it takes the lock.
func (t *Table[V]) Acquire(key []byte) (*Shard[V], *Item[V]) {
	hash := maphash.Bytes(t.seed, key)
	sh := &t.shards[hash&t.mask]
	sh.Lock()
	return sh, sh.get(hash, key)
}

// Totals sums up a table.
type Totals struct {
	Len    int   // items, listed or not
	Listed int   // items in the recency order
	Bytes  int64 // estimated bytes of the listed items
}

// Totals adds up the shards one after another, so items that move meanwhile may be counted in neither or both states.
func (t *Table[V]) Totals() Totals {
	var sum Totals
	for i := range t.shards {
		sh := &t.shards[i]
		sh.lockSoon()
		sum.Len += len(sh.items) + len(sh.collided)
		sum.Listed += sh.list.len
		sum.Bytes += sh.list.bytes
		sh.Unlock()
	}
	return sum
}

// Len returns how many items there are, listed or not.
func (t *Table[V]) Len() int { return t.Totals().Len }

// Listed returns how many items are in the recency order.
func (t *Table[V]) Listed() int { return t.Totals().Listed }

// Bytes returns the estimated bytes of all listed items.
func (t *Table[V]) Bytes() int64 { return t.Totals().Bytes }

// Relist lists every unlisted item that want says yes to (nil: all), sorting each shard once: this is how a million loaded
// sessions get their order. want is called under the shard's lock; a shard stays locked while it is sorted, a few
// milliseconds for 16,000 items.
func (t *Table[V]) Relist(want func(it *Item[V]) bool) {
	for i := range t.shards {
		t.shards[i].relist(want)
	}
}

func (sh *Shard[V]) relist(want func(it *Item[V]) bool) {
	sh.Lock()
	defer sh.Unlock()
	var add []*Item[V]
	for it := range sh.all() {
		if !it.listed && (want == nil || want(it)) {
			add = append(add, it)
		}
	}
	if len(add) > 0 {
		sh.list.merge(add)
	}
}

// Range calls f for every item, under the lock of its shard sh, until f says no. The lock is let go every 1,000 items. An item
// that is there all the time is visited exactly once, one that comes or goes meanwhile at most once. f may change, add to
// and remove from sh.
func (t *Table[V]) Range(f func(sh *Shard[V], it *Item[V]) bool) {
	for i := range t.shards {
		if !t.shards[i].visit(f) {
			return
		}
	}
}

// visit leans on what Go promises about a map that changes during a range loop: entries that stay are produced once. The
// changes come from other goroutines here, but only while the lock is let go, between two steps of the loop.
func (sh *Shard[V]) visit(f func(sh *Shard[V], it *Item[V]) bool) bool {
	sh.Lock()
	defer sh.Unlock()
	visited := 0
	for it := range sh.all() {
		if !f(sh, it) {
			return false
		}
		// After f, not before it: an item taken from the map before a pause could be gone after it.
		if visited++; visited%sliceItems == 0 {
			sh.Unlock()
			sh.Lock()
		}
	}
	return true
}

// all goes over both maps.
func (sh *Shard[V]) all() iter.Seq[*Item[V]] {
	return func(yield func(*Item[V]) bool) {
		for _, it := range sh.items {
			if !yield(it) {
				return
			}
		}
		for _, it := range sh.collided {
			if !yield(it) {
				return
			}
		}
	}
}
