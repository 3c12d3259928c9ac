package keyspace

// appendKeys is AppendKeys for all that is not simply one key at args[1].
func (c *Command) appendKeys(dst []KeyArg, args [][]byte) ([]KeyArg, error) {
	k := &c.keys
	switch k.find {
	case findNone:
		return dst, nil
	case findSpans, findCopy, findMove:
		return c.appendSpans(dst, args)
	case findNumbered:
		return c.appendNumbered(dst, args)
	case findStreams:
		return appendStreams(dst, args, k.access)
	case findMigrate:
		return appendMigrate(dst, args)
	case findDebug:
		return appendDebug(dst, args), nil
	case findMovable:
		dst, _ = c.appendSpans(dst, args)
		return dst, ErrMovable
	}
	// What is left has its (first) key at args[1]; the options say what happens to it.
	if len(args) < 2 {
		return dst, errNoKey
	}
	switch k.find {
	case findFields:
		return append(dst, c.fieldsKey(args)), nil
	case findSort:
		return appendStored(dst, args, sortStore(args)), nil
	case findGeo:
		return appendStored(dst, args, geoStore(args)), nil
	}
	return append(dst, optionKey(k.find, args)), nil
}

// appendSpans is the case of fixed ranges. Ranges after the first may be empty, as the sources of PFMERGE are.
func (c *Command) appendSpans(dst []KeyArg, args [][]byte) ([]KeyArg, error) {
	for n, s := range c.keys.spans {
		last := s.last
		if last < 0 {
			last += len(args)
		}
		last = min(last, len(args)-1)
		if last < s.first && n == 0 {
			return dst, errNoKey
		}
		access := s.access
		if access == Remove && !c.ArityOK(len(args)) {
			access = Write // Redis will refuse: nothing is removed, nothing must be removed elsewhere
		}
		for i := s.first; i <= last; i += s.step {
			dst = append(dst, KeyArg{i, access, s.scope})
		}
	}
	return dst, nil
}

// appendNumbered is "numkeys key ...". No key at all is right for scripts, and refused by Redis for all others.
func (c *Command) appendNumbered(dst []KeyArg, args [][]byte) ([]KeyArg, error) {
	k := &c.keys
	if k.at >= len(args) {
		return dst, errNumKeys
	}
	n, ok := parseCount(args[k.at])
	if !ok || n > (len(args)-k.at-1)/k.step {
		return dst, errNumKeys
	}
	dst, err := c.appendSpans(dst, args)
	for i := range n {
		dst = append(dst, KeyArg{k.at + 1 + i*k.step, k.access, Whole})
	}
	return dst, err
}

// streams finds the first key of XREAD or XREADGROUP, 0 if there is none, and whether BLOCK is given. A word that is not
// known is skipped: it may be an option of a later version.
func streams(args [][]byte) (first int, blocks bool) {
	for i := 1; i < len(args); i++ {
		switch arg := args[i]; {
		case is(arg, "STREAMS"):
			return i + 1, blocks
		case is(arg, "BLOCK"):
			blocks = true
			i++
		case is(arg, "COUNT"), is(arg, "CLAIM"):
			i++
		case is(arg, "GROUP"):
			i += 2
		}
	}
	return 0, blocks
}

func appendStreams(dst []KeyArg, args [][]byte, a Access) ([]KeyArg, error) {
	first, _ := streams(args)
	n := len(args) - first
	if first == 0 || n == 0 || n%2 != 0 {
		return dst, errStreams
	}
	for i := first; i < first+n/2; i++ {
		dst = append(dst, KeyArg{i, a, Whole})
	}
	return dst, nil
}

// sortStore finds the destination of SORT, 0 if there is none. Several STORE are allowed, the last one counts. The keys
// that BY and GET make up from the elements are not known before Redis runs the command.
func sortStore(args [][]byte) (dest int) {
	for i := 2; i < len(args); i++ {
		switch arg := args[i]; {
		case is(arg, "STORE"):
			i++
			dest = i
		case is(arg, "BY"), is(arg, "GET"):
			i++
		case is(arg, "LIMIT"):
			i += 2
		}
	}
	return dest
}

