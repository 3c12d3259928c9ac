package lru

import "math"

// searchSlice bounds how many items a search walks over under one hold of a shard's lock: some 20 microseconds when none of
// them is in the processor's cache.
const searchSlice = 256

// Oldest appends to dst the n least recently used listed items that accept says yes to (nil: all), in order of their last
// access, ties in any order. It is exact, not sampled, as of the moment at which it looked at each shard.
//
// accept is called under the shard's lock, must be quick, must not change anything or call the table, and is asked about
// more items than are returned. Items that it refuses are passed over. After 16n+1000 items looked at, the search settles for
// what it has, if that is anything: fewer than n may come back, but none only if there is none.
//
// Concurrent searches wait for each other.
func (t *Table[V]) Oldest(dst []*Item[V], n int, accept func(it *Item[V]) bool) []*Item[V] {
	return t.OldestBefore(dst, n, math.MaxInt64, accept)
}

// OldestBefore is Oldest among the items whose last access was before the given time, in unix milliseconds.
func (t *Table[V]) OldestBefore(dst []*Item[V], n int, before int64, accept func(it *Item[V]) bool) []*Item[V] {
	return t.OldestIn(Every, dst, n, before, accept)
}

// OldestIn is OldestBefore among the items of one group, or of Every.
func (t *Table[V]) OldestIn(group int, dst []*Item[V], n int, before int64, accept func(it *Item[V]) bool) []*Item[V] {
	if n <= 0 {
		return dst
	}
	t.searching.Lock()
	defer t.searching.Unlock()
	t.searches++
	s := search[V]{
		mark:   t.searches,
		before: before,
		accept: accept,
		want:   n,
		limit:  16*min(n, math.MaxInt/32) + 1000,
		heap:   heap[*cursor[V]]{before: func(a, b **cursor[V]) bool { return (*a).ready[0].at < (*b).ready[0].at }},
	}
	s.start(t.shards, group)
	return s.take(dst, n)
}

// search merges the old ends of all lists, one for each group of each shard. Each has a cursor with a few accepted items, and the heap holds the
// cursors by their oldest one; a cursor that runs dry is filled again before the merge goes on, so the order is exact.
type search[V any] struct {
	mark   uint32
	before int64
	accept func(it *Item[V]) bool
	want   int // accepted items to fetch at a time; before start, of all lists together
	looked int
	limit  int
	heap   heap[*cursor[V]]
}

// cursor is how far a search has come in one list.
type cursor[V any] struct {
	shard *Shard[V]
	list  *list[V]
	buf   []found[V] // backs ready
	ready []found[V] // accepted and not yet taken, ascending
	last  found[V]   // where to go on
	atEnd bool
}

// found is an item with its last access as it was under the lock.
type found[V any] struct {
	item *Item[V]
	at   int64
}

// start fills a cursor for every list, however long that takes: only then is the oldest item known.
func (s *search[V]) start(shards []Shard[V], group int) {
	cursors := s.lists(shards, group)
	if len(cursors) == 0 {
		return
	}
	// Its share and a little more: most lists are looked at once.
	s.want = min(s.want/len(cursors)*5/4+max(8*len(shards)/len(cursors), 1), s.want, searchSlice)
	bufs := make([]found[V], len(cursors)*s.want)
	for i := range cursors {
		c := &cursors[i]
		c.buf = bufs[i*s.want : i*s.want : (i+1)*s.want]
		for !c.atEnd && len(c.ready) == 0 {
			s.fetch(c)
		}
		if len(c.ready) > 0 {
			s.heap.push(c)
		}
	}
}

// lists returns a cursor for every list that has items.
func (s *search[V]) lists(shards []Shard[V], group int) []cursor[V] {
	cursors := make([]cursor[V], 0, len(shards))
	for i := range shards {
		sh := &shards[i]
		sh.lockSoon()
		for _, g := range sh.chosen(group) {
			if g.list.len > 0 {
				cursors = append(cursors, cursor[V]{shard: sh, list: &g.list})
			}
		}
		sh.Unlock()
	}
	return cursors
}

// take moves up to n items from the heap to dst.
func (s *search[V]) take(dst []*Item[V], n int) []*Item[V] {
	for ; n > 0 && len(s.heap.items) > 0; n-- {
		c := s.heap.items[0]
		dst = append(dst, c.ready[0].item)
		c.ready = c.ready[1:]
		for len(c.ready) == 0 && !c.atEnd {
			if s.looked >= s.limit {
				return dst
			}
			s.fetch(c)
		}
		if len(c.ready) == 0 {
			s.heap.pop()
		} else {
			s.heap.fixRoot()
		}
	}
	return dst
}

// fetch walks over one slice of the list and puts what is accepted into c.ready, which is empty.
func (s *search[V]) fetch(c *cursor[V]) {
	c.shard.lockSoon()
	defer c.shard.Unlock()
	c.ready = c.buf
	it := c.resume()
	for range searchSlice {
		if it == nil || it.LastAccess >= s.before {
			c.atEnd = true
			return
		}
		c.last = found[V]{it, it.LastAccess}
		if it.mark != s.mark {
			s.look(c, it)
		}
		if len(c.ready) == s.want {
			return
		}
		it = it.next
	}
}

// look asks about one item that the search has not seen.
func (s *search[V]) look(c *cursor[V], it *Item[V]) {
	it.mark = s.mark
	s.looked++
	if s.accept == nil || s.accept(it) {
		c.ready = append(c.ready, c.last)
	}
}

// resume returns the item after the last one. If that one has moved meanwhile, its place is lost: go over the list again
// from the old end, where the marks tell what has been seen.
func (c *cursor[V]) resume() *Item[V] {
	last := c.last.item
	if last == nil || !last.listed || last.LastAccess != c.last.at {
		return c.list.oldest
	}
	return last.next
}
