package lru

import (
	"math"
	"math/bits"
)

// Ghosts remembers evictions, so that a session which comes back can be asked how much more memory would have kept it. For LRU that is
// exact, by the stack distances of R. L. Mattson, J. Gecsei, D. R. Slutz, I. L. Traiger, "Evaluation techniques for storage hierarchies",
// IBM Systems Journal 9(2), 1970, weighted by bytes: whatever is resident was used later than any session that is out, and of those that are
// out those that left later were used later. So a larger memory would have had to hold what is resident and, of what is out, what left
// later. That sum is a Fenwick tree's (P. M. Fenwick, "A New Data Structure for Cumulative Frequency Tables", 1994) over a ring of the last
// evictions. Under other policies it is an estimate.
//
// A session is not named here: its owner keeps the number that Leave returns. The ring has 12 bytes for each eviction since the oldest
// one whose session is still out, and as many again while it grows, but never more than MostGhosts places: 3 MB. Not safe for many
// goroutines at once.
type Ghosts struct {
	sizes []uint32 // by place in the ring, in grains; 0: it came back, or there was none
	tree  []int64  // Fenwick's, over sizes; place n stands at n+1
	last  uint32   // number of the last eviction, 0: there was none. Numbers go round and pass over 0
}

const (
	// MostGhosts is how many evictions are remembered at most. What left earlier is not known any more.
	MostGhosts = 1 << 18
	fewGhosts  = 1 << 8
	grain      = 64 // bytes
)

// Leave notes an eviction of so many bytes and returns its number, never 0.
func (g *Ghosts) Leave(size int64) uint32 {
	next := g.last + 1
	if next == 0 { // 0 means none: its place stays empty once in four billion evictions
		g.clear(0)
		next = 1
	}
	if n := len(g.sizes); n == 0 || n < MostGhosts && g.sizes[g.place(next)] != 0 {
		g.grow(max(2*n, fewGhosts), next)
	}
	g.last = next
	g.clear(g.place(next))
	grains := min(max((size+grain-1)/grain, 1), math.MaxUint32)
	g.sizes[g.place(next)] = uint32(grains)
	g.add(g.place(next), grains)
	return next
}

// Return notes that the session with this number came back. later is how many bytes are out that left after it; ok is false if its eviction
// is not known any more.
func (g *Ghosts) Return(number uint32) (later int64, ok bool) {
	if number == 0 || len(g.sizes) == 0 || g.last-number >= uint32(len(g.sizes)) || g.sizes[g.place(number)] == 0 {
		return 0, false
	}
	from, to := g.place(number), g.place(g.last)
	later = g.upTo(to) - g.upTo(from)
	if from > to { // the ring's end lies between
		later += g.upTo(len(g.sizes) - 1)
	}
	g.clear(from)
	return later * grain, true
}

// Out is how many bytes left and did not come back, as far as that is remembered.
func (g *Ghosts) Out() int64 {
	if len(g.sizes) == 0 {
		return 0
	}
	return g.upTo(len(g.sizes)-1) * grain
}

func (g *Ghosts) place(number uint32) int { return int(number & uint32(len(g.sizes)-1)) }

func (g *Ghosts) clear(place int) {
	if old := g.sizes[place]; old != 0 {
		g.add(place, -int64(old))
		g.sizes[place] = 0
	}
}

// grow makes room for n places, a power of two; next is the number that waits.
func (g *Ghosts) grow(n int, next uint32) {
	old := *g
	g.sizes, g.tree = make([]uint32, n), make([]int64, n+1)
	for back := uint32(1); int(back) <= len(old.sizes); back++ {
		if size := old.sizes[old.place(next-back)]; size != 0 {
			g.sizes[g.place(next-back)] = size
			g.add(g.place(next-back), int64(size))
		}
	}
}

func (g *Ghosts) add(place int, grains int64) {
	for i := place + 1; i < len(g.tree); i += i & -i {
		g.tree[i] += grains
	}
}

// upTo sums up the places from the first to this one.
func (g *Ghosts) upTo(place int) (sum int64) {
	for i := place + 1; i > 0; i &= i - 1 {
		sum += g.tree[i]
	}
	return sum
}

// Spread is a histogram of sizes from 1 MB to some terabytes, each class a twenty-third wider than the one before. The zero value is empty.
type Spread [spreadClasses]uint32

const (
	perDoubling   = 16
	spreadFrom    = 20 // 1 MB is 1<<20
	spreadClasses = 24*perDoubling + 1
)

// Add counts a size in bytes.
func (s *Spread) Add(size int64) { s[spreadClass(size)]++ }

// AddAll counts everything that other has counted.
func (s *Spread) AddAll(other *Spread) {
	for i := range s {
		s[i] += other[i]
	}
}

// Covering is a size that so many percent of all that was counted do not exceed, 0 if nothing was. It is less than a twentieth above the
// smallest that would do.
func (s *Spread) Covering(percent int) int64 {
	var all, sum int64
	for _, n := range s {
		all += int64(n)
	}
	for i, n := range s {
		if sum += int64(n); all > 0 && sum*100 >= all*int64(percent) {
			return spreadEnd(i)
		}
	}
	return 0
}

func spreadClass(size int64) int {
	if size <= 1<<spreadFrom {
		return 0
	}
	class := (bits.Len64(uint64(size)) - 1 - spreadFrom) * perDoubling // ends at the power of two below
	for class < spreadClasses-1 && spreadEnd(class) < size {
		class++
	}
	return min(class, spreadClasses-1)
}

// spreadEnd is the largest size of a class.
func spreadEnd(class int) int64 {
	return int64(math.Ceil(math.Exp2(spreadFrom + float64(class)/perDoubling)))
}
