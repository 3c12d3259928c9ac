package keyspace

// maxStars is how many runs of '*' a pattern may hold before Redis gives up on it (since 6.2.16, 7.2.6 and 7.4.1).
const maxStars = 1000

// Glob matches s against a pattern exactly as KEYS and SCAN ... MATCH do: '*', '?', '[abc]', '[^abc]', '[a-z]' (in either
// order), '\' for a literal; a '[' that is not closed goes on to the end of the pattern. Letter case counts, and bytes in
// ranges compare as signed numbers, as in Redis on x86. As in Redis no pattern but those without any bytes matches the
// empty string; KEYS and SCAN do not ask when the pattern is a lone '*'.
//
// It takes at most time proportional to len(pattern) times len(s): of several '*' only the last one is tried at other
// places, which is all that Redis does too (its skipLongerMatches).
func Glob(pattern, s []byte) bool {
	var p, i int // next bytes of pattern and s
	star, from := -1, 0
	for stars := 0; ; {
		if p < len(pattern) && i < len(s) && pattern[p] == '*' {
			for p < len(pattern) && pattern[p] == '*' {
				p++
			}
			if p == len(pattern) {
				return true
			}
			if stars++; stars > maxStars {
				return false
			}
			star, from = p, i
			continue
		}
		if p < len(pattern) && i < len(s) {
			if next, ok := globByte(pattern, p, s[i]); ok {
				p, i = next, i+1
				continue
			}
		} else if i == len(s) && onlyStars(pattern[p:]) && (i > 0 || p == len(pattern)) {
			return true
		}
		if from++; star < 0 || from >= len(s) {
			return false
		}
		p, i = star, from
	}
}

func onlyStars(pattern []byte) bool {
	for _, c := range pattern {
		if c != '*' {
			return false
		}
	}
	return true
}

// globByte matches one byte against the element at pattern[p], which is not '*', and returns where the next element is.
func globByte(pattern []byte, p int, c byte) (next int, ok bool) {
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return globClass(pattern, p+1, c)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return p + 1, pattern[p] == c
}

// globClass matches one byte against the class whose '[' is in front of p.
func globClass(pattern []byte, p int, c byte) (next int, ok bool) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	for ; p < len(pattern); p++ {
		switch left := len(pattern) - p; {
		case pattern[p] == '\\' && left >= 2:
			p++
			ok = ok || pattern[p] == c
		case pattern[p] == ']':
			return p + 1, ok != not
		case left >= 3 && pattern[p+1] == '-':
			ok = ok || within(pattern[p], pattern[p+2], c)
			p += 2
		default:
			ok = ok || pattern[p] == c
		}
	}
	return p, ok != not
}

func within(a, b, c byte) bool {
	lo, hi, x := int8(a), int8(b), int8(c)
	return min(lo, hi) <= x && x <= max(lo, hi)
}
