package resp

import (
	"math"
	"strconv"
)

// The Append functions append one RESP element to b and return the longer slice. proto is the client's protocol: 3 for
// RESP3, anything else is RESP2.

// AppendArray appends the header of an array of n elements, which the caller appends next.
func AppendArray(b []byte, n int) []byte { return appendHeader(b, '*', int64(n)) }

// AppendMap appends the header of a map of pairs entries: in RESP2 an array of twice as many elements.
func AppendMap(b []byte, proto, pairs int) []byte {
	if proto == 3 {
		return appendHeader(b, '%', int64(pairs))
	}
	return appendHeader(b, '*', 2*int64(pairs))
}

// AppendSet appends the header of a set of n members: in RESP2 an array.
func AppendSet(b []byte, proto, n int) []byte {
	if proto == 3 {
		return appendHeader(b, '~', int64(n))
	}
	return appendHeader(b, '*', int64(n))
}

// AppendPush appends the header of an out-of-band message of n elements: in RESP2 an array.
func AppendPush(b []byte, proto, n int) []byte {
	if proto == 3 {
		return appendHeader(b, '>', int64(n))
	}
	return appendHeader(b, '*', int64(n))
}

// AppendBulk appends a bulk string.
func AppendBulk(b, s []byte) []byte {
	b = appendHeader(b, '$', int64(len(s)))
	b = append(b, s...)
	return append(b, '\r', '\n')
}

// AppendBulkString appends a bulk string.
func AppendBulkString(b []byte, s string) []byte {
	b = appendHeader(b, '$', int64(len(s)))
	b = append(b, s...)
	return append(b, '\r', '\n')
}

// AppendSimple appends a simple string ("+OK"); line ends in s become spaces.
func AppendSimple(b []byte, s string) []byte { return appendLine(b, '+', s) }

// AppendError appends an error. text begins with its code ("ERR unknown command"); line ends in it become spaces.
func AppendError(b []byte, text string) []byte { return appendLine(b, '-', text) }

// AppendInt appends an integer.
func AppendInt(b []byte, n int64) []byte { return appendHeader(b, ':', n) }

// AppendBool appends a boolean: in RESP2 the integer 1 or 0.
func AppendBool(b []byte, proto int, v bool) []byte {
	switch {
	case proto == 3 && v:
		return append(b, "#t\r\n"...)
	case proto == 3:
		return append(b, "#f\r\n"...)
	case v:
		return append(b, ":1\r\n"...)
	}
	return append(b, ":0\r\n"...)
}

// AppendNull appends the null that stands for a missing value.
func AppendNull(b []byte, proto int) []byte {
	if proto == 3 {
		return append(b, "_\r\n"...)
	}
	return append(b, "$-1\r\n"...)
}

// AppendNullArray appends the null that stands for a missing array, which is a different one in RESP2 only.
func AppendNullArray(b []byte, proto int) []byte {
	if proto == 3 {
		return append(b, "_\r\n"...)
	}
	return append(b, "*-1\r\n"...)
}

// AppendVerbatim appends a text with its format, which has three bytes ("txt", "mkd"): in RESP2 a bulk string.
func AppendVerbatim(b []byte, proto int, format, s string) []byte {
	if proto != 3 {
		return AppendBulkString(b, s)
	}
	b = appendHeader(b, '=', int64(len(format)+1+len(s)))
	b = append(b, format...)
	b = append(b, ':')
	b = append(b, s...)
	return append(b, '\r', '\n')
}

// AppendDouble appends a floating point number in the shortest text that reads back the same: in RESP2 a bulk string.
func AppendDouble(b []byte, proto int, f float64) []byte {
	var scratch [32]byte
	text := scratch[:0]
	switch {
	case math.IsInf(f, 1):
		text = append(text, "inf"...)
	case math.IsInf(f, -1):
		text = append(text, "-inf"...)
	case math.IsNaN(f):
		text = append(text, "nan"...)
	default:
		text = strconv.AppendFloat(text, f, 'g', -1, 64)
	}
	if proto != 3 {
		return AppendBulk(b, text)
	}
	b = append(b, ',')
	b = append(b, text...)
	return append(b, '\r', '\n')
}

// AppendCommand appends a command in the form clients send it.
func AppendCommand(b []byte, args ...string) []byte {
	b = AppendArray(b, len(args))
	for _, a := range args {
		b = AppendBulkString(b, a)
	}
	return b
}

// AppendCommandBytes appends a command in the form clients send it.
func AppendCommandBytes(b []byte, args [][]byte) []byte {
	b = AppendArray(b, len(args))
	for _, a := range args {
		b = AppendBulk(b, a)
	}
	return b
}

func appendHeader(b []byte, kind byte, n int64) []byte {
	b = append(b, kind)
	b = strconv.AppendInt(b, n, 10)
	return append(b, '\r', '\n')
}

// appendLine keeps a text inside its line: a line end in it would be read as the end of the reply.
func appendLine(b []byte, kind byte, s string) []byte {
	b = append(b, kind)
	start := len(b)
	b = append(b, s...)
	for i := start; i < len(b); i++ {
		if b[i] == '\r' || b[i] == '\n' {
			b[i] = ' '
		}
	}
	return append(b, '\r', '\n')
}
