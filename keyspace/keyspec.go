package keyspace

// finder is a way to find keys. They are numbers and not functions, because the arguments of a call through a function
// value escape to the heap.
type finder uint8

const (
	findNone     finder = iota
	findOne             // the key is args[1]
	findSpans           // fixed ranges
	findNumbered        // fixed ranges, then a count and that many keys
	findFields          // args[1], and its hash fields as the fieldSpec says
	findStreams         // XREAD, XREADGROUP
	findSort            // SORT
	findGeo             // GEORADIUS, GEORADIUSBYMEMBER
	findMigrate         // MIGRATE
	findGetex           // GETEX
	findHGetex          // HGETEX
	findBitfield        // BITFIELD
	findExpire          // EXPIRE and its kin
	findCopy            // COPY: like findSpans, with a DB option
	findMove            // MOVE: like findSpans, with a database
	findDebug           // DEBUG
	findMovable         // ask the server
)

// fieldSpec says where names of hash fields are.
type fieldSpec uint8

const (
	noFields     fieldSpec = iota
	fieldPairs             // key f v [f v ...]
	fieldList              // key f [f ...]
	fieldOne               // key f ...
	fieldCounted           // key FIELDS n f [f ...]
)

// span is a range of keys: args[first], args[first+step] ... up to last, which counts from the end when it is negative, as
// in COMMAND.
type span struct {
	first, last, step int
	access            Access
	scope             Scope
}

// keySpec says where the keys of a command are and what happens to them.
type keySpec struct {
	find   finder
	fields fieldSpec
	access Access // findOne, findNumbered, findFields
	scope  Scope  // findOne
	at     int    // findNumbered: where the number of keys is
	step   int    // findNumbered: from key to key
	spans  []span
}

// The key specifications that commands share, named after what happens to which arguments.
var (
	none       = keySpec{}
	read1      = keySpec{find: findOne, access: Read}
	write1     = keySpec{find: findOne, access: Write}
	persist1   = keySpec{find: findOne, access: Write, scope: Expiry}
	read2      = spans(span{2, 2, 1, Read, Whole})
	write2     = spans(span{2, 2, 1, Write, Whole})
	remove1    = spans(span{1, 1, 1, Remove, Whole})
	readAll    = spans(span{1, -1, 1, Read, Whole})
	writeAll   = spans(span{1, -1, 1, Write, Whole})
	removeAll  = spans(span{1, -1, 1, Remove, Whole})
	readPair   = spans(span{1, 2, 1, Read, Whole})
	writePair  = spans(span{1, 2, 1, Write, Whole})
	writeInit  = spans(span{1, -2, 1, Write, Whole}) // all but the last argument, a timeout
	writeEach2 = spans(span{1, -1, 2, Write, Whole}) // key value key value
	rename     = spans(span{1, 1, 1, Remove, Whole}, span{2, 2, 1, Write, Whole})
	storeOne   = spans(span{1, 1, 1, Write, Whole}, span{2, 2, 1, Read, Whole})
	storeAll   = spans(span{1, 1, 1, Write, Whole}, span{2, -1, 1, Read, Whole})
	storeOp    = spans(span{2, 2, 1, Write, Whole}, span{3, -1, 1, Read, Whole})
	storeNum   = keySpec{find: findNumbered, at: 2, step: 1, access: Read, spans: []span{{1, 1, 1, Write, Whole}}}
	copyKeys   = keySpec{find: findCopy, spans: []span{{1, 1, 1, Read, Whole}, {2, 2, 1, Write, Whole}}}
	moveKey    = keySpec{find: findMove, spans: remove1.spans}
	setPairs   = keySpec{find: findFields, access: Write, fields: fieldPairs}
	setOne     = keySpec{find: findFields, access: Write, fields: fieldOne}
	delFields  = keySpec{find: findFields, access: Remove, fields: fieldList}
	getdel     = keySpec{find: findFields, access: Remove, fields: fieldCounted}
)

func spans(s ...span) keySpec { return keySpec{find: findSpans, spans: s} }

// num is "numkeys key [key ...]" with the number at index at.
func num(at int, a Access) keySpec { return keySpec{find: findNumbered, at: at, step: 1, access: a} }

// odd is a command with a finder of its own.
func odd(f finder) keySpec { return keySpec{find: f} }

// writes reports whether some form of the command changes a key.
func (k *keySpec) writes() bool {
	switch k.find {
	case findNone, findDebug, findMovable:
		return false
	case findStreams, findOne:
		return k.access != Read
	case findSpans, findNumbered, findCopy, findMove:
		for _, s := range k.spans {
			if s.access != Read {
				return true
			}
		}
		return k.access != Read
	}
	return true
}

// is compares an argument with a keyword in upper case as Redis does: ASCII case is ignored, and what follows a zero byte.
func is(arg []byte, word string) bool {
	if len(arg) < len(word) || len(arg) > len(word) && arg[len(word)] != 0 {
		return false
	}
	for i := range len(word) {
		if upper(arg[i]) != word[i] {
			return false
		}
	}
	return true
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - ('a' - 'A')
	}
	return c
}

// parseCount reads a decimal number from 0 to 2^31-1. Leading zeros, which Redis refuses, do no harm: it will refuse.
func parseCount(b []byte) (n int, ok bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' || n > (1<<31-1-9)/10 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
