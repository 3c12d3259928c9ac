// Package keyspace knows what a command touches and to which session a key belongs: a table of every Redis command with
// the positions of its keys, patterns that map a key to a session, and Redis's own glob. It is pure: no I/O, no clock.
package keyspace

import (
	"errors"
	"slices"
)

// Access says what a command does with a key.
type Access uint8

const (
	Read   Access = iota // the key stays as it is
	Write                // the key may change, also by losing its last element
	Remove               // the key, or the hash fields that are named, are deleted by name
)

// Scope says how much of a key a command that is not a Read may have changed. It is Whole for every Read.
type Scope uint8

const (
	Whole  Scope = iota // anything: the value, its type, its expiry
	Fields              // only the hash fields that Command.Fields finds
	Expiry              // only the time to live of the key
)

// KeyArg is one key among the arguments of a command.
type KeyArg struct {
	Index  int // into the arguments; args[0] is the command's name
	Access Access
	Scope  Scope
}

// Flags are properties of a command that do not depend on its arguments.
type Flags uint16

const (
	Blocking   Flags = 1 << iota // may hold its connection until something happens; see Command.Blocks
	PubSub                       // subscribes or unsubscribes: the connection starts to receive messages
	Tx                           // MULTI EXEC DISCARD WATCH UNWATCH
	Script                       // runs code on the server: EVAL, FCALL and their kin
	Connection                   // reads or changes the state of the client's own connection
	Admin                        // COMMAND's flag "admin"
	DenyOOM                      // Redis refuses it (-OOM) when it is at maxmemory
	NoKeys                       // never names a key
	Listing                      // tells about keys it does not name: KEYS SCAN DBSIZE RANDOMKEY
	Flush                        // removes or swaps whole databases: FLUSHALL FLUSHDB SWAPDB
	Writing                      // some form of it changes keys: those it names, or by Flush any
)

// Family is what a command works on, for statistics.
type Family uint8

// FamilyNames are the names of all families, by Family. The first is that of commands which are not in the static table.
var FamilyNames = [...]string{"other", "generic", "string", "hash", "list", "set", "sorted_set", "stream", "more_types", "scripting",
	"connection", "server", "cluster"}

// Command is one entry of a Table. It is immutable.
type Command struct {
	Name    string // upper case; a subcommand is "OBJECT|ENCODING"
	Index   int    // dense, 0 and up, in a Table; for tables beside it
	Flags   Flags
	Family  Family
	Arity   int  // arguments with the name (and the subcommand's); negative: at least that many
	Movable bool // learned, and only the server can tell where its keys are; see Table.Learn
	Learned bool // from Table.Learn, not from the static table

	keys keySpec
}

var (
	errNoKey   = errors.New("the key is missing")
	errNumKeys = errors.New("the number of keys is not a number, or larger than the arguments that follow")
	errStreams = errors.New("STREAMS is missing, or not followed by as many ids as keys")

	// ErrMovable is the answer of AppendKeys for a command whose keys only the server can find.
	ErrMovable = errors.New("only the server can tell the keys of this command")
)

// Has reports whether any of the flags is set.
func (c *Command) Has(f Flags) bool { return c.Flags&f != 0 }

// OnlyReads reports whether the command names keys and leaves everything as it is, so that running it twice does no harm.
func (c *Command) OnlyReads() bool {
	return !c.Movable && !c.Has(Writing|Script|NoKeys|Connection|Admin|PubSub|Tx|Flush|Listing)
}

// ArityOK reports whether Redis takes that many arguments, the name counted.
func (c *Command) ArityOK(n int) bool {
	if c.Arity < 0 {
		return n >= -c.Arity
	}
	return n == c.Arity
}

// AppendKeys appends every key that the command names, in the order of the key specifications of Redis; a key named twice
// is there twice. It does not allocate when dst has room.
//
// An error means that Redis is sure to refuse the command, so that it can be forwarded without a look at its keys (but see
// ErrMovable). Where Redis might accept it, as newer versions take more arguments or options than older ones, keys are
// found rather than errors reported: one gated key too many does no harm, one too few does.
func (c *Command) AppendKeys(dst []KeyArg, args [][]byte) ([]KeyArg, error) {
	k := &c.keys
	if k.find == findOne { // four of five commands
		if len(args) < 2 {
			return dst, errNoKey
		}
		return append(dst, KeyArg{1, k.access, k.scope}), nil
	}
	return c.appendKeys(dst, args)
}

// Blocks reports whether the call may wait for something to happen before it is answered. XREAD and XREADGROUP do so only
// with BLOCK. Inside a transaction nothing blocks.
func (c *Command) Blocks(args [][]byte) bool {
	if c.keys.find == findStreams {
		_, blocks := streams(args)
		return blocks
	}
	return c.Has(Blocking)
}

// TargetDB returns the database, 0 and up, that a MOVE or a COPY ... DB names for its destination. Not ok: the command
// names none (COPY then stays in the connection's database), or none that Redis would take.
func (c *Command) TargetDB(args [][]byte) (db int, ok bool) {
	switch c.keys.find {
	case findMove:
		if len(args) == 3 {
			return parseCount(args[2])
		}
	case findCopy:
		for i := 3; i+1 < len(args); i++ {
			if is(args[i], "DB") { // the last one counts
				i++
				db, ok = parseCount(args[i])
			}
		}
	}
	return db, ok
}

// NamesDB reports whether a call may name a database: see TargetDB.
func (c *Command) NamesDB() bool { return c.keys.find == findMove || c.keys.find == findCopy }

// Fields tells where the names of the hash fields are that the command changes or removes: at first, first+step, ... up to
// and including last. Not ok: the command does not name fields, or not in a way that Redis accepts.
func (c *Command) Fields(args [][]byte) (first, last, step int, ok bool) {
	n := len(args)
	if c.keys.fields == noFields || !c.ArityOK(n) {
		return 0, 0, 0, false
	}
	switch c.keys.fields {
	case fieldPairs:
		return 2, n - 1, 2, n%2 == 0
	case fieldList:
		return 2, n - 1, 1, true
	case fieldOne:
		return 2, 2, 1, true
	default:
		ok = counted(args)
		return 4, n - 1, 1, ok
	}
}

// counted recognises "key FIELDS n f1 ... fn" with nothing behind it.
func counted(args [][]byte) bool {
	if len(args) < 5 || !is(args[2], "FIELDS") {
		return false
	}
	n, ok := parseCount(args[3])
	return ok && n > 0 && n == len(args)-4
}

// ParseAccess maps the flags of a key, as COMMAND GETKEYSANDFLAGS and COMMAND INFO list them (RO, RW, OW, RM, not_key, in
// any letter case), to an Access. Not ok: the argument is no key at all but a channel's name.
func ParseAccess(flags []string) (a Access, ok bool) {
	has := func(name string) bool {
		return slices.ContainsFunc(flags, func(f string) bool { return is([]byte(f), name) })
	}
	switch {
	case has("NOT_KEY"):
		return Read, false
	case has("RM"):
		return Remove, true
	case has("RO"):
		return Read, true
	}
	return Write, true
}
