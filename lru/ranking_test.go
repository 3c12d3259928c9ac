package lru

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// model is a policy as one would write it down from its paper, on plain slices, without caring for speed. Sessions are numbers.
type model interface {
	use(id int, now int64)             // a resident session is accessed
	admit(id int, now int64)           // a session is restored
	next(accept func(id int) bool) int // the next victim, -1: none
	evict(id int)                      // it goes
	allowed(id, best int) bool         // whether id is as good a victim as best
	resident(id int) bool
}

// sizes are shared by a model and its world.
type sizes map[int]int64

func (s sizes) of(ids []int) (sum int64) {
	for _, id := range ids {
		sum += s[id]
	}
	return sum
}

func without(ids []int, id int) []int {
	i := slices.Index(ids, id)
	if i < 0 {
		return ids
	}
	return slices.Delete(ids, i, i+1)
}

// visits counts accesses that are ten seconds apart.
type visits map[int]int64

func (v visits) count(id int, now int64) bool {
	if now-v[id] < visit {
		return false
	}
	v[id] = now
	return true
}

type lruModel struct{ order []int }

func (m *lruModel) use(id int, _ int64)     { m.order = append(without(m.order, id), id) }
func (m *lruModel) admit(id int, now int64) { m.use(id, now) }
func (m *lruModel) evict(id int)            { m.order = without(m.order, id) }
func (m *lruModel) allowed(id, best int) bool {
	return id == best
}
func (m *lruModel) resident(id int) bool           { return slices.Contains(m.order, id) }
func (m *lruModel) next(accept func(int) bool) int { return first(m.order, accept) }

func first(ids []int, accept func(int) bool) int {
	if i := slices.IndexFunc(ids, accept); i >= 0 {
		return ids[i]
	}
	return -1
}

type slruModel struct {
	sizes           sizes
	visits          visits
	probation, kept []int
}

func (m *slruModel) use(id int, now int64) {
	if !m.visits.count(id, now) {
		return
	}
	m.probation = without(m.probation, id)
	m.kept = append(without(m.kept, id), id)
	for len(m.kept) > 1 && m.sizes.of(m.kept)*100 > 80*(m.sizes.of(m.kept)+m.sizes.of(m.probation)) {
		m.probation = append(m.probation, m.kept[0])
		m.kept = m.kept[1:]
	}
}
func (m *slruModel) admit(id int, now int64) {
	m.visits[id] = now
	m.probation = append(m.probation, id)
}
func (m *slruModel) evict(id int) {
	m.probation, m.kept = without(m.probation, id), without(m.kept, id)
}
func (m *slruModel) allowed(id, best int) bool { return id == best }
func (m *slruModel) resident(id int) bool {
	return slices.Contains(m.probation, id) || slices.Contains(m.kept, id)
}
func (m *slruModel) next(accept func(int) bool) int {
	return first(slices.Concat(m.probation, m.kept), accept)
}

type s3fifoModel struct {
	sizes              sizes
	visits             visits
	freq               map[int]int
	small, main, ghost []int
}

func (m *s3fifoModel) use(id int, now int64) {
	if m.visits.count(id, now) {
		m.freq[id] = min(m.freq[id]+1, 3)
	}
}
func (m *s3fifoModel) admit(id int, now int64) {
	m.visits[id], m.freq[id] = now, 0
	if slices.Contains(m.ghost, id) {
		m.ghost = without(m.ghost, id)
		m.main = append(m.main, id)
		return
	}
	m.small = append(m.small, id)
}
func (m *s3fifoModel) evict(id int) {
	m.main = without(m.main, id)
	if !slices.Contains(m.small, id) {
		return
	}
	m.small = without(m.small, id)
	m.ghost = append(m.ghost, id)
	m.ghost = m.ghost[max(0, len(m.ghost)-max((len(m.small)+len(m.main))*90/100, 1)):]
}
func (m *s3fifoModel) allowed(id, best int) bool { return id == best }
func (m *s3fifoModel) resident(id int) bool {
	return slices.Contains(m.small, id) || slices.Contains(m.main, id)
}
func (m *s3fifoModel) next(accept func(int) bool) int {
	i := 0
	for i < len(m.small) && m.sizes.of(m.small)*100 > 10*(m.sizes.of(m.small)+m.sizes.of(m.main)) {
		switch id := m.small[i]; {
		case m.freq[id] >= 2:
			m.small = without(m.small, id)
			m.main, m.freq[id] = append(m.main, id), 0
		case accept(id):
			return id
		default:
			i++
		}
	}
	for j := 0; j < len(m.main); {
		switch id := m.main[j]; {
		case m.freq[id] > 0:
			m.freq[id]--
			m.main = append(without(m.main, id), id)
		case accept(id):
			return id
		default:
			j++
		}
	}
	return first(m.small[i:], accept)
}

