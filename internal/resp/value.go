package resp

import (
	"bytes"
	"errors"
	"strconv"
)

// maxDepth is how deep Parse follows nested replies. Redis's own replies nest five levels at most.
const maxDepth = 128

// Errors of Parse. ErrReply is the third.
var (
	// ErrIncomplete: b ends inside the reply.
	ErrIncomplete = errors.New("incomplete reply")
	// ErrDepth: the reply nests deeper than 128 levels.
	ErrDepth = errors.New("reply nested too deeply")
)

// Value is one decoded reply element.
type Value struct {
	Kind  byte    // RESP type byte: + - : $ * _ # , ( ! = % ~ >
	Str   []byte  // text of + - $ , ( ! and of = without its format; aliases the bytes given to Parse
	Int   int64   // value of :, 1 or 0 for #
	Elems []Value // elements of * ~ >, and of % as key, value, key, value...
	Null  bool    // $-1, *-1, _
}

// Parse decodes the reply at the start of b, RESP2 or RESP3, and returns the n bytes it takes. Attributes are dropped. It
// takes memory for elements that are there, never for what a length announces. Errors: ErrIncomplete, ErrDepth,
// ErrReply.
func Parse(b []byte) (v Value, n int, err error) { return parse(b, 0) }

func parse(b []byte, depth int) (v Value, n int, err error) {
	if depth > maxDepth {
		return v, 0, ErrDepth
	}
	if len(b) == 0 {
		return v, 0, ErrIncomplete
	}
	if bytes.IndexByte([]byte("+-:$*_#,(!=%~>|"), b[0]) < 0 {
		return v, 0, ErrReply
	}
	end := bytes.Index(b, []byte("\r\n"))
	if end < 0 {
		return v, 0, ErrIncomplete
	}
	v.Kind = b[0]
	line := b[1:end]
	n = end + 2
	switch v.Kind {
	case '$', '!', '=', '*', '~', '>', '%', '|':
		return parseSized(v, b, n, line, depth)
	}
	return v, n, v.setLine(line)
}

// setLine decodes an element without a length.
func (v *Value) setLine(line []byte) error {
	switch v.Kind {
	case '+', '-', ',', '(':
		v.Str = line
	case ':':
		n, err := strconv.ParseInt(string(line), 10, 64)
		if err != nil {
			return ErrReply
		}
		v.Int = n
	case '#':
		if string(line) == "t" {
			v.Int = 1
		} else if string(line) != "f" {
			return ErrReply
		}
	case '_':
		if len(line) > 0 {
			return ErrReply
		}
		v.Null = true
	default:
		return ErrReply
	}
	return nil
}

// parseSized decodes an element whose header, with the length in line, ends at b[n].
func parseSized(v Value, b []byte, n int, line []byte, depth int) (Value, int, error) {
	size, ok := parseSize(line)
	switch {
	case !ok:
		return v, 0, ErrReply
	case size < 0 && v.Kind != '$' && v.Kind != '*':
		return v, 0, ErrReply
	case size < 0:
		v.Null = true
		return v, n, nil
	case v.Kind == '$' || v.Kind == '!' || v.Kind == '=':
		return parseBulk(v, b, n, size)
	case size > maxReplyElements:
		return v, 0, ErrReply
	case v.Kind == '%' || v.Kind == '|':
		size *= 2
	}
	elems, n, err := parseElems(b, n, size, depth)
	if err != nil {
		return v, 0, err
	}
	if v.Kind == '|' {
		v, used, err := parse(b[n:], depth+1)
		if err != nil {
			return v, 0, err
		}
		return v, n + used, nil
	}
	v.Elems = elems
	return v, n, nil
}

// parseBulk decodes a bulk of size bytes that begin at b[n].
func parseBulk(v Value, b []byte, n int, size int64) (Value, int, error) {
	if int64(len(b)-n) < size+2 {
		return v, 0, ErrIncomplete
	}
	v.Str = b[n : n+int(size)]
	n += int(size) + 2
	if b[n-2] != '\r' || b[n-1] != '\n' {
		return v, 0, ErrReply
	}
	if v.Kind == '=' {
		if size < 4 || v.Str[3] != ':' {
			return v, 0, ErrReply
		}
		v.Str = v.Str[4:]
	}
	return v, n, nil
}

// parseElems decodes size elements that begin at b[n]; it returns the index behind them.
func parseElems(b []byte, n int, size int64, depth int) ([]Value, int, error) {
	elems := make([]Value, 0, min(size, 16)) // not size: that is only a claim
	for ; size > 0; size-- {
		v, used, err := parse(b[n:], depth+1)
		if err != nil {
			return nil, 0, err
		}
		n += used
		elems = append(elems, v)
	}
	return elems, n, nil
}

// parseSize reads a length as Framer does: digits, or -1.
func parseSize(line []byte) (int64, bool) {
	if string(line) == "-1" {
		return -1, true
	}
	var n int64
	for _, c := range line {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + int64(c-'0'); n > maxReplyBulk {
			return 0, false
		}
	}
	return n, len(line) > 0
}
