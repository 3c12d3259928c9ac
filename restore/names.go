package restore

import (
	"cmp"
	"crypto/sha256"

	"credproxy/internal/session"
)

// A btree entry in Postgres holds at most 2,704 bytes, and clients choose their keys: a long name is indexed by its
// beginning and its hash, and stored whole beside that.
const maxIndexed = 1024

// maxField is the longest field name, in bytes, that a hash in the clear can have.
const maxField = 2000

// indexed returns the form of a name that the unique indexes hold. No short name equals the form of a long one, as that is
// longer than maxIndexed.
func indexed(name string) []byte {
	if len(name) <= maxIndexed {
		return []byte(name)
	}
	sum := sha256.Sum256([]byte(name))
	return append([]byte(name[:maxIndexed]), sum[:]...)
}

// whole returns what is stored beside the indexed form: the name itself when it is long, else nothing.
func whole(name string) []byte {
	if len(name) <= maxIndexed {
		return nil
	}
	return []byte(name)
}

// compareID orders sessions as they are locked.
func compareID(a, b session.ID) int {
	return cmp.Or(cmp.Compare(a.DB, b.DB), cmp.Compare(a.Keyspace, b.Keyspace), cmp.Compare(a.Name, b.Name))
}

// idColumns are sessions' names as parallel arrays for unnest.
type idColumns struct {
	db       []int32
	keyspace []string
	id       [][]byte
}

func (c *idColumns) add(id session.ID) {
	c.db = append(c.db, int32(id.DB))
	c.keyspace = append(c.keyspace, id.Keyspace)
	c.id = append(c.id, indexed(id.Name))
}

// Joins of an array u with the rows that its elements name. A plan that was made while a table was small may look rows up
// by the first column of their index only, and throw away all others, once per element: quadratic in the keys of a session.
// A subquery with a limit is planned by itself, so that it always uses the whole index.
const (
	joinSession = `JOIN LATERAL (SELECT x.sid, x.known, x.last_access, x.hits, x.bytes, x.fence, x.elsewhere FROM credproxy.sessions x
		WHERE x.db = u.db AND x.keyspace = u.keyspace AND x.id = u.id LIMIT 1) s ON true`
	joinKey = `JOIN LATERAL (SELECT x.kid, x.form, x.type, x.expire_at FROM credproxy.keys x
		WHERE x.sid = s.sid AND x.key = u.key LIMIT 1) k ON true`
)
