package resp

import (
	"bytes"
	"math"
	"strconv"
)

// Redis's own texts; the client sees "-ERR Protocol error: " before them.
const (
	errMultibulkLength = "invalid multibulk length"
	errBulkLength      = "invalid bulk length"
	errPreAuthArgs     = "unauthenticated multibulk length"
	errPreAuthBulk     = "unauthenticated bulk length"
	errLongMultibulk   = "too big mbulk count string"
	errLongBulk        = "too big bulk count string"
	errLongInline      = "too big inline request"
	errQuotes          = "unbalanced quotes in request"
)

// verdict is what the scanner found at the start of the bytes it was shown.
type verdict uint8

const (
	more    verdict = iota // no whole frame yet
	command                // a whole command, now canonical
	blank                  // a whole frame that asks for nothing: *0, *-1
	inline                 // a whole line, with its line feed, that is not in array form
	broken                 // the connection has to end; scanner.text says why
)

// scanner finds the end of one client frame. It resumes where it stopped, so that a sender of single bytes costs no more
// than one of large packets. It repairs in place what Redis accepts and redcon does not: Redis skips the two bytes that
// end a line or an argument without looking at them.
type scanner struct {
	pos  int    // bytes of the frame that are judged
	look int    // first byte that may end the current line; bytes before it do not
	args int    // arguments of the command, 0: its header is not judged yet
	left int    // arguments still to come
	body int    // bytes of the argument at pos, with its line end; 0: its header is not judged yet
	http bool   // the first argument is what a browser would send
	gone int64  // bytes of the frame that were cut off: see cut
	text string // broken: the error to send, empty to close without a word
}

// next judges the frame at the start of b, which must grow but not change between calls until a verdict other than more
// ends the frame. n is the frame's length for command, blank and inline; the scanner is then ready for the next frame.
func (s *scanner) next(b []byte, lim *Limits, authed bool) (n int, v verdict) {
	if s.args == 0 {
		if len(b) == 0 {
			return 0, more
		}
		if b[0] != '*' {
			return s.line(b, lim)
		}
		if v := s.open(b, lim, authed); v != command {
			n := s.pos
			if v == blank {
				*s = scanner{}
			}
			return n, v
		}
	}
	for s.left > 0 {
		if s.body == 0 {
			if v := s.bulk(b, lim, authed); v != command {
				return 0, v
			}
		}
		if len(b)-s.pos < s.body {
			return 0, more
		}
		s.closeBulk(b)
	}
	if s.http {
		return 0, broken // as Redis does with POST and Host: without an answer
	}
	n = s.pos
	*s = scanner{}
	return n, command
}

// fresh reports whether nothing of the frame has been judged yet.
func (s *scanner) fresh() bool { return s.args == 0 && s.look == 0 && s.gone == 0 }

// line finds the end of an inline command. Redis looks for it with strchr, so a NUL byte hides every line feed behind
// it: the line then never ends, it only gets too long.
func (s *scanner) line(b []byte, lim *Limits) (int, verdict) {
	end := min(len(b), lim.MaxInline+1)
	if s.look < end {
		rest := b[s.look:end]
		i := bytes.IndexByte(rest, '\n')
		if i >= 0 {
			rest = rest[:i]
		}
		if nul := bytes.IndexByte(rest, 0); nul >= 0 {
			s.look += nul
		} else if i >= 0 {
			n := s.look + i + 1
			*s = scanner{}
			return n, inline
		} else {
			s.look = end
		}
	}
	if len(b) > lim.MaxInline {
		return 0, s.fail(errLongInline)
	}
	return 0, more
}

// open judges the header *N.
func (s *scanner) open(b []byte, lim *Limits, authed bool) verdict {
	n, v := s.number(b, '*', lim)
	switch {
	case v != command:
		return v
	case n > math.MaxInt32: // Redis's own bound, judged first
		return s.fail(errMultibulkLength)
	case n > int64(lim.PreAuthArgs) && !authed:
		return s.fail(errPreAuthArgs)
	case n > int64(lim.MaxArgs):
		return s.fail(errMultibulkLength)
	case n <= 0:
		return blank
	}
	s.args, s.left = int(n), int(n)
	return command
}

// bulk judges the header $N of an argument.
func (s *scanner) bulk(b []byte, lim *Limits, authed bool) verdict {
	n, v := s.number(b, '$', lim)
	switch {
	case v != command:
		return v
	case n < 0 || n > lim.MaxBulk:
		return s.fail(errBulkLength)
	case n > lim.PreAuthBulk && !authed:
		return s.fail(errPreAuthBulk)
	case s.gone+int64(s.pos)+n+2 > lim.MaxQuery:
		return s.fail("") // Redis closes a client that is over its query buffer limit without a word
	}
	s.body = int(n) + 2
	return command
}

