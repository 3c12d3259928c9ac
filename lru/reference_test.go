package lru

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// record is an item of the reference model.
type record struct {
	key    string
	at     int64
	hits   uint64
	bytes  int64
	listed bool
}

// reference is the table as one would write it without caring for speed: a map, sorted anew for every question.
type reference map[string]*record

// oldest returns listed records of keys that accept takes, before the given time, ascending by access time.
func (m reference) oldest(before int64, accept func(key string) bool) []*record {
	var all []*record
	for _, r := range m {
		if r.listed && r.at < before && accept(r.key) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *record) int { return cmp.Compare(a.at, b.at) })
	return all
}

func (m reference) totals() Totals {
	sum := Totals{Len: len(m)}
	for _, r := range m {
		if r.listed {
			sum.Listed++
			sum.Bytes += r.bytes
		}
	}
	return sum
}

// world applies random operations to a table and to the reference alike.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	table *Table[int]
	model reference
	now   int64
	keys  int

	groups int // into which keys fall by their last digit
}

func (w *world) groupOf(key string) int { return int(key[len(key)-1]-'0') % w.groups }

func (w *world) step() {
	key := "session-" + strconv.Itoa(w.rng.IntN(w.keys))
	if w.rng.IntN(20) == 0 {
		w.now += int64(w.rng.IntN(3))
	}
	sh := w.table.Shard([]byte(key))
	sh.Lock()
	defer sh.Unlock()
	it, r := sh.Get([]byte(key)), w.model[key]
	if (it == nil) != (r == nil) || it != sh.GetString(key) {
		w.t.Fatalf("%s: table has it: %v, reference: %v", key, it != nil, r != nil)
	}
	if it == nil {
		at := w.now - int64(w.rng.IntN(50))
		it, r = sh.Add(key, at), &record{key: key, at: at}
		w.model[key] = r
	}
	w.change(sh, it, r)
	if it.LastAccess != r.at || it.Hits != r.hits || it.Bytes != r.bytes || sh.Listed(it) != r.listed {
		w.t.Fatalf("%s: table holds %d %d %d %v, reference %+v", key, it.LastAccess, it.Hits, it.Bytes, sh.Listed(it), *r)
	}
}

func (w *world) change(sh *Shard[int], it *Item[int], r *record) {
	switch op := w.rng.IntN(100); {
	case op < 60:
		sh.Touch(it, w.now)
		r.at, r.hits = w.now, r.hits+1
	case op < 75:
		sh.List(it)
		r.listed = true
	case op < 82:
		sh.Unlist(it)
		r.listed = false
	case op < 92:
		n := w.rng.Int64N(1<<20) - 100
		sh.SetBytes(it, n)
		r.bytes = max(n, 0)
	default:
		sh.Remove(it)
		sh.Remove(it)
		r.listed = false
		delete(w.model, it.Key)
	}
}

// compare asks both for totals, victims and rankings.
func (w *world) compare() {
	if got, want := w.table.Totals(), w.model.totals(); got != want {
		w.t.Fatalf("totals are %+v, want %+v", got, want)
	}
	n, before := 1+w.rng.IntN(w.keys), w.now-int64(w.rng.IntN(40))
	refuse := strconv.Itoa(w.rng.IntN(10))
	accept := func(key string) bool { return key[len(key)-1:] != refuse }
	got := w.table.OldestBefore(nil, n, before, func(it *Item[int]) bool { return accept(it.Key) })
	w.checkVictims(got, w.model.oldest(before, accept), n, accept)
	group := w.rng.IntN(5)
	inGroup := func(key string) bool { return w.groupOf(key) == group && accept(key) }
	got = w.table.OldestIn(group, nil, n, before, func(it *Item[int]) bool { return accept(it.Key) })
	w.checkVictims(got, w.model.oldest(before, inGroup), n, inGroup)
	w.checkGroups()
	checkLists(w.t, w.table)
}

// checkGroups wants the sums of every group.
func (w *world) checkGroups() {
	want := make([]GroupTotals, 5)
	for _, r := range w.model {
		if r.listed {
			want[w.groupOf(r.key)].Listed++
			want[w.groupOf(r.key)].Bytes += r.bytes
		}
	}
	for i, got := range append(w.table.Groups(nil), make([]GroupTotals, 5)...)[:5] {
		if got != want[i] {
			w.t.Fatalf("group %d sums up to %+v, want %+v", i, got, want[i])
		}
	}
}

