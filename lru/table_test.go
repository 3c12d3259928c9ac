package lru

import (
	"fmt"
	"hash/maphash"
	"math"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"unsafe"
)

// put adds a listed item.
func put[V any](t *Table[V], key string, at, bytes int64) *Item[V] {
	sh := t.ShardString(key)
	sh.Lock()
	defer sh.Unlock()
	it := sh.Add(key, at)
	sh.SetBytes(it, bytes)
	sh.List(it)
	return it
}

// with runs f on the item of key under its lock.
func with[V any](t *Table[V], key string, f func(sh *Shard[V], it *Item[V])) {
	sh := t.ShardString(key)
	sh.Lock()
	defer sh.Unlock()
	f(sh, sh.GetString(key))
}

func keysOf[V any](items []*Item[V]) []string {
	keys := []string{}
	for _, it := range items {
		keys = append(keys, it.Key)
	}
	return keys
}

func wantOrder[V any](t *testing.T, table *Table[V], want ...string) {
	t.Helper()
	if got := keysOf(table.Oldest(nil, 100, nil)); !slices.Equal(got, want) {
		t.Fatalf("order is %q, want %q", got, want)
	}
	checkLists(t, table)
}

func TestShardCount(t *testing.T) {
	for in, want := range map[int]int{-1: 64, 0: 64, 1: 1, 2: 2, 3: 4, 64: 64, 65: 128, 1 << 30: 4096, math.MaxInt: 4096} {
		if got := len(New[int](in).shards); got != want {
			t.Errorf("New(%d) has %d shards, want %d", in, got, want)
		}
	}
	if size := unsafe.Sizeof(Shard[int]{}); size != 128 {
		t.Errorf("a shard is %d bytes, want 128", size)
	}
}

func TestShardsShareTheKeysEvenly(t *testing.T) {
	table := New[int](64)
	count := map[*Shard[int]]int{}
	for i := range 64_000 {
		key := fmt.Sprintf("\x00baileys\x00+55119%08d", i)
		sh := table.ShardString(key)
		if sh != table.Shard([]byte(key)) {
			t.Fatal("bytes and string of one key have different shards")
		}
		count[sh]++
	}
	for _, n := range count {
		// 1,000 expected, standard deviation 32.
		if n < 750 || n > 1250 {
			t.Errorf("a shard got %d of 64,000 keys", n)
		}
	}
}

func TestTouch(t *testing.T) {
	table := New[int](1)
	a, b := put(table, "a", 10, 0), put(table, "b", 20, 0)
	wantOrder(t, table, "a", "b")
	touch := func(it *Item[int], now int64) {
		with(table, it.Key, func(sh *Shard[int], it *Item[int]) { sh.Touch(it, now) })
	}
	touch(a, 30)
	wantOrder(t, table, "b", "a")
	touch(b, 30)
	wantOrder(t, table, "a", "b")
	touch(a, 30) // same tick: stays where it is
	wantOrder(t, table, "a", "b")
	if a.Hits != 2 || b.Hits != 1 || a.LastAccess != 30 {
		t.Errorf("a: %d hits at %d, b: %d hits", a.Hits, a.LastAccess, b.Hits)
	}
}

func TestClockThatGoesBackKeepsTheOrder(t *testing.T) {
	table := New[int](1)
	put(table, "old", 10, 0)
	put(table, "future", 1_000_000, 0)
	put(table, "also future", 1_000_001, 0)
	with(table, "old", func(sh *Shard[int], it *Item[int]) { sh.Touch(it, 50) })
	wantOrder(t, table, "future", "also future", "old")
	for _, it := range table.Oldest(nil, 3, nil) {
		if it.LastAccess != 50 {
			t.Errorf("%s was used at %d, later than now", it.Key, it.LastAccess)
		}
	}
	with(table, "also future", func(sh *Shard[int], it *Item[int]) { sh.Touch(it, 40) })
	wantOrder(t, table, "future", "old", "also future")
}

