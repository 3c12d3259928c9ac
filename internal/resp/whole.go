package resp

// wholeCommand takes the command at the start of b, in one pass over it, if all of it is there and it is in the form in which nearly all
// come: canonical already, and within the limits by any reading. n is its length; its arguments, parts of b, are appended to args. n is 0
// for everything else, which the scanner has to judge: it alone knows what to refuse, what to repair, and what is still to come.
func wholeCommand(b []byte, lim *Limits, args [][]byte) (n int, _ [][]byte) {
	if len(b) == 0 || b[0] != '*' {
		return 0, args
	}
	count, at := plainHeader(b, 1)
	if at == 0 || count == 0 || count > lim.MaxArgs {
		return 0, args
	}
	had := len(args)
	for range count {
		if at >= len(b) || b[at] != '$' {
			return 0, args[:had]
		}
		size, start := plainHeader(b, at+1)
		end := start + size
		if start == 0 || int64(size) > lim.MaxBulk || end+2 > len(b) || b[end] != '\r' || b[end+1] != '\n' {
			return 0, args[:had]
		}
		args = append(args, b[start:end:end])
		at = end + 2
	}
	if int64(at) > lim.MaxQuery || isHTTP(args[had]) {
		return 0, args[:had]
	}
	return at, args
}

// plainHeader reads up to six digits without a leading zero, and the line's end, from b[at:]. end is behind the line; 0 if it is anything else.
func plainHeader(b []byte, at int) (n, end int) {
	if at+2 >= len(b) {
		return 0, 0
	}
	digit := b[at] - '0'
	if digit > 9 {
		return 0, 0
	}
	if b[at+1] == '\r' && b[at+2] == '\n' {
		return int(digit), at + 3
	}
	return longHeader(b, at)
}

// longHeader is plainHeader for a number of more than one digit.
func longHeader(b []byte, at int) (n, end int) {
	if b[at] == '0' {
		return 0, 0
	}
	for last := min(at+6, len(b)-1); at < last; at++ {
		digit := b[at] - '0'
		if digit > 9 {
			break
		}
		n = n*10 + int(digit)
	}
	if at+1 >= len(b) || b[at] != '\r' || b[at+1] != '\n' {
		return 0, 0
	}
	return n, at + 2
}
