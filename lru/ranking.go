package lru

import (
	"fmt"
	"slices"
	"strings"
)

// Policy is an order in which sessions are evicted.
type Policy string

const (
	// LRU evicts the least recently used session first.
	LRU Policy = "lru"
	// SLRU is segmented LRU (Karedla, Love, Wherry 1994): sessions that were used once go before those used again.
	SLRU Policy = "slru"
	// S3FIFO is three queues, first in, first out (Yang, Zhang, Qiu, Yue, Vinayak; SOSP 2023).
	S3FIFO Policy = "s3fifo"
	// GDSF is GreedyDual-Size with frequency (Cherkasova 1998): many small sessions rather than few large ones.
	GDSF Policy = "gdsf"
)

// Policies returns all of them, the default first.
func Policies() []Policy { return []Policy{LRU, SLRU, S3FIFO, GDSF} }

// ParsePolicy finds a policy by its name. The error names those that there are.
func ParsePolicy(name string) (Policy, error) {
	if slices.Contains(Policies(), Policy(name)) {
		return Policy(name), nil
	}
	var names []string
	for _, p := range Policies() {
		names = append(names, string(p))
	}
	return "", fmt.Errorf("policy %q is unknown: write one of %s", name, strings.Join(names, ", "))
}

// visit is how far apart, in milliseconds, two accesses must be to count as two for a policy that counts: a bot that starts
// sends several commands at once, and would look popular for it. (The "correlated reference period" of O'Neil, O'Neil and
// Weikum's LRU-K, SIGMOD 1993.)
const visit = 10_000

// ranking is the order in which one group of a shard gives up its listed items, where that is not the recency list. It is
// single-threaded; Shard adds the lock. Item.place belongs to it.
type ranking[V any] interface {
	add(it *Item[V])              // the item has been listed
	recover(it *Item[V])          // the same after a restart: what it was before must be guessed from LastAccess and Hits
	touch(it *Item[V], now int64) // a listed item was accessed
	resize(it *Item[V])           // Bytes of a listed item has changed
	remove(it *Item[V])           // the item is listed no more: evicted, as far as a policy need know
	forget(it *Item[V])           // an unlisted item has left the table
	// walk asks f about listed items, the next victim first, until it has enough. A lower rank goes before those of other
	// shards and groups. It may reorder what it passes over, as policies do that decide while they look for a victim.
	walk(f func(it *Item[V], r rank) verdict)
}

// verdict is what becomes of an item that walk asks about.
type verdict uint8

const (
	passed verdict = iota // it may not be evicted now
	taken                 // it is as good as gone
	enough                // nobody behind it is asked about, taken or not
)

// rank compares victims of different shards: a lower class first, then a lower value.
type rank struct {
	class uint8
	value float64
}

func (r rank) less(o rank) bool {
	if r.class != o.class {
		return r.class < o.class
	}
	return r.value < o.value
}

// newRanking returns nil for LRU.
func newRanking[V any](p Policy, l *inflation) ranking[V] {
	switch p {
	case SLRU:
		return &slru[V]{}
	case S3FIFO:
		return &s3fifo[V]{}
	case GDSF:
		return &gdsf[V]{shared: l}
	}
	return nil
}

// Policy returns the order of eviction.
func (t *Table[V]) Policy() Policy {
	t.searching.Lock()
	defer t.searching.Unlock()
	return t.order
}

// SetPolicy changes the order of eviction, at any time. What the new policy would know by now is guessed from access times and
// hits. Each shard stays locked while its items are put into the new order, a few milliseconds for 16,000 items.
func (t *Table[V]) SetPolicy(p Policy) {
	t.searching.Lock()
	defer t.searching.Unlock()
	if t.order == p {
		return
	}
	t.order = p
	for i := range t.shards {
		sh := &t.shards[i]
		sh.Lock()
		sh.newRank = t.rankings(p)
		sh.rerank()
		sh.Unlock()
	}
}

// rankings returns what makes the ranking of a group.
func (t *Table[V]) rankings(p Policy) func() ranking[V] {
	return func() ranking[V] { return newRanking[V](p, &t.inflation) }
}

func (sh *Shard[V]) rerank() {
	for _, it := range sh.items.items(nil) {
		it.place = 0
	}
	for _, g := range sh.groups {
		if g.rank = sh.newRank(); g.rank == nil {
			continue
		}
		for it := g.list.oldest; it != nil; it = it.next {
			g.rank.recover(it)
		}
	}
}