func TestListPutsItemsInTheirPlace(t *testing.T) {
	table := New[int](1)
	for _, at := range []int64{50, 10, 30, 70, 20, 60, 40} {
		put(table, strconv.FormatInt(at, 10), at, 1)
	}
	wantOrder(t, table, "10", "20", "30", "40", "50", "60", "70")
	with(table, "30", func(sh *Shard[int], it *Item[int]) {
		sh.Unlist(it)
		sh.Unlist(it)
		if sh.Listed(it) || sh.GetString("30") != it {
			t.Error("an unlisted item must stay in the table")
		}
		sh.Touch(it, 45)
	})
	wantOrder(t, table, "10", "20", "40", "50", "60", "70")
	with(table, "30", func(sh *Shard[int], it *Item[int]) { sh.List(it); sh.List(it) })
	wantOrder(t, table, "10", "20", "40", "30", "50", "60", "70")
	// Among equals the newcomer goes last: a whole tick of new sessions must not be searched for each of them.
	put(table, "also 50", 50, 1)
	wantOrder(t, table, "10", "20", "40", "30", "50", "also 50", "60", "70")
}

func TestTotals(t *testing.T) {
	table := New[int](8)
	for i := range 100 {
		put(table, strconv.Itoa(i), int64(i), 10)
	}
	with(table, "7", func(sh *Shard[int], it *Item[int]) { sh.Unlist(it); sh.SetBytes(it, 99) })
	with(table, "8", func(sh *Shard[int], it *Item[int]) { sh.SetBytes(it, -5) })
	with(table, "9", func(sh *Shard[int], it *Item[int]) { sh.Remove(it) })
	if got := (Totals{table.Len(), table.Listed(), table.Bytes()}); got != (Totals{99, 98, 970}) {
		t.Errorf("totals are %+v", got)
	}
	with(table, "7", func(sh *Shard[int], it *Item[int]) { sh.List(it) })
	if got := table.Bytes(); got != 1069 {
		t.Errorf("%d bytes after listing, want 1069", got)
	}
}

func TestRemoveOfAReplacedItemKeepsTheNewOne(t *testing.T) {
	table := New[int](1)
	old := put(table, "k", 1, 5)
	with(table, "k", func(sh *Shard[int], it *Item[int]) { sh.Remove(it) })
	fresh := put(table, "k", 2, 7)
	with(table, "k", func(sh *Shard[int], it *Item[int]) {
		if it != fresh || sh.Add("k", 99) != fresh || fresh.LastAccess != 2 {
			t.Error("the second item is not the one in the table")
		}
		sh.Remove(old)
	})
	if got := table.Totals(); got != (Totals{1, 1, 7}) {
		t.Errorf("totals are %+v", got)
	}
	wantOrder(t, table, "k")
}

func TestRelist(t *testing.T) {
	table := New[int](2)
	put(table, "listed", 55, 1)
	for _, i := range []int{9, 3, 7, 1, 8, 2} {
		key := strconv.Itoa(i)
		sh := table.ShardString(key)
		sh.Lock()
		sh.SetBytes(sh.Add(key, int64(i*10)), 2)
		sh.Unlock()
	}
	table.Relist(func(it *Item[int]) bool { return it.Key != "7" })
	wantOrder(t, table, "1", "2", "3", "listed", "8", "9")
	table.Relist(nil)
	wantOrder(t, table, "1", "2", "3", "listed", "7", "8", "9")
	if got := table.Totals(); got != (Totals{7, 7, 13}) {
		t.Errorf("totals are %+v", got)
	}
}

func TestRangeVisitsAllOnceAndMayChange(t *testing.T) {
	table := New[int](4)
	for i := range 10_000 {
		put(table, strconv.Itoa(i), int64(i), 1)
	}
	visits := map[string]int{}
	table.Range(func(sh *Shard[int], it *Item[int]) bool {
		visits[it.Key]++
		sh.Remove(it)
		return true
	})
	if len(visits) != 10_000 || table.Len() != 0 {
		t.Errorf("%d visited, %d left", len(visits), table.Len())
	}
	for key, n := range visits {
		if n != 1 {
			t.Errorf("%s was visited %d times", key, n)
		}
	}
}

