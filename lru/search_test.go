package lru

import (
	"math"
	"slices"
	"strconv"
	"testing"
)

// numbered makes a table of n listed items whose keys are their access times.
func numbered(shards, n int) *Table[int] {
	table := New[int](shards)
	for i := range n {
		put(table, strconv.Itoa(i), int64(i), 1)
	}
	return table
}

func TestOldestIsExact(t *testing.T) {
	const items = 5000
	for _, shards := range []int{1, 16, 64, 4096} {
		table := numbered(shards, items)
		for _, n := range []int{1, 2, 63, 1000, items - 1, items, items + 1, math.MaxInt} {
			got := table.Oldest(nil, n, nil)
			if len(got) != min(n, items) {
				t.Fatalf("%d shards: got %d of %d", shards, len(got), n)
			}
			for i, it := range got {
				if it.LastAccess != int64(i) {
					t.Fatalf("%d shards: number %d is of %d", shards, i, it.LastAccess)
				}
			}
		}
	}
}

func TestOldestEdges(t *testing.T) {
	table := New[int](0)
	if got := table.Oldest(nil, 5, nil); len(got) != 0 {
		t.Errorf("an empty table has victims: %q", keysOf(got))
	}
	put(table, "a", 1, 1)
	for _, n := range []int{0, -1, math.MinInt} {
		if got := table.Oldest(nil, n, nil); len(got) != 0 {
			t.Errorf("Oldest(%d) returned %q", n, keysOf(got))
		}
	}
	dst := []*Item[int]{{Key: "kept"}}
	if got := keysOf(table.Oldest(dst, 1, nil)); !slices.Equal(got, []string{"kept", "a"}) {
		t.Errorf("got %q", got)
	}
}

func TestOldestBefore(t *testing.T) {
	table := numbered(8, 100)
	for before, want := range map[int64]int{-5: 0, 0: 0, 1: 1, 50: 50, 100: 100, math.MaxInt64: 100} {
		got := table.OldestBefore(nil, 1000, before, nil)
		if len(got) != want {
			t.Errorf("before %d: %d items, want %d", before, len(got), want)
		}
		for _, it := range got {
			if it.LastAccess >= before {
				t.Errorf("before %d: returned one of %d", before, it.LastAccess)
			}
		}
	}
}

func TestOldestPassesOverRefusedItems(t *testing.T) {
	table := numbered(8, 3000)
	got := table.Oldest(nil, 500, func(it *Item[int]) bool { return it.LastAccess%5 == 4 })
	if len(got) != 500 {
		t.Fatalf("got %d, want 500", len(got))
	}
	for i, it := range got {
		if want := int64(i*5 + 4); it.LastAccess != want {
			t.Fatalf("number %d is of %d, want %d", i, it.LastAccess, want)
		}
	}
}

func TestSearchIsBoundedButNeverEmptyHanded(t *testing.T) {
	const items, n = 50_000, 10
	table := numbered(8, items)
	asked := 0
	none := table.Oldest(nil, n, func(*Item[int]) bool { asked++; return false })
	if len(none) != 0 || asked != items {
		t.Errorf("all refused: got %d items after asking %d times, want 0 after all %d", len(none), asked, items)
	}
	// Everything old is refused, far beyond the limit: still there is a victim, the right one.
	got := table.Oldest(nil, n, func(it *Item[int]) bool { return it.LastAccess >= items-3 })
	if len(got) == 0 || got[0].LastAccess != items-3 {
		t.Errorf("got %q, want the oldest accepted one first", keysOf(got))
	}
	// One in a thousand accepted: the search stops near its limit with a correct beginning.
	asked = 0
	got = table.Oldest(nil, n, func(it *Item[int]) bool { asked++; return it.LastAccess%1000 == 0 })
	if len(got) == 0 || len(got) == n || asked > 20_000 {
		t.Errorf("got %d items after asking %d times", len(got), asked)
	}
	for i, it := range got {
		if it.LastAccess != int64(i*1000) {
			t.Errorf("number %d is of %d", i, it.LastAccess)
		}
	}
}

// TestSearchGoesOnWhereItsPlaceWasLost touches, between two slices of a search, the very item that the search stopped at.
func TestSearchGoesOnWhereItsPlaceWasLost(t *testing.T) {
	table := numbered(1, 1000)
	sh := &table.shards[0]
	s := search[int]{mark: 1, before: math.MaxInt64, want: 10, limit: math.MaxInt}
	c := &cursor[int]{shard: sh, list: &sh.groups[0].list}
	var got []int64
	for now := int64(5000); !c.atEnd; now++ {
		s.fetch(c)
		for _, f := range c.ready {
			got = append(got, f.at)
		}
		if c.last.at < 1000 {
			sh.Touch(c.last.item, now)
		}
	}
	if len(got) != 1000 || s.looked != 1000 {
		t.Fatalf("returned %d and looked at %d of 1000 items", len(got), s.looked)
	}
	for i, at := range got {
		if at != int64(i) {
			t.Fatalf("number %d is of %d", i, at)
		}
	}
}

// TestSearchHoldsLocksBriefly counts what one hold of a lock walks over when all is refused.
func TestSearchHoldsLocksBriefly(t *testing.T) {
	table := numbered(1, 5000)
	s := search[int]{mark: 1, before: math.MaxInt64, want: 10, accept: func(*Item[int]) bool { return false }}
	c := &cursor[int]{shard: &table.shards[0], list: &table.shards[0].groups[0].list}
	for before := 0; !c.atEnd; before = s.looked {
		s.fetch(c)
		if s.looked-before > searchSlice {
			t.Fatalf("one slice looked at %d items", s.looked-before)
		}
	}
	if s.looked != 5000 {
		t.Errorf("looked at %d items", s.looked)
	}
}
