package bots

import (
	"fmt"
	"time"
)

// Shape is one way of laying a session out in Redis: where the items are and which commands reach them.
type Shape uint8

// The shapes, each taken from a published store.
const (
	// CredsAndKeys keeps credentials in a string with an expiry and everything else in a hash.
	CredsAndKeys Shape = iota
	// OneHash keeps a session in one hash.
	OneHash
	// Strings keeps a string for each item and lists them by SCAN to log out.
	Strings
	// Scripted keeps one hash that is only ever written by EVAL, whose second key is outside the session.
	Scripted
	// Transactions keeps a string for each item and wraps every read and write in MULTI and EXEC.
	Transactions
)

// AllShapes lists every shape.
func AllShapes() []Shape {
	return []Shape{CredsAndKeys, OneHash, Strings, Scripted, Transactions}
}

var shapeTable = [...]struct {
	name     string
	patterns []string // key patterns of the keyspace that holds these sessions
	id       string   // format of a session id, from generation and number
	strings  bool     // every item is a string of its own
}{
	CredsAndKeys: {"creds-and-keys", []string{"wa:auth:{session}:creds", "wa:auth:{session}:keys"}, "5511%02d%06d:1@s.whatsapp.net", false},
	OneHash:      {"one-hash", []string{"evolution:instance:{session}"}, "0b3f9a%02d-11ee-4c1a-9d2e-%012d", false},
	Strings:      {"strings", []string{"bot:{session}:*"}, "bot-%d-%d", true},
	Scripted:     {"scripted", []string{"@baileys-api:connections:{session}:authState"}, "+5521%02d%06d", false},
	Transactions: {"transactions", []string{"baileys:session:{session}:*"}, "%d.%d@c.us", true},
}

// String is also the name of the keyspace that the shape wants, see Patterns.
func (s Shape) String() string {
	if int(s) < len(shapeTable) {
		return shapeTable[s].name
	}
	return fmt.Sprintf("shape %d", uint8(s))
}

// Patterns returns the key patterns of a keyspace that holds this shape's sessions. Those of different shapes never
// match the same key.
func (s Shape) Patterns() []string { return append([]string(nil), shapeTable[s].patterns...) }

// SessionID returns the id of bot n's session as a pattern captures it.
func (s Shape) SessionID(generation, n int) string {
	return fmt.Sprintf(shapeTable[s].id, generation, n)
}

// expiry is how long credentials live in the one shape that gives them an expiry.
const expiry = 7 * 24 * time.Hour

// hash returns the session's hash; "" for shapes that have none.
func (s Shape) hash(id string) string {
	switch s {
	case CredsAndKeys:
		return "wa:auth:" + id + ":keys"
	case OneHash:
		return "evolution:instance:" + id
	case Scripted:
		return "@baileys-api:connections:" + id + ":authState"
	}
	return ""
}

// stringKey returns the key of an item that is a string of its own; ok is false for fields of the hash.
func (s Shape) stringKey(id string, it item) (key string, ok bool) {
	switch s {
	case CredsAndKeys:
		return "wa:auth:" + id + ":creds", it.kind == creds
	case Strings:
		return "bot:" + id + ":" + it.name(), true
	case Transactions:
		return "baileys:session:" + id + ":" + it.name(), true
	}
	return "", false
}

// lease is a key beside the session that Scripted's scripts name: it belongs to no session.
func (s Shape) lease(id string) string { return "lease:" + id }
