package main

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
)

// Every session has the same keys: two strings, a hash, a counter, a list, and a string with a TTL. Half of the sessions are of
// a keyspace whose keys follow from the session's id, half of one with a wildcard.
const (
	keyA, keyB, keyHash, keyCounter, keyList, keyLease = "a", "b", "h", "c", "l", "t"

	keySide = "d" // of the side door's sessions
)

var (
	spaces = []string{"w", "k"}
	fields = []string{"f0", "f1", "f2"}
)

// sess is one session: its keyspace and its id.
type sess struct{ space, name string }

func (s sess) key(suffix string) string { return s.space + ":" + s.name + ":" + suffix }

// id is how the proxy's admin commands call it.
func (s sess) id() string { return s.space + "/" + s.name }

// parts lists a session's partitions.
func (s sess) parts() []string {
	parts := []string{s.key(keyA), s.key(keyB), s.key(keyCounter), s.key(keyList), s.key(keyLease)}
	for _, f := range fields {
		parts = append(parts, fieldPart(s.key(keyHash), f))
	}
	return parts
}

// fieldPart is the partition of one field of a hash.
func fieldPart(key, field string) string { return key + "#" + field }

type kind uint8

const (
	kindRegister kind = iota
	kindCounter
	kindList
	kindLease
)

func kindOf(part string) kind {
	switch part[strings.LastIndexByte(part, ':')+1:] {
	case keyCounter:
		return kindCounter
	case keyList:
		return kindList
	case keyLease:
		return kindLease
	}
	return kindRegister
}

func makeSessions(n int, prefix string) []sess {
	list := make([]sess, n)
	for i := range list {
		list[i] = sess{spaces[i%len(spaces)], fmt.Sprintf("%s%d", prefix, i/len(spaces))}
	}
	return list
}

// dice returns the random choices of one role in one round: they depend on the seed and on nothing else.
func dice(seed uint64, round int, role string) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s", round, role)
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}
