// Package lru is the session table of the proxy: which sessions there are, when and how often each was used, how big it is,
// and which ones have been idle longest. It is pure: no I/O, no goroutines, no clock of its own; every time comes from the
// caller, in unix milliseconds.
//
// # Shape
//
// A Table is split into shards by a hash of the key. A shard has a mutex, an index of its items (index.go) and, for each group of
// items (group.go: a keyspace), a list that is sorted by last access (list.go); where the policy is not LRU, a ranking says
// besides who goes first (ranking.go, with one file for each policy). All these are single-threaded leaves, the shard guards them. The owner locks a shard, does what it has to do with an
// item and with the item's Value (its own state, guarded by the same lock), and unlocks:
//
//	sh, it := table.Acquire(key)
//	if it != nil {
//		sh.Touch(it, now)
//		it.Value.inFlight++
//	}
//	sh.Unlock()
//
// # Rules
//
//  1. Every method of Shard wants the shard's lock held; every method of Table takes locks itself and wants none held; only
//     Acquire returns with one.
//  2. Table methods hold one shard lock at a time, and none for more than about a thousand items (Relist, SetPolicy: one
//     shard; Range: to copy the pointers of one shard).
//  3. A list is ascending by LastAccess. So LastAccess is set by Add, Touch, or by the owner while the item is
//     unlisted, and never otherwise.
//  4. Item.Key never changes and may be read without the lock; every other field needs it.
//  5. What Oldest and Victims return was true when it looked. The owner locks the shard again, and checks that the item is still
//     the one (sh.GetString(it.Key) == it), still listed and still idle.
//
// A sampled LRU as in Redis would need no list, but evicts sessions that are in use when memory is tight: here one wrong
// victim is a round trip to Postgres in front of a waiting bot. The list costs 16 bytes a session. A key of up to 40 bytes stands
// in its item: beside a million sessions, what a touch costs is how often it waits for memory.
package lru
