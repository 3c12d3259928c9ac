package lru

// group is the part of a shard's items that one number stands for: the sessions of one keyspace. Each has a recency list of its own,
// so that its oldest item is found without a look at the others, and the oldest of all by a merge; where the policy is not
// LRU, it has a ranking of its own, too. That costs an item nothing: a group's number stands in what would be padding.
type group[V any] struct {
	list list[V]
	rank ranking[V] // nil: the list is the order of eviction
	_    [16]byte   // 64 bytes in all, a cache line of its own
}

// Every stands for all groups.
const Every = -1

// maxGroups is how many groups there can be; what is beyond belongs to the last one.
const maxGroups = 1 << 16

// NewGrouped is New for a table whose items belong to groups: groupOf numbers a key's, from 0 without large gaps, always the same
// for the same key. It is called under a shard's lock and must not keep the key.
func NewGrouped[V any](shards int, groupOf func(key string) int) *Table[V] {
	t := New[V](shards)
	for i := range t.shards {
		t.shards[i].groupOf = groupOf
	}
	return t
}

// groupFor returns the number of a key's group, which exists then.
func (sh *Shard[V]) groupFor(key string) uint16 {
	n := 0
	if sh.groupOf != nil {
		n = min(max(sh.groupOf(key), 0), maxGroups-1)
	}
	for len(sh.groups) <= n {
		sh.groups = append(sh.groups, &group[V]{rank: sh.newRank()})
	}
	return uint16(n)
}

// chosen returns the groups of a shard that a search is about: one, or all.
func (sh *Shard[V]) chosen(number int) []*group[V] {
	switch {
	case number == Every:
		return sh.groups
	case number < len(sh.groups):
		return sh.groups[number : number+1]
	}
	return nil
}

// GroupTotals sums up a group.
type GroupTotals struct {
	Listed int   // items in the recency order
	Bytes  int64 // their estimated bytes
}

// Groups appends to dst the totals of every group that there is, by number; see Totals for what they are worth. It takes the
// lock of each shard once.
func (t *Table[V]) Groups(dst []GroupTotals) []GroupTotals {
	start := len(dst)
	for i := range t.shards {
		sh := &t.shards[i]
		sh.lockSoon()
		for n, g := range sh.groups {
			for len(dst) <= start+n {
				dst = append(dst, GroupTotals{})
			}
			dst[start+n].Listed += g.list.len
			dst[start+n].Bytes += g.list.bytes
		}
		sh.Unlock()
	}
	return dst
}
