package lru

// victimsLooked bounds how many items Victims asks about in one shard under one hold of its lock, as long as that gives any.
const victimsLooked = 1024

// Victims appends to dst up to n listed items that accept says yes to, the next to be evicted first, in the order of the
// table's policy; for LRU it is Oldest. Fewer than n may come back, but none only if there is none. What Oldest says of accept
// holds here too.
func (t *Table[V]) Victims(dst []*Item[V], n int, accept func(it *Item[V]) bool) []*Item[V] {
	if t.Policy() == LRU {
		return t.Oldest(dst, n, accept)
	}
	if n <= 0 {
		return dst
	}
	t.searching.Lock()
	defer t.searching.Unlock()
	c := contest[V]{want: min(n, n/len(t.shards)*5/4+8), limit: victimsLooked, accept: accept}
	got := c.run(t.shards, dst, n)
	if len(got) == len(dst) && c.limited {
		c.limit = 0
		got = c.run(t.shards, dst, n)
	}
	return got
}

// contest merges the first victims of all shards.
type contest[V any] struct {
	want    int // of each shard
	limit   int // items asked about in each shard, 0: all
	limited bool
	accept  func(it *Item[V]) bool
}

// contender is what one shard offers.
type contender[V any] struct {
	ready []candidate[V] // ascending
	more  bool           // the shard has others behind them
}

type candidate[V any] struct {
	item *Item[V]
	rank rank
}

func (c *contest[V]) run(shards []Shard[V], dst []*Item[V], n int) []*Item[V] {
	h := heap[*contender[V]]{before: func(a, b **contender[V]) bool { return (*a).ready[0].rank.less((*b).ready[0].rank) }}
	for i := range shards {
		if o := c.ask(&shards[i]); len(o.ready) > 0 {
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
		if o.more { // the shard's next one may come before all others
			return dst
		}
		h.pop()
	}
	return dst
}

// ask collects the first victims of a shard.
func (c *contest[V]) ask(sh *Shard[V]) *contender[V] {
	o, looked := &contender[V]{}, 0
	sh.lockSoon()
	defer sh.Unlock()
	if sh.rank == nil {
		return o
	}
	sh.rank.walk(func(it *Item[V], r rank) verdict {
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