// checkVictims wants the same access times in the same order: among equal times any item will do, once.
func (w *world) checkVictims(got []*Item[int], want []*record, n int, accept func(string) bool) {
	want = want[:min(n, len(want))]
	if len(got) != len(want) {
		w.t.Fatalf("got %d victims, want %d", len(got), len(want))
	}
	seen := map[string]bool{}
	for i, it := range got {
		r := w.model[it.Key]
		if r == nil || !r.listed || seen[it.Key] || !accept(it.Key) || r.at != want[i].at {
			w.t.Fatalf("victim %d is %s of %d, want one of %d", i, it.Key, it.LastAccess, want[i].at)
		}
		seen[it.Key] = true
	}
}

// checkLists verifies order, links, membership and sums of every list.
func checkLists[V any](t *testing.T, table *Table[V]) {
	t.Helper()
	for i := range table.shards {
		sh := &table.shards[i]
		sh.Lock()
		for number, g := range sh.groups {
			n, bytes, prev := 0, int64(0), (*Item[V])(nil)
			for it := g.list.oldest; it != nil; it = it.next {
				if it.prev != prev || !it.listed || int(it.group) != number || sh.GetString(it.Key) != it || (prev != nil && prev.LastAccess > it.LastAccess) {
					t.Fatalf("shard %d, group %d: list is broken at item %d", i, number, n)
				}
				n, bytes, prev = n+1, bytes+it.Bytes, it
			}
			if g.list.newest != prev || n != g.list.len || bytes != g.list.bytes {
				t.Fatalf("shard %d, group %d: list counts %d items and %d bytes, has %d and %d", i, number, g.list.len, g.list.bytes, n, bytes)
			}
		}
		sh.Unlock()
	}
}

func TestRandomOperationsMatchReference(t *testing.T) {
	for _, c := range []struct{ shards, groups int }{{1, 1}, {4, 1}, {64, 1}, {1, 3}, {4, 5}, {64, 2}} {
		t.Run(fmt.Sprintf("%d/%d", c.shards, c.groups), func(t *testing.T) {
			w := &world{t: t, rng: rand.New(rand.NewPCG(1, uint64(c.shards))), table: New[int](c.shards), model: reference{},
				now: 1_000_000, keys: 300, groups: c.groups}
			if c.groups > 1 {
				w.table = NewGrouped[int](c.shards, w.groupOf)
			}
			for i := range 100_000 {
				w.step()
				if i%200 == 0 {
					w.compare()
				}
			}
		})
	}
}

// TestEvictionOrderOfAMillionAccesses plays skewed accesses in real time order and takes victims out all along; each must
// be the very session that exact LRU takes.
func TestEvictionOrderOfAMillionAccesses(t *testing.T) {
	const keys = 50_000
	rng := rand.New(rand.NewPCG(7, 7))
	zipf := rand.NewZipf(rng, 1.05, 50, keys-1)
	table := New[struct{}](0)
	order := newExactLRU(keys)
	for now := range int64(1_000_000) {
		id := int(zipf.Uint64())
		key := strconv.Itoa(id)
		sh := table.ShardString(key)
		sh.Lock()
		it := sh.GetString(key)
		if it == nil {
			it = sh.Add(key, now)
		}
		sh.Touch(it, now)
		sh.List(it)
		sh.Unlock()
		order.use(id)
		if now%10_000 == 9_999 {
			evictBoth(t, table, order, 200)
		}
	}
	evictBoth(t, table, order, keys)
	if table.Listed() != 0 {
		t.Fatalf("%d sessions are left", table.Listed())
	}
}

func evictBoth(t *testing.T, table *Table[struct{}], order *exactLRU, n int) {
	t.Helper()
	for i, it := range table.Oldest(nil, n, nil) {
		if want := strconv.Itoa(order.evict()); it.Key != want {
			t.Fatalf("victim %d is %s, want %s", i, it.Key, want)
		}
		sh := table.ShardString(it.Key)
		sh.Lock()
		sh.Unlist(it)
		sh.Unlock()
	}
}

// exactLRU is the textbook algorithm on arrays, sharing nothing with the list under test: a queue of uses, of which only the
// last of each id counts.
type exactLRU struct {
	queue []int
	head  int
	last  []int // index of an id's last use in queue, -1: evicted
}

func newExactLRU(ids int) *exactLRU { return &exactLRU{last: slices.Repeat([]int{-1}, ids)} }

func (l *exactLRU) use(id int) {
	l.last[id] = len(l.queue)
	l.queue = append(l.queue, id)
}

// evict returns -1 when nothing is left.
func (l *exactLRU) evict() int {
	for ; l.head < len(l.queue); l.head++ {
		if id := l.queue[l.head]; l.last[id] == l.head {
			l.last[id] = -1
			return id
		}
	}
	return -1
}
