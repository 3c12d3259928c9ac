package main

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strconv"
)

// expect is the reply that a command must get.
type expect struct {
	// head and tail together are the whole reply; both empty: any reply of the kind, a null excepted. Two parts, so that many
	// sessions share the bulk of a value: compared by all, it stays in the processor's cache.
	head, tail []byte
	kind       byte // + : $ *
	// loose: the last varied bytes of the value are not compared, as every write changes them.
	loose bool
}

// varied is how many bytes at the end of a value each write makes anew, so that there is something to save.
const varied = 8

// vary changes the value at the end of a command.
func vary(b []byte, rng *rand.Rand) { binary.LittleEndian.PutUint64(b[len(b)-varied-2:], rng.Uint64()) }

// judge compares the replies of one connection, as they arrive in pieces, with what is expected. The usual case, the right
// reply, costs one comparison of bytes: it is not parsed, and not copied.
type judge struct {
	matched int    // bytes of the expected reply that have arrived
	rest    []byte // the beginning of a reply that has to be parsed
}

// verdict is about one reply.
type verdict struct {
	done  bool   // the reply is complete
	wrong string // what is wrong with it, "": nothing
}

// take looks at data for the reply e, and returns how many bytes of it belong to that reply.
func (j *judge) take(e *expect, data []byte) (int, verdict, error) {
	used := 0
	if len(e.head) > 0 && len(j.rest) == 0 {
		var same bool
		if used, same = j.match(e, data); same {
			done := j.matched == len(e.head)+len(e.tail)
			if done {
				j.matched = 0
			}
			return used, verdict{done: done}, nil
		}
		j.undo(e)
	}
	n, v, err := j.parse(e, data[used:])
	return used + n, v, err
}

// match compares as much as there is. With a difference, used counts what was equal before it in whole parts.
func (j *judge) match(e *expect, data []byte) (used int, same bool) {
	for {
		want, free := e.rest(j.matched)
		n := min(len(want), len(data)-used)
		if n == 0 {
			return used, true
		}
		if !free && !bytes.Equal(want[:n], data[used:used+n]) {
			return used, false
		}
		used += n
		j.matched += n
	}
}

// rest is what follows after n bytes, up to the end of the part. free: it is not compared.
func (e *expect) rest(n int) (part []byte, free bool) {
	if n < len(e.head) {
		part = e.head[n:]
	} else {
		part = e.tail[n-len(e.head):]
	}
	left := len(e.head) + len(e.tail) - n
	switch {
	case !e.loose || left <= 2:
		return part, false
	case left <= 2+varied:
		return part[:min(len(part), left-2)], true
	}
	return part[:min(len(part), left-2-varied)], false
}

// undo takes what has matched for the beginning of another reply.
func (j *judge) undo(e *expect) {
	head := min(j.matched, len(e.head))
	j.rest = append(append(j.rest, e.head[:head]...), e.tail[:j.matched-head]...)
	j.matched = 0
}

// parse reads a reply that is not known in advance, or not the right one.
func (j *judge) parse(e *expect, data []byte) (int, verdict, error) {
	all, before := data, len(j.rest)
	if before > 0 {
		j.rest = append(j.rest, data...)
		all = j.rest
	}
	n, err := frame(all, 0)
	if err != nil {
		return 0, verdict{}, err
	}
	if n == 0 {
		if before == 0 {
			j.rest = append(j.rest, data...)
		}
		return len(data), verdict{}, nil
	}
	v := verdict{done: true, wrong: wrongness(e, all[:n])}
	j.rest = j.rest[:0]
	return n - before, v, nil
}

// wrongness says what is wrong with a whole reply.
func wrongness(e *expect, text []byte) string {
	line, _, _ := bytes.Cut(text, []byte("\r\n"))
	switch {
	case text[0] == '-':
		return string(line[1:])
	case text[0] != e.kind:
		return "reply of kind " + string(text[0])
	case string(line[1:]) == "-1" || string(text) == "*1\r\n$-1\r\n" && len(e.head) > 0:
		return "null"
	case len(e.head) > 0:
		return "another value than was written"
	}
	return ""
}

// frame returns the length of the reply at the beginning of b, 0 if its end is not there.
func frame(b []byte, depth int) (int, error) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return 0, nil
	}
	if end < 2 || depth > maxDepth {
		return 0, errReply
	}
	at := end + 1
	switch b[0] {
	case '+', '-', ':':
		return at, nil
	case '$', '*':
	default:
		return 0, errReply
	}
	n, err := strconv.Atoi(string(b[1 : end-1]))
	if err != nil || n < -1 {
		return 0, errReply
	}
	if n < 0 {
		return at, nil
	}
	if b[0] == '$' {
		if len(b) < at+n+2 {
			return 0, nil
		}
		return at + n + 2, nil
	}
	for range n {
		size, err := frame(b[at:], depth+1)
		if err != nil || size == 0 {
			return 0, err
		}
		at += size
	}
	return at, nil
}
