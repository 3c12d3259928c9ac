// Package session holds the plain values that the front (proxy) and the durable side (restore) exchange: what a session
// is called, what its keys hold, and what changed. It has no behaviour of its own, so that neither side imports the other.
package session

import "strconv"

// ID names one session: an id inside a keyspace of one logical Redis database.
type ID struct {
	DB       int    // logical database, 0 and up
	Keyspace string // name of the keyspace block in the configuration
	Name     string // the id as captured by {session}; any bytes
}

// String renders the id as operators write it: "keyspace/id", with "@db" in front of the slash outside database 0.
func (id ID) String() string {
	if id.DB == 0 {
		return id.Keyspace + "/" + id.Name
	}
	return id.Keyspace + "@" + strconv.Itoa(id.DB) + "/" + id.Name
}

// Type is a Redis data type. The numbers are stored in Postgres and never change their meaning.
type Type uint8

// The data types of Redis, as TYPE names them.
const (
	None   Type = 0
	String Type = 1
	Hash   Type = 2
	List   Type = 3
	Set    Type = 4
	ZSet   Type = 5
	Stream Type = 6
	Module Type = 7 // any module's own type
)

var typeNames = [...]string{"none", "string", "hash", "list", "set", "zset", "stream", "module"}

// String returns the name that the TYPE command uses.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "unknown"
}

// ParseType maps an answer of the TYPE command to a Type; a name it does not know is a module's type.
func ParseType(name string) Type {
	for i, n := range typeNames {
		if n == name {
			return Type(i)
		}
	}
	return Module
}

// Field is one field of a hash.
type Field struct {
	Name  string
	Value []byte
}

// Key is one Redis key with its whole value. Strings and hashes are in the clear (Value, Fields); every other type, and a
// hash that cannot be stored in the clear, is an opaque DUMP payload (Dump != nil).
type Key struct {
	Name     string
	Type     Type
	ExpireAt int64 // unix milliseconds, 0: never
	Value    []byte
	Fields   []Field
	Dump     []byte
	// Apart is how many bytes the value has if it is too large to come with the key: Value, Fields and Dump are empty then.
	Apart int64
}

// Bytes returns the payload size: name, value, fields, dump. It is what sizes of sessions are made of.
func (k *Key) Bytes() int64 {
	n := int64(len(k.Name)+len(k.Value)+len(k.Dump)) + k.Apart
	for i := range k.Fields {
		n += int64(len(k.Fields[i].Name) + len(k.Fields[i].Value))
	}
	return n
}

// Heat is what the memory policy knows of a session.
type Heat struct {
	LastAccess int64  // unix milliseconds
	Hits       uint64 // commands that touched the session since it was first seen
	Bytes      int64  // estimated bytes in Redis
}

// Snapshot is everything the durable side holds of one session.
type Snapshot struct {
	Found bool // the session is stored here as a whole, even if every key of it has expired
	// FromSource: nothing is stored (Found is false), and Keys are what the operator's own tables hold.
	FromSource bool
	// Elsewhere: stored is only that the operator's own tables hold the session (Found is false), and in Stubs which keys it had:
	// names and types.
	Elsewhere bool
	Stubs     []Key
	Heat      Heat
	Keys      []Key
}

// Op says how a KeyChange is applied.
type Op uint8

const (
	// Put replaces whatever is stored for the key by Key.
	Put Op = iota
	// Patch changes a hash that is stored in the clear: Key.Fields are upserted, Removed fields deleted, the expiry set,
	// all other fields stay.
	Patch
	// Delete removes the key.
	Delete
)

// KeyChange is the new state of one key.
type KeyChange struct {
	Key
	Op      Op
	Removed []string // Patch only: fields that are gone
	Len     int64    // Patch only: how many fields the hash has in Redis now
}

// Change is the new state of some keys of one session.
type Change struct {
	Session ID
	Heat    Heat
	Keys    []KeyChange
}

// Ref names one key of one session.
type Ref struct {
	Session ID
	Key     string
}

// Removal says that a key (Fields == nil) or some fields of a hash are about to be removed from Redis.
type Removal struct {
	Session ID
	Key     string
	Fields  []string
}

// Entry is a stored key in a listing. Pos orders entries and is stable as long as the key is stored.
type Entry struct {
	Pos     int64
	Session ID
	Key     string
	Type    Type
}

// Extent is how many keys are stored of a database, and between which positions.
type Extent struct{ Keys, First, Last int64 }

// Summary is a stored session in a listing. Pos orders summaries and is stable.
type Summary struct {
	Pos     int64
	Session ID
	Heat    Heat
	Keys    int64 // stored keys that have not expired
}