// closeBulk ends the argument at pos, all of which has arrived.
func (s *scanner) closeBulk(b []byte) {
	end := s.pos + s.body
	if s.left == s.args {
		s.http = isHTTP(b[s.pos : end-2])
	}
	b[end-2], b[end-1] = '\r', '\n'
	s.pos, s.look, s.body = end, end, 0
	s.left--
}

// number reads the header line at pos, whose first byte should be kind. Verdict command: the line is whole, canonical
// and holds a number that Redis takes.
func (s *scanner) number(b []byte, kind byte, lim *Limits) (int64, verdict) {
	if s.pos < len(b) && b[s.pos] == kind {
		if n, end := shortNumber(b, s.pos+1); end > 0 {
			b[end-1] = '\n'
			s.pos, s.look = end, end
			return n, command
		}
	}
	if v := s.wholeLine(b, kind, lim); v != command {
		return 0, v
	}
	if b[s.pos] != kind { // judged only when the line is whole, and before its number
		return 0, s.fail("expected '$', got '" + printable(b[s.pos]) + "'")
	}
	n, ok := parseLength(b[s.pos+1 : s.look])
	if !ok && kind == '*' {
		return 0, s.fail(errMultibulkLength)
	} else if !ok {
		return 0, s.fail(errBulkLength)
	}
	b[s.look+1] = '\n'
	s.pos, s.look = s.look+2, s.look+2
	return n, command
}

// wholeLine moves look to the carriage return of the header line at pos. Verdict command: the byte behind it is there
// too. Redis finds it with strchr, so a NUL byte hides what follows, as in line.
func (s *scanner) wholeLine(b []byte, kind byte, lim *Limits) verdict {
	s.look = max(s.look, s.pos)
	end := min(len(b), s.pos+lim.MaxInline+1)
	for s.look < end && b[s.look] != '\r' && b[s.look] != 0 {
		s.look++
	}
	switch {
	case s.look < end && b[s.look] == '\r' && s.look+1 < len(b):
		return command
	case s.look < end && b[s.look] == '\r' || len(b)-s.pos <= lim.MaxInline:
		return more
	case kind == '*':
		return s.fail(errLongMultibulk)
	}
	return s.fail(errLongBulk)
}

// fail ends the connection with Redis's text, or silently without one.
func (s *scanner) fail(text string) verdict {
	s.text = text
	return broken
}

// missing returns how many bytes are known to be needed before the scan can go on, 0 if that is not known.
func (s *scanner) missing(have int) int {
	if s.body == 0 {
		return 0
	}
	return max(0, s.pos+s.body-have)
}

// shortNumber reads the usual header: up to nine digits and a whole line end in b[i:]. end is behind the line, 0 if the
// line is anything else.
func shortNumber(b []byte, i int) (n int64, end int) {
	start := i
	for i < len(b) && i < start+9 && b[i]-'0' <= 9 {
		n = n*10 + int64(b[i]-'0')
		i++
	}
	if i == start || i+1 >= len(b) || b[i] != '\r' || (b[start] == '0' && i > start+1) {
		return 0, 0
	}
	return n, i + 2
}

// parseLength accepts what Redis's string2ll does: no sign but a minus, no leading zero, no space, no overflow.
func parseLength(b []byte) (int64, bool) {
	digits := b
	if len(digits) > 1 && digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 19 || digits[0] < '0' || digits[0] > '9' || (digits[0] == '0' && len(b) > 1) {
		return 0, false
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil
}

// isHTTP tells the first word of a browser's request, which Redis takes for an attack. Redis compares C strings, so what
// follows a NUL does not count.
func isHTTP(arg []byte) bool {
	if len(arg) < 4 || (arg[0]|0x20 != 'p' && arg[0]|0x20 != 'h') {
		return false
	}
	if i := bytes.IndexByte(arg, 0); i >= 0 {
		arg = arg[:i]
	}
	return equalFold(arg, "post") || equalFold(arg, "host:")
}

// equalFold compares ASCII letters without their case; lower is in lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// printable is a byte as Redis puts it into an error: line ends would break the reply and become spaces.
func printable(c byte) string {
	if c == '\r' || c == '\n' {
		c = ' '
	}
	return string([]byte{c})
}
