package lru

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// stack is Mattson's, as in the paper: all sessions, the one used last in front.
type stack struct {
	order []int
	size  []int64
}

// use moves a session to the front and returns how many bytes stood before it; -1: it is new.
func (s *stack) use(id int) int64 {
	at := slices.Index(s.order, id)
	var before int64
	if at < 0 {
		before = -1
	} else {
		for _, other := range s.order[:at] {
			before += s.size[other]
		}
		s.order = slices.Delete(s.order, at, at+1)
	}
	s.order = slices.Insert(s.order, 0, id)
	return before
}

// A memory that evicts the least recently used, with Ghosts beside it, says of every return what the whole stack says.
func TestGhostsAgainstStackDistances(t *testing.T) {
	const sessions, uses, limit = 900, 30_000, 200 * 10 * grain
	r := rand.New(rand.NewPCG(1, 2))
	ref := stack{size: make([]int64, sessions)}
	for i := range ref.size {
		ref.size[i] = int64(1+r.IntN(20)) * grain
	}
	var g Ghosts
	g.last = ^uint32(0) - uses/4 // the numbers go round in the middle
	var resident []int           // the one used last in front
	var used int64
	number := make([]uint32, sessions)
	returns := 0
	for range uses {
		id := min(r.IntN(sessions), r.IntN(sessions))
		want := ref.use(id)
		if at := slices.Index(resident, id); at >= 0 {
			resident = slices.Delete(resident, at, at+1)
		} else {
			if number[id] != 0 {
				later, ok := g.Return(number[id])
				if got := used + later; !ok || got != want {
					t.Fatalf("session %d: %d bytes, %t, want %d", id, got, ok, want)
				}
				number[id] = 0
				returns++
			} else if want >= 0 {
				t.Fatalf("session %d was used before and is nowhere", id)
			}
			used += ref.size[id]
		}
		resident = slices.Insert(resident, 0, id)
		for used > limit {
			victim := resident[len(resident)-1]
			resident = resident[:len(resident)-1]
			used -= ref.size[victim]
			number[victim] = g.Leave(ref.size[victim])
		}
	}
	if returns < uses/10 || g.last > uses {
		t.Fatalf("%d returns, the last eviction has the number %d: that shows nothing", returns, g.last)
	}
}

// The ring takes so much and no more, and what has fallen out of it is not known.
func TestGhostsAreBounded(t *testing.T) {
	var g Ghosts
	first := g.Leave(grain)
	var last uint32
	for range MostGhosts {
		last = g.Leave(grain)
	}
	if len(g.sizes) != MostGhosts || g.Out() != MostGhosts*grain {
		t.Errorf("%d places, %d bytes out", len(g.sizes), g.Out())
	}
	if _, ok := g.Return(first); ok {
		t.Error("the first eviction is still known")
	}
	if later, ok := g.Return(first + 1); !ok || later != (MostGhosts-1)*grain {
		t.Errorf("the second: %d, %t", later, ok)
	}
	if later, ok := g.Return(last); !ok || later != 0 {
		t.Errorf("the last: %d, %t", later, ok)
	}
	for _, n := range []uint32{0, last, last + 1} {
		if _, ok := g.Return(n); ok {
			t.Errorf("%d came back, which is not out", n)
		}
	}
}

func TestSpread(t *testing.T) {
	var s, sum Spread
	if s.Covering(90) != 0 {
		t.Error("an empty one covers something")
	}
	for i := range 100 {
		s.Add(int64(i+1) << 20)
	}
	sum.AddAll(&s)
	for percent := 1; percent <= 100; percent++ {
		if got, want := sum.Covering(percent), int64(percent)<<20; got < want || got > want+want/20 {
			t.Errorf("%d %%: %d, want %d", percent, got, want)
		}
	}
	for _, size := range []int64{-1, 0, 1, 1 << 20, 1<<20 + 1, 1<<40 + 1, 1 << 44, 1 << 62} {
		var one Spread
		one.Add(size)
		if got := one.Covering(1); got < min(size, 1<<44) || size > 1<<20 && size < 1<<44 && got > size+size/20 {
			t.Errorf("%d: %d", size, got)
		}
	}
}

func BenchmarkGhosts(b *testing.B) {
	var g Ghosts
	var numbers [50_000]uint32
	for i := 0; b.Loop(); i++ {
		n := &numbers[i%len(numbers)]
		g.Return(*n)
		*n = g.Leave(1 << 20)
	}
}