// geoStore finds the destination of GEORADIUS and GEORADIUSBYMEMBER; the last STORE or STOREDIST counts.
func geoStore(args [][]byte) (dest int) {
	for i := 5; i < len(args); i++ { // the shorter of the two has its options from here on
		if is(args[i], "STORE") || is(args[i], "STOREDIST") {
			i++
			dest = i
		}
	}
	return dest
}

func appendStored(dst []KeyArg, args [][]byte, dest int) []KeyArg {
	dst = append(dst, KeyArg{1, Read, Whole})
	if dest > 0 && dest < len(args) {
		dst = append(dst, KeyArg{dest, Write, Whole})
	}
	return dst
}

// appendMigrate: "MIGRATE host port key db timeout [COPY] [REPLACE] [AUTH pw] [AUTH2 user pw] [KEYS key ...]", where KEYS
// asks for an empty key in front.
func appendMigrate(dst []KeyArg, args [][]byte) ([]KeyArg, error) {
	if len(args) < 6 {
		return dst, errNoKey
	}
	first, last, access := 3, 3, Remove
	for i := 6; i < len(args); i++ {
		switch arg := args[i]; {
		case is(arg, "COPY"):
			access = Read
		case is(arg, "AUTH"):
			i++
		case is(arg, "AUTH2"):
			i += 2
		case is(arg, "KEYS"):
			if len(args[3]) != 0 {
				return dst, errNoKey // "the key argument must be set to the empty string"
			}
			first, last = i+1, len(args)-1
			i = last
		}
	}
	for i := first; i <= last; i++ {
		dst = append(dst, KeyArg{i, access, Whole})
	}
	return dst, nil
}

// appendDebug finds the keys of those subcommands of DEBUG that look at keys.
func appendDebug(dst []KeyArg, args [][]byte) []KeyArg {
	if len(args) < 3 {
		return dst
	}
	last := 2
	switch sub := args[1]; {
	case is(sub, "DIGEST-VALUE"):
		last = len(args) - 1
	case is(sub, "OBJECT"), is(sub, "SDSLEN"), is(sub, "HTSTATS-KEY"),
		is(sub, "LISTPACK"), is(sub, "ZIPLIST"), is(sub, "QUICKLIST"):
	default:
		return dst
	}
	for i := 2; i <= last; i++ {
		dst = append(dst, KeyArg{i, Read, Whole})
	}
	return dst
}

// fieldsKey is the key of a command that changes or removes hash fields. Where the fields cannot be told, the whole hash
// may have changed, and it must not be removed for a command that Redis is going to refuse.
func (c *Command) fieldsKey(args [][]byte) KeyArg {
	if _, _, _, ok := c.Fields(args); !ok {
		return KeyArg{1, Write, Whole}
	}
	return KeyArg{1, c.keys.access, Fields}
}

// optionKey is the key at args[1] of a command whose options say what happens to it.
func optionKey(f finder, args [][]byte) KeyArg {
	switch f {
	case findGetex:
		if len(args) == 2 {
			return KeyArg{1, Read, Whole}
		}
		return KeyArg{1, Write, Expiry}
	case findHGetex:
		if counted(args) { // no option: nothing changes
			return KeyArg{1, Read, Whole}
		}
	case findBitfield:
		if bitfieldReads(args) {
			return KeyArg{1, Read, Whole}
		}
	case findExpire:
		// "EXPIRE key 0" is a way to delete. With an option (NX, XX, GT, LT) it may do nothing.
		if len(args) == 3 && notPositive(args[2]) {
			return KeyArg{1, Remove, Whole}
		}
		return KeyArg{1, Write, Expiry}
	}
	return KeyArg{1, Write, Whole}
}

// bitfieldReads reports whether BITFIELD has no operation but GET.
func bitfieldReads(args [][]byte) bool {
	i := 2
	for i < len(args) {
		switch arg := args[i]; {
		case is(arg, "GET"):
			i += 3
		case is(arg, "OVERFLOW"):
			i += 2
		default:
			return false
		}
	}
	return i == len(args)
}

// notPositive recognises a decimal number of 0 or less.
func notPositive(b []byte) bool {
	if len(b) == 1 {
		return b[0] == '0'
	}
	if len(b) < 2 || len(b) > 20 || b[0] != '-' {
		return false
	}
	for _, c := range b[1:] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
