package lru

// Stat is a copy of what an item held: items themselves change under the locks of their shards.
type Stat struct {
	Key        string
	LastAccess int64 // unix milliseconds
	Hits       uint64
	Bytes      int64
	Listed     bool
}

// LeastRecent orders by last access, the longest ago first.
func LeastRecent(a, b *Stat) bool { return a.LastAccess < b.LastAccess }

// MostHits orders by hits, the most first.
func MostHits(a, b *Stat) bool { return a.Hits > b.Hits }

// MostBytes orders by size, the biggest first.
func MostBytes(a, b *Stat) bool { return a.Bytes > b.Bytes }

// Top appends to dst the first n items, listed or not, in the order in which before says that a comes before b; equal ones
// go by key. It looks at every item (see Range) and keeps at most n of them.
func (t *Table[V]) Top(dst []Stat, n int, before func(a, b *Stat) bool) []Stat {
	if n <= 0 {
		return dst
	}
	total := func(a, b *Stat) bool { return before(a, b) || (!before(b, a) && a.Key < b.Key) }
	// The root is the last of the n best, the one to beat.
	best := heap[Stat]{before: func(a, b *Stat) bool { return total(b, a) }}
	var s Stat // out here, so that it is allocated once and not for every item
	t.Range(func(_ *Shard[V], it *Item[V]) bool {
		s = Stat{it.Key, it.LastAccess, it.Hits, it.Bytes, it.listed}
		if len(best.items) < n {
			best.push(s)
		} else if total(&s, &best.items[0]) {
			best.items[0] = s
			best.fixRoot()
		}
		return true
	})
	start := len(dst)
	dst = append(dst, best.items...)
	for i := len(dst) - 1; i >= start; i-- {
		dst[i] = best.pop()
	}
	return dst
}
