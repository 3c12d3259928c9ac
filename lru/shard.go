package lru

import (
	"hash/maphash"
	"sync"
)

// lockTries is how often a search asks for a lock before it queues for it. Locks are held for some 50 ns, but a goroutine
// that queues may not run again before the scheduler's time slice of 10 ms is over.
const lockTries = 100

// Shard is one part of a Table. Its mutex guards all items in it, their Values included, and is meant for short work: no
// I/O under it, and no second shard's lock. Every method below wants it held.
//
// Items are found by the 64-bit hash of their keys: a map with string keys would take 25 bytes a session more. Where two keys
// have one hash, which no table is likely to see ever, the later one is in collided.
type Shard[V any] struct {
	sync.Mutex
	seed     maphash.Seed
	items    map[uint64]*Item[V]
	collided map[string]*Item[V] // nil until needed
	list     list[V]
	_        [64]byte // 128 bytes in all: neighbours share no cache line, nor the pair that a processor prefetches
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
func (sh *Shard[V]) Get(key []byte) *Item[V] { return sh.get(maphash.Bytes(sh.seed, key), key) }

func (sh *Shard[V]) get(hash uint64, key []byte) *Item[V] {
	if it := sh.items[hash]; it != nil && it.Key == string(key) {
		return it
	}
	return sh.collided[string(key)]
}

// GetString is Get for a string.
func (sh *Shard[V]) GetString(key string) *Item[V] {
	if it := sh.items[maphash.String(sh.seed, key)]; it != nil && it.Key == key {
		return it
	}
	return sh.collided[key]
}

// Add makes an unlisted item for key, which must belong to this shard; lastAccess is in unix milliseconds. If there is one
// already, Add returns it as it is.
func (sh *Shard[V]) Add(key string, lastAccess int64) *Item[V] {
	if it := sh.GetString(key); it != nil {
		return it
	}
	it := &Item[V]{Key: key, LastAccess: lastAccess}
	hash := maphash.String(sh.seed, key)
	if sh.items[hash] == nil {
		sh.items[hash] = it
		return it
	}
	if sh.collided == nil {
		sh.collided = make(map[string]*Item[V])
	}
	sh.collided[key] = it
	return it
}

// Remove takes it out of the table. Removing an item twice does nothing, also when the key has a new item.
func (sh *Shard[V]) Remove(it *Item[V]) {
	sh.Unlist(it)
	if hash := maphash.String(sh.seed, it.Key); sh.items[hash] == it {
		delete(sh.items, hash)
	} else if sh.collided[it.Key] == it {
		delete(sh.collided, it.Key)
	}
}

// Touch counts one access at now (unix milliseconds, from a clock as coarse as the caller likes). Within one tick of that
// clock only the counter changes. A clock that goes back lowers the access times that lie after now and keeps the order.
func (sh *Shard[V]) Touch(it *Item[V], now int64) {
	it.Hits++
	if it.LastAccess == now {
		return
	}
	if it.listed {
		sh.list.touch(it, now)
		return
	}
	it.LastAccess = now
}

// List makes it a possible victim, at the place that its LastAccess commands: one step for a recent access, up to the length
// of the list for an old one (Table.Relist lists many at once). Listing it twice does nothing.
func (sh *Shard[V]) List(it *Item[V]) {
	if !it.listed {
		sh.list.insert(it)
	}
}

// Unlist takes it out of the recency order, not out of the table: it is no victim, and its bytes no longer count.
func (sh *Shard[V]) Unlist(it *Item[V]) {
	if it.listed {
		sh.list.remove(it)
	}
}

// Listed says whether it is in the recency order.
func (sh *Shard[V]) Listed(it *Item[V]) bool { return it.listed }

// SetBytes records the estimated size of it, in bytes; below zero counts as zero.
func (sh *Shard[V]) SetBytes(it *Item[V], n int64) {
	n = max(n, 0)
	if it.listed {
		sh.list.bytes += n - it.Bytes
	}
	it.Bytes = n
}
