package proxy

import (
	"hash/fnv"
	"strconv"

	"credproxy/keyspace"
)

// The proxy's own keys in Redis, in every database that holds sessions. The number is the version of their format.
const (
	ownPrefix  = keyspace.OwnPrefix + "1:"
	runKey     = ownPrefix + "run"     // run_id in which the heat entries below were true
	adoptedKey = ownPrefix + "adopted" // run_id in which the adoption scan finished, and the keyspaces that it knew
	dirtyMarks = ownPrefix + "dirty"   // hash: key -> generation of its mark
	heatPrefix = ownPrefix + "heat:"   // + bucket: hash of session -> heat; an entry says that the session is resident
	tmpPrefix  = ownPrefix + "tmp:"    // + token: a hash that is being restored
)

// heatBuckets is over how many hashes the entries are spread: small enough each for Redis's compact encoding up to some
// 100,000 sessions (it holds up to 512 entries in a hash's compact form).
const heatBuckets = 256

// heatKey returns the bucket of a heat field.
func heatKey(field string) string {
	h := fnv.New32a()
	h.Write([]byte(field))
	return heatPrefix + strconv.FormatUint(uint64(h.Sum32()%heatBuckets), 16)
}
