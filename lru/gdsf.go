package lru

import (
	"math"
	"sync/atomic"
)

// gdsf is GreedyDual-Size with frequency: L. Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency
// Caching Policy", HP Laboratories report HPL-98-69, 1998. The victim is the session with the lowest priority
//
//	inflation at its last visit + visits since it came / size
//
// and inflation is the highest priority evicted so far: so what is not visited grows old, large sessions sooner than small ones.
// Every restore is taken to cost the same; then the policy is about as few restores as possible.
type gdsf[V any] struct {
	shared *inflation // of the whole table: shards must age together
	heap   []rated[V] // the lowest priority first; Item.place is the index of the item's entry, plus 1
}

// rated is an item with what its priority is made of.
type rated[V any] struct {
	item     *Item[V]
	priority float64
	base     float64 // inflation at the last visit
	at       int64   // the last visit that was counted, unix milliseconds
	visits   float64
}

// inflation is a number that only rises.
type inflation struct{ bits atomic.Uint64 }

func (l *inflation) load() float64 { return math.Float64frombits(l.bits.Load()) }

// raise is right without loops by callers: positive floats compare as their bits do.
func (l *inflation) raise(to float64) {
	for want := math.Float64bits(to); ; {
		have := l.bits.Load()
		if have >= want || l.bits.CompareAndSwap(have, want) {
			return
		}
	}
}

// leastSize is what the smallest session counts for, in bytes: Redis spends about as much on two empty keys, and a session whose
// size is not known yet must not look infinitely valuable.
const leastSize = 256

func (r *rated[V]) rate() {
	r.priority = r.base + r.visits*leastSize/float64(max(r.item.Bytes, leastSize))
}

func (p *gdsf[V]) add(it *Item[V]) { p.enter(it, 1) }

// recover takes the hits of a session's life for the visits since it came; of those that come as thousands within seconds a
// square root is about what would have been counted.
func (p *gdsf[V]) recover(it *Item[V]) { p.enter(it, max(1, math.Sqrt(float64(it.Hits)))) }

func (p *gdsf[V]) enter(it *Item[V], visits float64) {
	r := rated[V]{item: it, base: p.shared.load(), at: it.LastAccess, visits: visits}
	r.rate()
	p.heap = append(p.heap, r)
	it.place = uint32(len(p.heap))
	p.up(len(p.heap) - 1)
}

func (p *gdsf[V]) touch(it *Item[V], now int64) {
	r := &p.heap[it.place-1]
	if now-r.at < visit && now >= r.at {
		return
	}
	r.at, r.base, r.visits = now, p.shared.load(), r.visits+1
	p.resize(it)
}

func (p *gdsf[V]) resize(it *Item[V]) {
	i := int(it.place - 1)
	p.heap[i].rate()
	p.down(p.up(i))
}

func (p *gdsf[V]) remove(it *Item[V]) {
	i, last := int(it.place-1), len(p.heap)-1
	p.shared.raise(p.heap[i].priority)
	p.heap[i] = p.heap[last]
	p.heap[last] = rated[V]{}
	p.heap, it.place = p.heap[:last], 0
	if i < last {
		p.heap[i].item.place = uint32(i + 1)
		p.down(p.up(i))
	}
}

func (p *gdsf[V]) forget(*Item[V]) {}

// walk goes through the heap in order without changing it: the next one is a child of one that was visited.
func (p *gdsf[V]) walk(f func(it *Item[V], r rank) verdict) {
	if len(p.heap) == 0 {
		return
	}
	next := heap[int]{before: func(a, b *int) bool { return p.heap[*a].priority < p.heap[*b].priority }}
	next.push(0)
	for len(next.items) > 0 {
		i := next.pop()
		if f(p.heap[i].item, rank{value: p.heap[i].priority}) == enough {
			return
		}
		for child := 2*i + 1; child <= 2*i+2 && child < len(p.heap); child++ {
			next.push(child)
		}
	}
}

func (p *gdsf[V]) swap(i, j int) {
	p.heap[i], p.heap[j] = p.heap[j], p.heap[i]
	p.heap[i].item.place, p.heap[j].item.place = uint32(i+1), uint32(j+1)
}

// up moves an entry towards the root as far as it belongs and returns where it is then.
func (p *gdsf[V]) up(i int) int {
	for i > 0 && p.heap[i].priority < p.heap[(i-1)/2].priority {
		p.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	return i
}

func (p *gdsf[V]) down(i int) {
	for {
		first := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(p.heap); child++ {
			if p.heap[child].priority < p.heap[first].priority {
				first = child
			}
		}
		if first == i {
			return
		}
		p.swap(i, first)
		i = first
	}
}
