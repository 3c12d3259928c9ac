package resp

import (
	"bytes"
	"errors"
)

// Largest lengths that a Framer or Parse takes for honest. Both are far beyond Redis's limits; they only keep sums of them
// inside an int64.
const (
	maxReplyBulk     = 1 << 40
	maxReplyElements = 1 << 32
	maxReplyPending  = 1 << 48
)

// ErrReply says that an upstream's bytes are not RESP: the connection cannot be used any more.
var ErrReply = errors.New("malformed reply")

type frameState uint8

const (
	atType   frameState = iota // a type byte comes next
	inLine                     // in a simple element's text
	lineLF                     // behind a carriage return in it
	inLength                   // in the number of a header
	lengthLF                   // behind its carriage return
	inBody                     // in a bulk's bytes
	bodyCR                     // behind them
	bodyLF                     // behind their carriage return
	failed                     // not RESP
)

// Framer finds the ends of replies in a stream of RESP2 or RESP3 without decoding them. It looks at every byte outside
// bulks once, however the stream is cut, jumps over bulks, and allocates nothing. The zero Framer is ready for use; it
// is not safe for concurrent use.
//
// Nesting needs no stack: where a reply ends depends on how many elements are still to come, not on whose they are. So
// any depth takes the same few bytes.
type Framer struct {
	pending int64 // elements still to come, of all levels together; 0: between replies
	num     int64 // number read so far, then bytes left of a bulk
	state   frameState
	kind    byte // type of the reply
	typ     byte // type of the current element
	digits  bool // the header has a digit
	neg     bool // the header has a minus
	open    bool // the reply's own type byte was seen (what comes before it are attributes)
}

// Between reports whether the last reply was completed and nothing of the next one was consumed.
func (f *Framer) Between() bool { return f.pending == 0 && f.state != failed }

// Whole returns the length of the reply at the start of b if it has no elements inside and all of it is there, 0 for anything else. A
// Framer that is Between replies takes it for the same; it need not be told.
func Whole(b []byte) int { return wholeElement(b) }

// Next consumes n bytes of b, n <= len(b). done: these bytes, with those consumed by earlier calls, complete one reply,
// and the next call begins another. Not done: n == len(b), more bytes are needed. The only error is ErrReply; it
// stays, and n then says nothing.
func (f *Framer) Next(b []byte) (n int, done bool, err error) {
	if f.pending == 0 {
		if f.state == failed {
			return 0, false, ErrReply
		}
		if n := wholeElement(b); n > 0 {
			f.kind = b[0]
			return n, true, nil
		}
		if len(b) == 0 {
			return 0, false, nil
		}
		f.pending, f.open = 1, false
	}
	for n < len(b) {
		used, ok := f.step(b[n:])
		if !ok {
			*f = Framer{state: failed, kind: f.kind}
			return n, false, ErrReply
		}
		n += used
		if f.pending == 0 {
			return n, true, nil
		}
	}
	return n, false, nil
}

// Kind returns the first byte of the reply that is being framed or was just completed: '>' is a push. Attributes in front
// of a reply are part of it but do not count: while no more than they have been seen, Kind is '|'.
func (f *Framer) Kind() byte { return f.kind }

// Missing returns how many bytes at least are needed to complete the reply, as far as its current bulk tells; 0 if it does not.
func (f *Framer) Missing() int {
	if f.state != inBody {
		return 0
	}
	return int(f.num) + 2
}

// wholeElement is the way most elements take: no elements inside, and all of it in b. It returns its length, 0 for
// anything else, which then goes step by step.
func wholeElement(b []byte) int {
	if len(b) < 3 {
		return 0
	}
	switch b[0] {
	case '+', '-', ':', '_', '#', ',':
		i := bytes.IndexByte(b, '\r')
		if i > 0 && i+1 < len(b) && b[i+1] == '\n' {
			return i + 2
		}
	case '$':
		size, body := shortNumber(b, 1)
		end := body + int(size) + 2
		if body > 0 && b[body-1] == '\n' && end <= len(b) && b[end-2] == '\r' && b[end-1] == '\n' {
			return end
		}
	}
	return 0
}

