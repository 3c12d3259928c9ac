package lru

import (
	"hash/maphash"
	"sync"
	"unsafe"
)

// lockTries is how often a search asks for a lock before it queues for it. Locks are held for some 50 ns, but a goroutine
// that queues may not run again before the scheduler's time slice of 10 ms is over.
const lockTries = 100

// Shard is one part of a Table. Its mutex guards all items in it, their Values included, and is meant for short work: no
// I/O under it, and no second shard's lock. Every method below wants it held.
type Shard[V any] struct {
	sync.Mutex
	seed    maphash.Seed
	items   index[V]
	groups  []*group[V]          // by number; Add makes an item's
	groupOf func(key string) int // nil: there is one group
	newRank func() ranking[V]    // of a new group; its result is nil for LRU
	_       [32]byte             // 128 bytes in all: neighbours share no cache line, nor the pair that a processor prefetches
}

// lockSoon is Lock for Table methods that want many locks one after another.
func (sh *Shard[V]) lockSoon() {
	for range lockTries {
		if sh.TryLock() {
			return
		}
	}
	sh.Lock()
}

// Get returns the item of key, nil if there is none. It does not allocate and does not count as an access.
func (sh *Shard[V]) Get(key []byte) *Item[V] {
	return sh.items.get(maphash.Bytes(sh.seed, key), view(key))
}

// GetString is Get for a string.
func (sh *Shard[V]) GetString(key string) *Item[V] {
	return sh.items.get(maphash.String(sh.seed, key), key)
}

// view is key as a string, without a copy: for a lookup, which keeps nothing of it.
func view(key []byte) string { return unsafe.String(unsafe.SliceData(key), len(key)) }

// Add makes an unlisted item for key, which must belong to this shard; lastAccess is in unix milliseconds. If there is one
// already, Add returns it as it is.
func (sh *Shard[V]) Add(key string, lastAccess int64) *Item[V] {
	hash := maphash.String(sh.seed, key)
	if it := sh.items.get(hash, key); it != nil {
		return it
	}
	it := newItem[V](key, lastAccess, sh.groupFor(key))
	sh.items.put(hash, it)
	return it
}

// Remove takes it out of the table. Removing an item twice does nothing, also when the key has a new item.
func (sh *Shard[V]) Remove(it *Item[V]) {
	if it.removed {
		return
	}
	sh.Unlist(it)
	if r := sh.groups[it.group].rank; r != nil {
		r.forget(it)
	}
	sh.items.remove(maphash.String(sh.seed, it.Key), it)
	it.removed = true
}

// Touch counts one access at now (unix milliseconds, from a clock as coarse as the caller likes). Within one tick of that
// clock only the counter changes. A clock that goes back lowers the access times that lie after now and keeps the order.
func (sh *Shard[V]) Touch(it *Item[V], now int64) {
	it.Hits++
	if it.LastAccess == now {
		return
	}
	if !it.listed {
		it.LastAccess = now
		return
	}
	g := sh.groups[it.group]
	g.list.touch(it, now)
	if g.rank != nil {
		g.rank.touch(it, now)
	}
}

// List makes it a possible victim, at the place that its LastAccess commands: one step for a recent access, up to the length
// of the list for an old one (Table.Relist lists many at once). Listing it twice does nothing.
func (sh *Shard[V]) List(it *Item[V]) {
	if it.listed {
		return
	}
	g := sh.groups[it.group]
	g.list.insert(it)
	if g.rank != nil {
		g.rank.add(it)
	}
}

// Unlist takes it out of the recency order, not out of the table: it is no victim, and its bytes no longer count.
func (sh *Shard[V]) Unlist(it *Item[V]) {
	if !it.listed {
		return
	}
	g := sh.groups[it.group]
	g.list.remove(it)
	if g.rank != nil {
		g.rank.remove(it)
	}
}

// Listed says whether it is in the recency order.
func (sh *Shard[V]) Listed(it *Item[V]) bool { return it.listed }

// SetBytes records the estimated size of it, in bytes; below zero counts as zero.
func (sh *Shard[V]) SetBytes(it *Item[V], n int64) {
	n = max(n, 0)
	before := it.Bytes
	it.Bytes = n
	if !it.listed {
		return
	}
	g := sh.groups[it.group]
	g.list.bytes += n - before
	if g.rank != nil {
		g.rank.resize(it)
	}
}
