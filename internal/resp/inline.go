package resp

// appendInline appends the command on an inline line as a canonical array. line ends with its line feed. A line without
// words appends nothing. http reports a browser's request, which is not appended; ok is false for unbalanced quotes.
func appendInline(dst, line []byte) (out []byte, http, ok bool) {
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	args, ok := splitArgs(line)
	if !ok || len(args) == 0 {
		return dst, false, ok
	}
	if isHTTP(args[0]) {
		return dst, true, true
	}
	return AppendCommandBytes(dst, args), false, true
}

// splitArgs splits a line into words as Redis's sdssplitargs does (sds.c): double quotes with the escapes \n \r \t \b \a
// and \xHH, single quotes with \' only, and a closing quote must end its word.
func splitArgs(line []byte) (args [][]byte, ok bool) {
	words := make([]byte, 0, len(line)) // a word is never longer than its source, so this array never moves
	for i := 0; ; {
		for i < len(line) && isSpace(line[i]) {
			i++
		}
		if i == len(line) {
			return args, true
		}
		start := len(words)
		if words, i, ok = appendWord(words, line, i); !ok {
			return nil, false
		}
		args = append(args, words[start:len(words):len(words)])
	}
}

// appendWord appends the word at line[i:] and returns the index behind it. Quotes may begin inside a word, but they
// always end it.
func appendWord(dst, line []byte, i int) (out []byte, end int, ok bool) {
	for i < len(line) {
		switch c := line[i]; c {
		case ' ', '\n', '\r', '\t': // not \v and \f, which only separate words at a word's start
			return dst, i, true
		case '"':
			return appendQuoted(dst, line, i+1)
		case '\'':
			return appendSingle(dst, line, i+1)
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst, i, true
}

// appendQuoted appends the rest of a word in double quotes, from behind the opening quote.
func appendQuoted(dst, line []byte, i int) (out []byte, end int, ok bool) {
	for i < len(line) {
		c := line[i]
		switch {
		case c == '\\' && i+3 < len(line) && line[i+1] == 'x' && isHex(line[i+2]) && isHex(line[i+3]):
			dst = append(dst, hexValue(line[i+2])<<4|hexValue(line[i+3]))
			i += 4
		case c == '\\' && i+1 < len(line):
			dst = append(dst, unescape(line[i+1]))
			i += 2
		case c == '"':
			return dst, i + 1, endsWord(line, i+1)
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst, i, false
}

// appendSingle appends the rest of a word in single quotes, from behind the opening quote.
func appendSingle(dst, line []byte, i int) (out []byte, end int, ok bool) {
	for i < len(line) {
		c := line[i]
		switch {
		case c == '\\' && i+1 < len(line) && line[i+1] == '\'':
			dst = append(dst, '\'')
			i += 2
		case c == '\'':
			return dst, i + 1, endsWord(line, i+1)
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst, i, false
}

func endsWord(line []byte, i int) bool { return i == len(line) || isSpace(line[i]) }

// isSpace is C's isspace in the C locale.
func isSpace(c byte) bool { return c == ' ' || ('\t' <= c && c <= '\r') }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func hexValue(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&0x0f + 9
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return c
}
