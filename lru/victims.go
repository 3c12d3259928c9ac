package lru

import "math"

// victimsLooked bounds how many items Victims asks about in one group of a shard under one hold of its lock, as long as that gives any.
const victimsLooked = 1024

// Victims appends to dst up to n listed items that accept says yes to, the next to be evicted first, in the order of the
// table's policy; for LRU it is Oldest. Fewer than n may come back, but none only if there is none. What Oldest says of accept
// holds here too.
func (t *Table[V]) Victims(dst []*Item[V], n int, accept func(it *Item[V]) bool) []*Item[V] {
	return t.VictimsIn(Every, dst, n, accept)
}

// VictimsIn is Victims among the items of one group, or of Every.
func (t *Table[V]) VictimsIn(group int, dst []*Item[V], n int, accept func(it *Item[V]) bool) []*Item[V] {
	if t.Policy() == LRU {
		return t.OldestIn(group, dst, n, math.MaxInt64, accept)
	}
	if n <= 0 {
		return dst
	}
	t.searching.Lock()
	defer t.searching.Unlock()
	c := contest[V]{group: group, want: min(n, n/len(t.shards)*5/4+8), limit: victimsLooked, accept: accept}
	got := c.run(t.shards, dst, n)
	if len(got) == len(dst) && c.limited {
		c.limit = 0
		got = c.run(t.shards, dst, n)
	}
	return got
}

// contest merges the first victims of all shards and groups.
type contest[V any] struct {
	group   int // or Every
	want    int // of each group of a shard
	limit   int // items asked about in each, 0: all
	limited bool
	accept  func(it *Item[V]) bool
}

// contender is what one group of a shard offers.
type contender[V any] struct {
	ready []candidate[V] // ascending
	more  bool           // it has others behind them
}

type candidate[V any] struct {
	item *Item[V]
	rank rank
}

func (c *contest[V]) run(shards []Shard[V], dst []*Item[V], n int) []*Item[V] {
	h := heap[*contender[V]]{before: func(a, b **contender[V]) bool { return (*a).ready[0].rank.less((*b).ready[0].rank) }}
	for i := range shards {
		for _, o := range c.ask(&shards[i]) {
			h.push(o)
		}
	}
	for ; n > 0 && len(h.items) > 0; n-- {
		o := h.items[0]
		dst = append(dst, o.ready[0].item)
		if o.ready = o.ready[1:]; len(o.ready) > 0 {
			h.fixRoot()
			continue
		}
		if o.more { // its next one may come before all others
			return dst
		}
		h.pop()
	}
	return dst
}

// ask collects the first victims of a shard, for each of its groups that has any.
func (c *contest[V]) ask(sh *Shard[V]) (list []*contender[V]) {
	sh.lockSoon()
	defer sh.Unlock()
	for _, g := range sh.chosen(c.group) {
		if g.rank == nil || g.list.len == 0 {
			continue
		}
		if o := c.collect(g.rank); len(o.ready) > 0 {
			list = append(list, o)
		}
	}
	return list
}

func (c *contest[V]) collect(from ranking[V]) *contender[V] {
	o, looked := &contender[V]{}, 0
	from.walk(func(it *Item[V], r rank) verdict {
		v := passed
		if c.accept == nil || c.accept(it) {
			o.ready = append(o.ready, candidate[V]{it, r})
			v = taken
		}
		if looked++; looked == c.limit {
			c.limited = true
		} else if len(o.ready) < c.want {
			return v
		}
		o.more = true
		return enough
	})
	return o
}
