package lru

import (
	"math/rand/v2"
	"strconv"
	"testing"
)

// lastDigitOf makes n groups by the last digits of keys.
func lastDigitOf(n int) func(key string) int {
	return func(key string) int { return int(key[len(key)-1]-'0') % n }
}

// TestGroupsMatchTheirModels gives each of three groups a budget of its own: the victims of a group are those of a model that knows
// nothing of the other groups, whatever the policy.
func TestGroupsMatchTheirModels(t *testing.T) {
	accesses := 300_000
	if testing.Short() {
		accesses = 30_000
	}
	for _, p := range Policies() {
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			g := newGrouped(p)
			for range accesses {
				g.access(t)
			}
			if g.evictions < accesses/50 {
				t.Errorf("%d evictions only: this shows nothing", g.evictions)
			}
			checkLists(t, g.table)
		})
	}
}

const testGroups = 3

type grouped struct {
	rng       *rand.Rand
	size      sizes
	models    []model
	table     *Table[int]
	now       int64
	evictions int
}

func newGrouped(p Policy) *grouped {
	g := &grouped{rng: rand.New(rand.NewPCG(3, 4)), size: sizes{}, now: 1_000_000}
	g.table = NewGrouped[int](1, lastDigitOf(testGroups))
	g.table.SetPolicy(p)
	for range testGroups {
		g.models = append(g.models, models(g.size)[p])
	}
	return g
}

func (g *grouped) access(t *testing.T) {
	g.now += 1 + g.rng.Int64N(3*visit/10)
	id := g.rng.IntN(1 + g.rng.IntN(150)) // small ones more often
	key := strconv.Itoa(id)
	m := g.models[lastDigitOf(testGroups)(key)]
	with(g.table, key, func(sh *Shard[int], _ *Item[int]) {
		it := sh.Add(key, g.now)
		was := sh.Listed(it)
		sh.Touch(it, g.now)
		if was {
			m.use(id, g.now)
			return
		}
		g.size[id] = 100 + g.rng.Int64N(4000)
		sh.SetBytes(it, g.size[id])
		sh.List(it)
		m.admit(id, g.now)
	})
	stays := g.rng.IntN(7)
	for number := range g.table.Groups(nil) {
		for g.table.Groups(nil)[number].Bytes > int64(20_000*(number+1)) {
			g.evict(t, number, func(id int) bool { return id%7 != stays })
		}
	}
}

func (g *grouped) evict(t *testing.T, number int, accept func(id int) bool) {
	t.Helper()
	id := func(it *Item[int]) int {
		n, _ := strconv.Atoi(it.Key)
		return n
	}
	got := g.table.VictimsIn(number, nil, 1, func(it *Item[int]) bool { return accept(id(it)) })
	m := g.models[number]
	want := m.next(accept)
	if len(got) != 1 || int(got[0].group) != number || !m.allowed(id(got[0]), want) {
		t.Fatalf("victims of group %d are %v, its model takes %d", number, got, want)
	}
	m.evict(id(got[0]))
	if d, ok := m.(*gdsfModel); ok { // groups age together, so that one search can compare them
		for _, other := range g.models {
			other.(*gdsfModel).inflation = max(other.(*gdsfModel).inflation, d.inflation)
		}
	}
	with(g.table, got[0].Key, func(sh *Shard[int], it *Item[int]) { sh.Unlist(it) })
	g.evictions++
}

// A group that has no items yet, or none at all, has no victims.
func TestVictimsOfNoGroup(t *testing.T) {
	for _, p := range Policies() {
		table := NewGrouped[int](4, lastDigitOf(2))
		table.SetPolicy(p)
		put(table, "0", 1, 10)
		for group, want := range map[int]int{Every: 1, 0: 1, 1: 0, 2: 0, 99: 0} {
			if got := table.VictimsIn(group, nil, 5, nil); len(got) != want {
				t.Errorf("%s: %d victims of group %d, want %d", p, len(got), group, want)
			}
		}
	}
}
