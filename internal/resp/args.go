package resp

// AppendArgs appends the arguments of a canonical command, as the guard hands them over, to args. They are parts of raw. It
// returns nil for anything else.
func AppendArgs(args [][]byte, raw []byte) [][]byte {
	_, i := header(raw, 0, '*')
	for i > 0 && i < len(raw) {
		n, at := header(raw, i, '$')
		if at == 0 || n > len(raw)-at-2 {
			return nil
		}
		args = append(args, raw[at:at+n:at+n])
		i = at + n + 2
	}
	if i == 0 {
		return nil
	}
	return args
}

// header reads the line at b[i:], of that kind; end is behind it, 0 if there is none.
func header(b []byte, i int, kind byte) (n, end int) {
	if i >= len(b) || b[i] != kind {
		return 0, 0
	}
	for i++; i < len(b) && b[i]-'0' <= 9 && n < 1<<40; i++ {
		n = n*10 + int(b[i]-'0')
	}
	if i+1 >= len(b) || b[i] != '\r' {
		return 0, 0
	}
	return n, i + 2
}
