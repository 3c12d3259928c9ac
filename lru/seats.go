package lru

// seats holds the nodes of a shard's queues in one slice, linked by 32-bit numbers: 48 bytes a session instead of two pointers
// more in every item, also where the policy is LRU. Item.place is the number of the item's seat.
type seats[V any] struct {
	all  []seat[V] // the first is never used: 0 is nowhere
	free uint32    // the first of the unused ones, linked by next
}

// seat is a place in a queue.
type seat[V any] struct {
	item       *Item[V]
	at         int64 // the last visit that was counted, unix milliseconds
	since      int64 // when it came to this end of this queue, unix milliseconds
	bytes      int64 // as the queue counts it
	prev, next uint32
	queue      uint8
	freq       uint8
}

// queue is a doubly linked list of seats, the oldest first.
type queue struct {
	oldest, newest uint32
	len            int
	bytes          int64
}

// take gives it a seat, if it has none.
func (s *seats[V]) take(it *Item[V]) *seat[V] {
	if it.place != 0 {
		return &s.all[it.place]
	}
	if s.free == 0 {
		if len(s.all) == 0 {
			s.all = append(s.all, seat[V]{})
		}
		s.all = append(s.all, seat[V]{})
		it.place = uint32(len(s.all) - 1)
	} else {
		it.place = s.free
		s.free = s.all[s.free].next
	}
	n := &s.all[it.place]
	*n = seat[V]{item: it}
	return n
}

// give takes back the seat of it, which stands in no queue.
func (s *seats[V]) give(it *Item[V]) {
	s.all[it.place] = seat[V]{next: s.free}
	s.free, it.place = it.place, 0
}

// push puts a seat at the new end of q.
func (s *seats[V]) push(q *queue, id uint32) {
	n := &s.all[id]
	n.bytes = n.item.Bytes
	n.prev, n.next = q.newest, 0
	if q.newest == 0 {
		q.oldest = id
	} else {
		s.all[q.newest].next = id
	}
	q.newest = id
	q.len++
	q.bytes += n.bytes
}

// pull takes a seat out of q.
func (s *seats[V]) pull(q *queue, id uint32) {
	n := &s.all[id]
	if n.prev == 0 {
		q.oldest = n.next
	} else {
		s.all[n.prev].next = n.next
	}
	if n.next == 0 {
		q.newest = n.prev
	} else {
		s.all[n.next].prev = n.prev
	}
	q.len--
	q.bytes -= n.bytes
}

// resize counts the item's bytes anew.
func (s *seats[V]) resize(q *queue, id uint32) {
	n := &s.all[id]
	q.bytes += n.item.Bytes - n.bytes
	n.bytes = n.item.Bytes
}
