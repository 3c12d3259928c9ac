package lru

import (
	"cmp"
	"slices"
	"strings"
	"unsafe"
)

// Item is one session in a Table. Key is read-only; all else belongs to the lock of the item's shard.
type Item[V any] struct {
	// The order is that of use: what a touch needs stands in as few cache lines as possible.
	Key        string // the owner's encoded identity, any bytes; stands in inline where it fits
	inline     [inlineKey]byte
	LastAccess int64  // unix milliseconds; see rule 3 of the package
	Hits       uint64 // touches since the session was first seen
	Value      V      // the owner's state

	prev, next *Item[V]
	Bytes      int64  // estimated size in Redis; change it with Shard.SetBytes
	mark       uint32 // the last search that looked at the item, so that none looks twice
	place      uint32 // the group's ranking keeps it there; 0: nowhere
	group      uint16
	listed     bool
	removed    bool
}

// inlineKey is how long a key may be to stand in its item: a UUID and the proxy's four bytes before it. Elsewhere it would be
// one more wait for memory in every command, and take 8 bytes more.
const inlineKey = 40

// newItem makes an item that keeps nothing of key.
func newItem[V any](key string, lastAccess int64, group uint16) *Item[V] {
	it := &Item[V]{LastAccess: lastAccess, group: group}
	if len(key) == 0 || len(key) > inlineKey {
		it.Key = strings.Clone(key)
		return it
	}
	// The bytes never change after this, as a string's must not.
	it.Key = unsafe.String(&it.inline[0], copy(it.inline[:], key))
	return it
}

// list is the recency order of one group in one shard: doubly linked, ascending by LastAccess, ties in order of arrival. It is
// single-threaded; Shard adds the lock.
type list[V any] struct {
	oldest, newest *Item[V]
	len            int
	bytes          int64 // sum of Bytes over the listed items
}

// insert lists it at the place that its LastAccess commands. It searches from the recent end, so that an item that was used
// just now costs one step.
func (l *list[V]) insert(it *Item[V]) {
	after := l.newest
	for after != nil && after.LastAccess > it.LastAccess {
		after = after.prev
	}
	l.link(it, after)
	l.len++
	l.bytes += it.Bytes
	it.listed = true
}

// remove takes a listed item out.
func (l *list[V]) remove(it *Item[V]) {
	l.unlink(it)
	l.len--
	l.bytes -= it.Bytes
	it.listed = false
}

// touch gives a listed item the access time now and makes it the most recent one.
func (l *list[V]) touch(it *Item[V], now int64) {
	if l.newest.LastAccess > now {
		l.cut(now)
	}
	it.LastAccess = now
	if l.newest != it {
		l.unlink(it)
		l.link(it, l.newest)
	}
}

// cut lowers access times that lie after now to now: the clock went back, or a caller read it a little before another one
// did. The order stays. Left alone, times from the future would keep sessions from ever growing old, or break the sorting.
// Every step of the loop takes back what one touch set, so touches stay O(1) on average.
func (l *list[V]) cut(now int64) {
	for it := l.newest; it != nil && it.LastAccess > now; it = it.prev {
		it.LastAccess = now
	}
}

// merge lists many unlisted items with one sort instead of one search each.
func (l *list[V]) merge(items []*Item[V]) {
	all := make([]*Item[V], 0, l.len+len(items))
	for it := l.oldest; it != nil; it = it.next {
		all = append(all, it)
	}
	for _, it := range items {
		it.listed = true
		l.bytes += it.Bytes
		all = append(all, it)
	}
	slices.SortStableFunc(all, func(a, b *Item[V]) int { return cmp.Compare(a.LastAccess, b.LastAccess) })
	l.oldest, l.newest, l.len = nil, nil, len(all)
	for _, it := range all {
		l.link(it, l.newest)
	}
}

// link puts it behind after, or at the old end when after is nil.
func (l *list[V]) link(it, after *Item[V]) {
	it.prev = after
	if after == nil {
		it.next, l.oldest = l.oldest, it
	} else {
		it.next, after.next = after.next, it
	}
	if it.next == nil {
		l.newest = it
	} else {
		it.next.prev = it
	}
}

// unlink closes the gap around it.
func (l *list[V]) unlink(it *Item[V]) {
	if it.prev == nil {
		l.oldest = it.next
	} else {
		it.prev.next = it.next
	}
	if it.next == nil {
		l.newest = it.prev
	} else {
		it.next.prev = it.prev
	}
	it.prev, it.next = nil, nil
}