type gdsfModel struct {
	sizes     sizes
	visits    visits
	base, n   map[int]float64
	inflation float64
}

func (m *gdsfModel) priority(id int) float64 {
	return m.base[id] + m.n[id]*256/float64(max(m.sizes[id], 256))
}
func (m *gdsfModel) use(id int, now int64) {
	if m.visits.count(id, now) {
		m.base[id] = m.inflation
		m.n[id]++
	}
}
func (m *gdsfModel) admit(id int, now int64) {
	m.visits[id], m.base[id], m.n[id] = now, m.inflation, 1
}
func (m *gdsfModel) evict(id int) {
	m.inflation = max(m.inflation, m.priority(id))
	delete(m.n, id)
}
func (m *gdsfModel) allowed(id, best int) bool { return m.priority(id) == m.priority(best) }
func (m *gdsfModel) resident(id int) bool {
	_, ok := m.n[id]
	return ok
}
func (m *gdsfModel) next(accept func(int) bool) int {
	best := -1
	for id := range m.n {
		if accept(id) && (best < 0 || m.priority(id) < m.priority(best)) {
			best = id
		}
	}
	return best
}

func models(s sizes) map[Policy]model {
	return map[Policy]model{
		LRU:    &lruModel{},
		SLRU:   &slruModel{sizes: s, visits: visits{}},
		S3FIFO: &s3fifoModel{sizes: s, visits: visits{}, freq: map[int]int{}},
		GDSF:   &gdsfModel{sizes: s, visits: visits{}, base: map[int]float64{}, n: map[int]float64{}},
	}
}

// TestPoliciesMatchTheirModels plays a million random accesses within a budget, with sessions of many sizes that change, some of
// which may not be evicted at the moment: every victim must be the model's.
func TestPoliciesMatchTheirModels(t *testing.T) {
	accesses := 1_000_000
	if testing.Short() || raceDetector { // it would take minutes
		accesses = 50_000
	}
	for _, p := range Policies() {
		for _, shards := range []int{1, 8} {
			if shards > 1 && (p == SLRU || p == S3FIFO) {
				continue // each shard has its own segments: see TestShardsShareABudget
			}
			t.Run(fmt.Sprintf("%s/shards=%d", p, shards), func(t *testing.T) {
				t.Parallel()
				playAgainstModel(t, p, shards, accesses)
			})
		}
	}
}

func playAgainstModel(t *testing.T, p Policy, shards, accesses int) {
	const keys, budget = 120, 60_000
	rng := rand.New(rand.NewPCG(11, uint64(shards)))
	zipf := rand.NewZipf(rng, 1.1, 4, keys-1)
	size := sizes{}
	m, table := models(size)[p], New[int](shards)
	table.SetPolicy(p)
	evictions := 0
	for now, n := int64(1_000_000), 0; n < accesses; n++ {
		now += 1 + rng.Int64N(3*visit/10)
		id := int(zipf.Uint64())
		if rng.IntN(5000) == 0 { // a boot
			id = n % keys
		}
		key := strconv.Itoa(id)
		sh := table.ShardString(key)
		sh.Lock()
		it := sh.Add(key, now)
		was := sh.Listed(it)
		sh.Touch(it, now)
		if ok := m.resident(id); ok != was {
			t.Fatalf("access %d: session %d is listed: %v, the model says %v", n, id, was, ok)
		}
		if was {
			m.use(id, now)
		} else {
			size[id] = 100 + rng.Int64N(4000)
			sh.SetBytes(it, size[id])
			sh.List(it)
			m.admit(id, now)
		}
		if rng.IntN(10) == 0 {
			size[id] = 100 + rng.Int64N(4000)
			sh.SetBytes(it, size[id])
		}
		sh.Unlock()
		stays := rng.IntN(7)
		for table.Bytes() > budget {
			evictLikeModel(t, table, m, func(id int) bool { return id%7 != stays })
			evictions++
		}
	}
	if evictions < accesses/50 {
		t.Errorf("%d evictions only: this shows nothing", evictions)
	}
}

