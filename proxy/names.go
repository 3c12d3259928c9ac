package proxy

import (
	"hash/fnv"
	"strconv"

	"credproxy/keyspace"
)

// The proxy's own keys in Redis, in every database that holds sessions. The number is the version of their format (format.go).
const (
	formatKey  = keyspace.OwnPrefix + "format" // the version in force
	ownPrefix  = keyspace.OwnPrefix + "2:"
	runKey     = ownPrefix + "run"     // run_id in which the heat entries below were true
	adoptedKey = ownPrefix + "adopted" // run_id in which the adoption scan finished, and the keyspaces that it knew
	dirtyMarks = ownPrefix + "dirty"   // hash: key -> generation of its mark
	heatPrefix = ownPrefix + "heat:"   // + bucket: hash of session -> heat; an entry says that the session is resident
	tmpPrefix  = ownPrefix + "tmp:"    // + token: a hash that is being restored
)

// heatBuckets is over how many hashes the entries are spread. Redis keeps a hash of up to 512 entries in its compact form, so a
// million sessions may be resident before an entry takes more than 64 bytes; and fewer, larger buckets would cost ten
// thousand sessions 14 bytes each less.
const heatBuckets = 2048

// heatKey returns the bucket of a heat field.
func heatKey(field string) string {
	h := fnv.New32a()
	h.Write([]byte(field))
	return bucketKey(int(h.Sum32() % heatBuckets))
}

func bucketKey(i int) string { return heatPrefix + strconv.FormatUint(uint64(i), 16) }