func TestRangeStops(t *testing.T) {
	table := New[int](4)
	for i := range 100 {
		put(table, strconv.Itoa(i), 0, 0)
	}
	n := 0
	table.Range(func(*Shard[int], *Item[int]) bool { n++; return n < 3 })
	if n != 3 {
		t.Errorf("%d visits, want 3", n)
	}
}

func TestTop(t *testing.T) {
	table := New[int](4)
	for i := range 50 {
		key := fmt.Sprintf("%02d", i)
		put(table, key, int64(100-i), int64(i*7%50))
		with(table, key, func(_ *Shard[int], it *Item[int]) { it.Hits = uint64(i / 10) })
	}
	first := func(n int, before func(a, b *Stat) bool) []string {
		var keys []string
		for _, s := range table.Top(nil, n, before) {
			keys = append(keys, s.Key)
		}
		return keys
	}
	for _, c := range []struct {
		name   string
		before func(a, b *Stat) bool
		want   []string
	}{
		{"lru", LeastRecent, []string{"49", "48", "47"}},
		{"hits, ties by key", MostHits, []string{"40", "41", "42"}},
		{"bytes", MostBytes, []string{"07", "14", "21"}},
	} {
		if got := first(3, c.before); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if got := len(first(1000, LeastRecent)); got != 50 {
		t.Errorf("%d of 50 with room for 1000", got)
	}
	kept := table.Top([]Stat{{Key: "before"}}, 1, MostBytes)
	want := []Stat{{Key: "before"}, {Key: "07", LastAccess: 93, Bytes: 49, Listed: true}}
	if !reflect.DeepEqual(kept, want) {
		t.Errorf("got %+v, want %+v", kept, want)
	}
	if got := first(0, LeastRecent); got != nil {
		t.Errorf("0 wanted, got %q", got)
	}
}

// TestKeysOfOneHash puts an item where the hash of "b" leads, which is what b sees of a collision.
func TestKeysOfOneHash(t *testing.T) {
	table := New[int](1)
	sh := &table.shards[0]
	hash := maphash.String(sh.seed, "b")
	alien := newItem[int]("alien", 0, 0)
	sh.items.put(hash, alien)
	if sh.GetString("b") != nil || sh.Get([]byte("b")) != nil {
		t.Fatal("found another key's item")
	}
	b := put(table, "b", 1, 10)
	if got, it := table.Acquire([]byte("b")); got != sh || it != b {
		t.Error("Acquire does not find the later item of a hash")
	}
	sh.Unlock()
	if sh.GetString("b") != b || sh.Get([]byte("b")) != b || sh.Add("b", 5) != b {
		t.Error("the later item of a hash is not found")
	}
	visits := map[string]int{}
	table.Range(func(_ *Shard[int], it *Item[int]) bool { visits[it.Key]++; return true })
	if table.Len() != 2 || visits["alien"] != 1 || visits["b"] != 1 {
		t.Errorf("%d items, visits %v", table.Len(), visits)
	}
	with(table, "b", func(sh *Shard[int], it *Item[int]) { sh.Remove(it) })
	if sh.GetString("b") != nil || table.Len() != 1 {
		t.Error("the later item of a hash was not removed")
	}
	// The order of removal does not matter: b stays found when the earlier item goes.
	b = put(table, "b", 2, 10)
	sh.items.remove(hash, alien)
	if sh.GetString("b") != b {
		t.Error("the later item was lost with the earlier one")
	}
	with(table, "b", func(sh *Shard[int], it *Item[int]) { sh.Remove(it) })
	if table.Len() != 0 {
		t.Errorf("%d items left", table.Len())
	}
}