// step consumes a part of one element; b is not empty. ok is false for what is not RESP.
func (f *Framer) step(b []byte) (used int, ok bool) {
	switch f.state {
	case atType:
		if n := wholeElement(b); n > 0 {
			f.setKind(b[0])
			f.endElement()
			return n, true
		}
		return 1, f.begin(b[0])
	case inLine:
		i := bytes.IndexByte(b, '\r')
		if i < 0 {
			return len(b), true
		}
		f.state = lineLF
		return i + 1, true
	case lineLF:
		f.endLine(b[0])
		return 1, true
	case inLength:
		return f.length(b)
	case lengthLF:
		return 1, b[0] == '\n' && f.endLength()
	case inBody:
		used := int(min(f.num, int64(len(b))))
		if f.num -= int64(used); f.num == 0 {
			f.state = bodyCR
		}
		return used, true
	case bodyCR:
		f.state = bodyLF
		return 1, b[0] == '\r'
	default: // bodyLF
		f.endElement()
		return 1, b[0] == '\n'
	}
}

// begin starts the element with type t.
func (f *Framer) begin(t byte) bool {
	f.setKind(t)
	f.typ = t
	switch t {
	case '+', '-', ':', '_', '#', ',', '(':
		f.state = inLine
	case '$', '!', '=', '*', '~', '>', '%', '|':
		f.state, f.num, f.digits, f.neg = inLength, 0, false, false
	default:
		return false
	}
	return true
}

// setKind takes t for the reply's own type if nothing but attributes came before it.
func (f *Framer) setKind(t byte) {
	if f.pending == 1 && !f.open {
		f.kind, f.open = t, t != '|'
	}
}

// endLine looks behind a carriage return in a simple element; alone, it is part of the text.
func (f *Framer) endLine(c byte) {
	switch c {
	case '\n':
		f.endElement()
	case '\r':
	default:
		f.state = inLine
	}
}

// length reads the number of a header. "?", the mark of a streamed element, is no number: Redis never sends one.
func (f *Framer) length(b []byte) (used int, ok bool) {
	for i, c := range b {
		switch {
		case '0' <= c && c <= '9':
			if f.neg && f.digits {
				return 0, false
			}
			f.digits = true
			if f.num = f.num*10 + int64(c-'0'); f.num > maxReplyBulk {
				return 0, false
			}
		case c == '-' && !f.digits && !f.neg:
			f.neg = true
		case c == '\r' && f.digits:
			f.state = lengthLF
			return i + 1, true
		default:
			return 0, false
		}
	}
	return len(b), true
}

// endLength acts on a whole header.
func (f *Framer) endLength() bool {
	if f.neg { // only RESP2's nulls
		null := f.num == 1 && (f.typ == '$' || f.typ == '*')
		f.endElement()
		return null
	}
	if f.typ == '$' || f.typ == '!' || f.typ == '=' {
		f.state = inBody
		if f.num == 0 {
			f.state = bodyCR
		}
		return true
	}
	if f.num > maxReplyElements {
		return false
	}
	elements := f.num
	if f.typ == '%' || f.typ == '|' {
		elements *= 2
	}
	if f.typ == '|' {
		f.pending++ // attributes come in addition to the element they belong to
	}
	f.pending += elements
	f.endElement()
	return f.pending <= maxReplyPending
}

func (f *Framer) endElement() {
	f.pending--
	f.state = atType
}

// IsError reports whether a whole reply is an error.
func IsError(reply []byte) bool {
	return len(reply) > 0 && (reply[0] == '-' || reply[0] == '!')
}

// ErrorCode returns the first word of an error reply ("ERR", "WRONGTYPE", "MOVED"), empty for any other reply.
func ErrorCode(reply []byte) string {
	if !IsError(reply) {
		return ""
	}
	text := reply[1:]
	if reply[0] == '!' { // the text follows the line with its length
		_, after, found := bytes.Cut(text, []byte("\r\n"))
		if !found {
			return ""
		}
		text = after
	}
	if i := bytes.IndexAny(text, " \r\n"); i >= 0 {
		text = text[:i]
	}
	return string(text)
}