func evictLikeModel(t *testing.T, table *Table[int], m model, accept func(id int) bool) {
	t.Helper()
	number := func(it *Item[int]) int {
		id, _ := strconv.Atoi(it.Key)
		return id
	}
	got := table.Victims(nil, 1, func(it *Item[int]) bool { return accept(number(it)) })
	want := m.next(accept)
	if len(got) != 1 || !accept(number(got[0])) || !m.allowed(number(got[0]), want) {
		t.Fatalf("victims are %v, the model takes %d", got, want)
	}
	m.evict(number(got[0]))
	sh := table.ShardString(got[0].Key)
	sh.Lock()
	sh.Unlist(got[0])
	sh.Unlock()
}

// TestVictimsAreAllListedAndOnce asks for many at a time in tables of many shards, evicts half of what comes, and changes the
// policy now and then.
func TestVictimsAreAllListedAndOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	table := NewGrouped[int](16, lastDigitOf(3))
	now := int64(1_000_000)
	for step := range 3000 {
		table.SetPolicy(Policies()[rng.IntN(4*20)%4])
		for range 30 {
			now += rng.Int64N(visit)
			key := strconv.Itoa(rng.IntN(800))
			sh := table.ShardString(key)
			sh.Lock()
			it := sh.Add(key, now)
			sh.Touch(it, now)
			sh.SetBytes(it, rng.Int64N(5000))
			if sh.List(it); rng.IntN(20) == 0 {
				sh.Remove(it)
			}
			sh.Unlock()
		}
		if rng.IntN(50) == 0 {
			table.Range(func(sh *Shard[int], it *Item[int]) bool { sh.Unlist(it); return true })
			table.Relist(nil)
		}
		n := 1 + rng.IntN(60)
		group := rng.IntN(4) - 1
		got := table.VictimsIn(group, nil, n, func(it *Item[int]) bool { return it.Bytes%3 != 0 })
		if len(got) > n || (len(got) == 0 && table.Listed() > 200) {
			t.Fatalf("step %d, %s: %d victims of %d, %d listed", step, table.Policy(), len(got), n, table.Listed())
		}
		seen := map[string]bool{}
		for i, it := range got {
			if !it.listed || it.Bytes%3 == 0 || seen[it.Key] || (group != Every && int(it.group) != group) {
				t.Fatalf("step %d, %s: victim %s is listed: %v, bytes %d, seen: %v", step, table.Policy(), it.Key, it.listed, it.Bytes, seen[it.Key])
			}
			seen[it.Key] = true
			if i%2 == 0 {
				with(table, it.Key, func(sh *Shard[int], it *Item[int]) { sh.Unlist(it) })
			}
		}
		checkLists(t, table)
	}
}

// TestVictimsBehindManyRefused wants a victim that stands behind more refused ones than a search asks about at first.
func TestVictimsBehindManyRefused(t *testing.T) {
	for _, p := range Policies() {
		table := New[int](1)
		table.SetPolicy(p)
		for i := range 4 * victimsLooked {
			put(table, strconv.Itoa(i), int64(i), 10)
		}
		last := strconv.Itoa(4*victimsLooked - 1)
		got := table.Victims(nil, 5, func(it *Item[int]) bool { return it.Key == last })
		if len(got) != 1 || got[0].Key != last {
			t.Errorf("%s: victims are %v, want %s", p, got, last)
		}
	}
}

// TestScanPassesThrough reads every session once while a few are at work: the policies that resist scans keep those.
func TestScanPassesThrough(t *testing.T) {
	for p, keeps := range map[Policy]bool{LRU: false, SLRU: true, S3FIFO: true} {
		table := New[int](4)
		table.SetPolicy(p)
		now := int64(1_000_000)
		access := func(key string) {
			now += 10
			sh := table.ShardString(key)
			sh.Lock()
			it := sh.Add(key, now)
			sh.Touch(it, now)
			sh.SetBytes(it, 100)
			sh.List(it)
			sh.Unlock()
			for table.Bytes() > 100_000 {
				v := table.Victims(nil, 1, nil)[0]
				with(table, v.Key, func(sh *Shard[int], it *Item[int]) { sh.Unlist(it) })
			}
		}
		for i := range 1000 { // the budget is full
			access("old-" + strconv.Itoa(i))
		}
		for range 4 {
			for i := range 500 {
				access("work-" + strconv.Itoa(i))
			}
			now += 2 * visit
		}
		for i := range 10_000 {
			access("boot-" + strconv.Itoa(i))
		}
		kept := 0
		for i := range 500 {
			with(table, "work-"+strconv.Itoa(i), func(_ *Shard[int], it *Item[int]) {
				if it.listed {
					kept++
				}
			})
		}
		if (keeps && kept < 475) || (!keeps && kept > 0) {
			t.Errorf("%s kept %d of the 500 sessions at work", p, kept)
		}
	}
}
