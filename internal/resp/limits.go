package resp

import "math"

// Limits bounds what one client may send. A field that is zero or negative has its default value.
type Limits struct {
	MaxBulk     int64 // bytes in one argument; default 512 MB (Redis: proto-max-bulk-len)
	MaxArgs     int   // arguments in one command; default 1,048,576, at most 2^31-1
	MaxInline   int   // bytes in an inline command or in the line of a header; default 64 KB
	MaxQuery    int64 // bytes of one whole command, headers included; default 1 GB (Redis: client-query-buffer-limit)
	PreAuthArgs int   // as MaxArgs, before the client has authenticated; default 10
	PreAuthBulk int64 // as MaxBulk, before the client has authenticated; default 16,384
}

// DefaultLimits returns the limits of Redis 6.2 and later. MaxArgs is the one of Redis before 7.0, which has 2^31-1.
func DefaultLimits() Limits {
	return Limits{
		MaxBulk:     512 << 20,
		MaxArgs:     1 << 20,
		MaxInline:   64 << 10,
		MaxQuery:    1 << 30,
		PreAuthArgs: 10,
		PreAuthBulk: 16384,
	}
}

// withDefaults returns the limits with every field in its range.
func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	l.MaxBulk = orDefault(l.MaxBulk, d.MaxBulk)
	l.MaxArgs = min(orDefault(l.MaxArgs, d.MaxArgs), math.MaxInt32)
	l.MaxInline = orDefault(l.MaxInline, d.MaxInline)
	l.MaxQuery = orDefault(l.MaxQuery, d.MaxQuery)
	l.PreAuthArgs = orDefault(l.PreAuthArgs, d.PreAuthArgs)
	l.PreAuthBulk = orDefault(l.PreAuthBulk, d.PreAuthBulk)
	return l
}

func orDefault[T int | int64](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}
