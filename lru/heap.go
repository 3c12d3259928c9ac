package lru

// heap is a binary heap with the first item by before at the root. Unlike container/heap it needs no interface values, so it
// allocates nothing but its slice.
type heap[T any] struct {
	items  []T
	before func(a, b *T) bool
}

func (h *heap[T]) push(v T) {
	h.items = append(h.items, v)
	for i := len(h.items) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h.before(&h.items[i], &h.items[parent]) {
			return
		}
		h.items[i], h.items[parent] = h.items[parent], h.items[i]
		i = parent
	}
}

// pop removes the root of a heap that is not empty.
func (h *heap[T]) pop() T {
	root, last := h.items[0], len(h.items)-1
	h.items[0] = h.items[last]
	var zero T
	h.items[last] = zero // nothing must be kept alive by the spare capacity
	h.items = h.items[:last]
	h.fixRoot()
	return root
}

// fixRoot restores the order after the root changed.
func (h *heap[T]) fixRoot() {
	for i := 0; ; {
		first := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h.items); child++ {
			if h.before(&h.items[child], &h.items[first]) {
				first = child
			}
		}
		if first == i {
			return
		}
		h.items[i], h.items[first] = h.items[first], h.items[i]
		i = first
	}
}
