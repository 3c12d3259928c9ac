package lru

import (
	"math/rand/v2"
	"strconv"
	"testing"
)

// TestIndexMatchesMap puts and removes at random, with hashes so poor that every probe steps over others and runs wrap around
// the end of the slots.
func TestIndexMatchesMap(t *testing.T) {
	for _, spread := range []uint64{1, 7, 1000} {
		var x index[int]
		rng := rand.New(rand.NewPCG(spread, 3))
		model := map[string]*Item[int]{}
		hash := func(k int) uint64 { return (uint64(k) % spread) * (^uint64(0) / spread) }
		for step := range 30_000 {
			k := rng.IntN(200)
			key := strconv.Itoa(k)
			switch it := model[key]; {
			case it == nil:
				model[key] = newItem[int](key, 0, 0)
				x.put(hash(k), model[key])
			case rng.IntN(2) == 0:
				x.remove(hash(k), it)
				x.remove(hash(k), it)
				delete(model, key)
			}
			if x.len != len(model) || len(x.items(nil)) != len(model) {
				t.Fatalf("spread %d, step %d: %d items, %d in all, want %d", spread, step, x.len, len(x.items(nil)), len(model))
			}
			probe := rng.IntN(200)
			if got := x.get(hash(probe), strconv.Itoa(probe)); got != model[strconv.Itoa(probe)] {
				t.Fatalf("spread %d, step %d: item of %d is %v", spread, step, probe, got)
			}
		}
	}
}

func TestKeysOfAnyLength(t *testing.T) {
	table := New[int](4)
	for n := range 3 * inlineKey {
		key := []byte(strconv.Itoa(1000 + n))
		for len(key) < n {
			key = append(key, 'x')
		}
		key = key[:n:n]
		it := put(table, string(key), 1, 1)
		want := string(key)
		clear(key) // the item must not keep the caller's bytes
		if it.Key != want || table.ShardString(want).GetString(want) != it {
			t.Errorf("length %d: the key is %q, want %q", n, it.Key, want)
		}
	}
}
