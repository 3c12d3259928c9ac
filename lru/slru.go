package lru

// slru is segmented LRU: R. Karedla, J. S. Love, B. G. Wherry, "Caching Strategies to Improve Disk System Performance", IEEE
// Computer 27(3), 1994. A session comes in on probation; a second visit protects it. When protected sessions take more than
// their share, the least recently visited of them goes back on probation, as its newest. Victims are the oldest on probation,
// then the oldest protected. A fleet's boot, which visits every session once, passes through probation only.
type slru[V any] struct {
	seats  seats[V]
	queues [2]queue
	now    int64 // the latest time seen
}

const (
	probation = 0
	protected = 1
	// protectedShare is how much of the resident bytes may be protected, in percent. The paper leaves it open; 80 is what
	// later users of it chose (Caffeine, RocksDB's high-priority pool is near it).
	protectedShare = 80
)

func (p *slru[V]) add(it *Item[V]) { p.enter(it, probation) }

// recover guesses: whoever was used more than once was visited again.
func (p *slru[V]) recover(it *Item[V]) {
	if it.Hits > 1 {
		p.enter(it, protected)
		p.demote()
		return
	}
	p.enter(it, probation)
}

func (p *slru[V]) enter(it *Item[V], q uint8) {
	p.now = max(p.now, it.LastAccess)
	n := p.seats.take(it)
	n.at, n.since, n.queue = it.LastAccess, p.now, q
	p.seats.push(&p.queues[q], it.place)
}

func (p *slru[V]) touch(it *Item[V], now int64) {
	n := &p.seats.all[it.place]
	if now-n.at < visit && now >= n.at {
		return
	}
	p.now = max(p.now, now)
	p.seats.pull(&p.queues[n.queue], it.place)
	n.at, n.since, n.queue = now, p.now, protected
	p.seats.push(&p.queues[protected], it.place)
	p.demote()
}

// demote brings the protected segment back to its share; its newest stays, however large it is.
func (p *slru[V]) demote() {
	prot, prob := &p.queues[protected], &p.queues[probation]
	for prot.len > 1 && 100*prot.bytes > protectedShare*(prot.bytes+prob.bytes) {
		id := prot.oldest
		p.seats.pull(prot, id)
		n := &p.seats.all[id]
		n.queue, n.since = probation, p.now
		p.seats.push(prob, id)
	}
}

func (p *slru[V]) resize(it *Item[V]) {
	p.seats.resize(&p.queues[p.seats.all[it.place].queue], it.place)
}

func (p *slru[V]) remove(it *Item[V]) {
	p.seats.pull(&p.queues[p.seats.all[it.place].queue], it.place)
	p.seats.give(it)
}

func (p *slru[V]) forget(*Item[V]) {}

func (p *slru[V]) walk(f func(it *Item[V], r rank) verdict) {
	for q := range p.queues {
		for id := p.queues[q].oldest; id != 0; id = p.seats.all[id].next {
			n := &p.seats.all[id]
			if f(n.item, rank{uint8(q), float64(n.since)}) == enough {
				return
			}
		}
	}
}
