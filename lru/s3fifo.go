package lru

// s3fifo is S3-FIFO: J. Yang, Y. Zhang, Z. Qiu, Y. Yue, R. Vinayak, "FIFO Queues are All You Need for Cache Eviction", SOSP
// 2023. A session comes into the small queue, which has a tenth of the bytes; whoever was visited twice by the time it reaches
// the small queue's end goes on to the main queue, others are evicted and remembered. A session that comes back while it is
// remembered goes straight to the main queue, where each visit, up to three, is worth one more round. As many evicted ones are
// remembered as the main queue has room for: nine tenths of the number that is resident.
//
// The sizes that the paper gives as shares of the capacity are shares of what is resident here: the budget is kept by whoever
// asks for victims.
type s3fifo[V any] struct {
	seats  seats[V]
	queues [3]queue
	now    int64 // the latest time seen
}

const (
	small = 0
	main  = 1
	ghost = 2
	// smallShare is the small queue's part of the resident bytes, in percent.
	smallShare = 10
	// promoteFrom is how many visits in the small queue lead to the main queue.
	promoteFrom = 2
	// mostVisits is up to where visits are counted.
	mostVisits = 3
)

func (p *s3fifo[V]) add(it *Item[V]) {
	q := uint8(small)
	if it.place != 0 { // remembered
		q = main
	}
	p.enter(it, q)
}

// recover guesses: whoever was used more than once belongs to the main queue.
func (p *s3fifo[V]) recover(it *Item[V]) {
	if it.Hits > 1 {
		p.enter(it, main)
		return
	}
	p.enter(it, small)
}

func (p *s3fifo[V]) enter(it *Item[V], q uint8) {
	p.now = max(p.now, it.LastAccess)
	p.forget(it)
	n := p.seats.take(it)
	n.at, n.since, n.queue, n.freq = it.LastAccess, p.now, q, 0
	p.seats.push(&p.queues[q], it.place)
}

// touch counts a visit. The queues stay as they are: this is what makes FIFO queues cheap.
func (p *s3fifo[V]) touch(it *Item[V], now int64) {
	n := &p.seats.all[it.place]
	if now-n.at < visit && now >= n.at {
		return
	}
	p.now = max(p.now, now)
	n.at, n.freq = now, min(n.freq+1, mostVisits)
}

func (p *s3fifo[V]) resize(it *Item[V]) {
	p.seats.resize(&p.queues[p.seats.all[it.place].queue], it.place)
}

// remove remembers what was evicted from the small queue.
func (p *s3fifo[V]) remove(it *Item[V]) {
	n := &p.seats.all[it.place]
	p.seats.pull(&p.queues[n.queue], it.place)
	if n.queue != small {
		p.seats.give(it)
		return
	}
	n.queue = ghost
	p.seats.push(&p.queues[ghost], it.place)
	for g := &p.queues[ghost]; g.len > p.ghosts(); {
		oldest := p.seats.all[g.oldest].item
		p.seats.pull(g, g.oldest)
		p.seats.give(oldest)
	}
}

// ghosts is how many are remembered: as many as the main queue has room for.
func (p *s3fifo[V]) ghosts() int {
	return max((p.queues[small].len+p.queues[main].len)*(100-smallShare)/100, 1)
}

func (p *s3fifo[V]) forget(it *Item[V]) {
	if it.place != 0 {
		p.seats.pull(&p.queues[ghost], it.place)
		p.seats.give(it)
	}
}

// walk looks for victims in the small queue while it has more than its share, then in the main queue, then in what is left of the
// small one. Those that have earned more time are moved on the way; none is moved twice in one walk unless all are.
func (p *s3fifo[V]) walk(f func(it *Item[V], r rank) verdict) {
	var gone int64 // bytes taken so far
	id := p.queues[small].oldest
	for id != 0 && p.smallIsOver(gone) {
		n := &p.seats.all[id]
		next := n.next
		if n.freq >= promoteFrom {
			p.move(id, main)
			n.freq = 0
		} else {
			switch f(n.item, rank{0, float64(n.since)}) {
			case enough:
				return
			case taken:
				gone += n.bytes
			}
		}
		id = next
	}
	if !p.walkMain(f) {
		return
	}
	for ; id != 0; id = p.seats.all[id].next {
		if n := &p.seats.all[id]; f(n.item, rank{2, float64(n.since)}) == enough {
			return
		}
	}
}

// walkMain gives visited sessions their further rounds; false: f has enough.
func (p *s3fifo[V]) walkMain(f func(it *Item[V], r rank) verdict) bool {
	m := &p.queues[main]
	// A session comes by at most once for each of its visits, and once more to be offered.
	for id, left := m.oldest, m.len*(mostVisits+1); id != 0 && left > 0; left-- {
		n := &p.seats.all[id]
		next := n.next
		if n.freq > 0 {
			n.freq--
			p.move(id, main)
			if next == 0 {
				next = id
			}
		} else if f(n.item, rank{1, float64(n.since)}) == enough {
			return false
		}
		id = next
	}
	return true
}

// move puts a seat at the new end of a queue.
func (p *s3fifo[V]) move(id uint32, q uint8) {
	n := &p.seats.all[id]
	p.seats.pull(&p.queues[n.queue], id)
	n.queue, n.since = q, p.now
	p.seats.push(&p.queues[q], id)
}

// smallIsOver says whether the small queue would have more than its share with so many bytes of it gone.
func (p *s3fifo[V]) smallIsOver(gone int64) bool {
	left := p.queues[small].bytes - gone
	return 100*left > smallShare*(left+p.queues[main].bytes)
}
