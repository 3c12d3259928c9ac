package lru

import (
	"cmp"
	"hash/maphash"
	"math/bits"
	"slices"
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
	order     Policy // guarded by searching
	inflation inflation
}

// New makes an empty table of shards parts, rounded up to a power of two and at most 4096; 0 or less means 64.
func New[V any](shards int) *Table[V] {
	if shards <= 0 {
		shards = defaultShards
	}
	shards = 1 << bits.Len(uint(min(shards, maxShards)-1))
	t := &Table[V]{seed: maphash.MakeSeed(), mask: uint64(shards - 1), shards: make([]Shard[V], shards), order: LRU}
	for i := range t.shards {
		t.shards[i].seed = t.seed
		t.shards[i].newRank = t.rankings(LRU)
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
	return sh, sh.items.get(hash, view(key))
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
		sum.Len += sh.items.len
		for _, g := range sh.groups {
			sum.Listed += g.list.len
			sum.Bytes += g.list.bytes
		}
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
	add := make([][]*Item[V], len(sh.groups))
	for _, it := range sh.items.items(nil) {
		if !it.listed && (want == nil || want(it)) {
			add[it.group] = append(add[it.group], it)
		}
	}
	for n, items := range add {
		if len(items) > 0 {
			sh.groups[n].relist(items)
		}
	}
}

func (g *group[V]) relist(items []*Item[V]) {
	g.list.merge(items)
	if g.rank == nil {
		return
	}
	slices.SortStableFunc(items, func(a, b *Item[V]) int { return cmp.Compare(a.LastAccess, b.LastAccess) })
	for _, it := range items {
		g.rank.recover(it)
	}
}

// Range calls f for every item, under the lock of its shard sh, until f says no. The lock is let go every 1,000 items. An item
// that is there all the time is visited exactly once, one that comes or goes meanwhile at most once. f may change, add to
// and remove from sh.
func (t *Table[V]) Range(f func(sh *Shard[V], it *Item[V]) bool) {
	var items []*Item[V]
	for i := range t.shards {
		sh := &t.shards[i]
		sh.Lock()
		items = sh.items.items(items[:0])
		more := sh.visit(items, f)
		sh.Unlock()
		clear(items) // a removed item must not be kept alive by the spare capacity
		if !more {
			return
		}
	}
}

// visit goes over the items that the shard had at first: the index may be another one after each pause.
func (sh *Shard[V]) visit(items []*Item[V], f func(sh *Shard[V], it *Item[V]) bool) bool {
	for n, it := range items {
		if n%sliceItems == sliceItems-1 {
			sh.Unlock()
			sh.Lock()
		}
		if !it.removed && !f(sh, it) {
			return false
		}
	}
	return true
}
