package proxy

import (
	"strconv"
	"strings"
	"time"

	"credproxy/internal/resp"
	"credproxy/internal/session"
	"credproxy/keyspace"
)

// A SCAN goes through Redis first, then through Postgres. The cursor that a client holds says where it is and when it began, so
// that no state is kept here: from the top, one bit for the part, 16 bits for the start (in units of 4 s, so a scan may
// take three days), 36 bits for the cursor inside the part. It stays below 2^53, since node-redis 4 keeps cursors in a double.
const (
	scanInner = 36
	scanStart = 16
	scanUnit  = 4000 // milliseconds
)

type scanCursor struct {
	stored bool  // the part in Postgres
	start  int64 // unix milliseconds, rounded down
	inner  uint64
}

func (sc scanCursor) encode() uint64 {
	v := sc.inner | uint64(sc.start/scanUnit)&(1<<scanStart-1)<<scanInner
	if sc.stored {
		v |= 1 << (scanInner + scanStart)
	}
	return v
}

// decodeCursor is the reverse; 0 begins a scan.
func decodeCursor(v uint64, now int64) scanCursor {
	if v == 0 {
		return scanCursor{start: now - now%scanUnit}
	}
	const span = scanUnit << scanStart
	start := int64(v>>scanInner&(1<<scanStart-1)) * scanUnit
	start += now - now%span
	if start > now {
		start -= span
	}
	return scanCursor{stored: v>>(scanInner+scanStart)&1 == 1, start: start, inner: v & (1<<scanInner - 1)}
}

// scanOptions are what of SCAN's options concerns stored keys.
type scanOptions struct {
	match []byte
	count int
	typ   string
}

func parseScan(args [][]byte) (o scanOptions, ok bool) {
	o.count = 10
	for ; len(args) >= 2; args = args[2:] {
		switch strings.ToUpper(string(args[0])) {
		case "MATCH":
			o.match = args[1]
		case "COUNT":
			n, err := strconv.Atoi(string(args[1]))
			if err != nil || n < 1 {
				return o, false
			}
			o.count = n
		case "TYPE":
			o.typ = strings.ToLower(string(args[1]))
		default:
			return o, false
		}
	}
	return o, len(args) == 0
}

func (c *client) cmdScan(_ *keyspace.Command, args [][]byte, raw []byte) {
	v, err := strconv.ParseUint(string(args[1]), 10, 64)
	o, ok := parseScan(args[2:])
	if err != nil || !ok {
		c.pass(raw) // Redis says what is wrong
		return
	}
	cur := decodeCursor(v, nowMilli())
	if cur.stored {
		c.scanStored(cur, o)
		return
	}
	args = append([][]byte{}, args...)
	args[1] = strconv.AppendUint(nil, cur.inner, 10)
	reply, err := c.roundTrip(resp.AppendCommandBytes(nil, args))
	if err != nil {
		c.emit(errorReply(nil, textUnavailable(err)))
		return
	}
	c.emit(scanReply(reply, cur))
}

// scanReply takes the proxy's own keys out of Redis's answer and wraps the cursor.
func scanReply(reply []byte, cur scanCursor) []byte {
	v, _, err := resp.Parse(reply)
	if err != nil || len(v.Elems) != 2 {
		return reply
	}
	inner, err := strconv.ParseUint(string(v.Elems[0].Str), 10, 64)
	if err != nil || inner >= 1<<scanInner {
		return errorReply(nil, "ERR credproxy: Redis's cursor is larger than the proxy can pass on")
	}
	cur.inner = inner
	if inner == 0 {
		cur.stored = true
	}
	var keys []string
	for i := range v.Elems[1].Elems {
		if key := v.Elems[1].Elems[i].Str; !keyspace.Own(key) {
			keys = append(keys, string(key))
		}
	}
	return appendScan(cur.encode(), keys)
}

func appendScan(cursor uint64, keys []string) []byte {
	b := resp.AppendArray(nil, 2)
	b = resp.AppendBulkString(b, strconv.FormatUint(cursor, 10))
	return appendStrings(b, keys)
}

// scanStored answers from Postgres. A page holds COUNT keys before MATCH and TYPE are applied, as in Redis; pages without
// any key outside Redis are passed over within reason.
func (c *client) scanStored(cur scanCursor, o scanOptions) {
	ctx, cancel := c.listContext()
	defer cancel()
	limit := min(max(o.count, 100), listPage)
	wanted := func(e *session.Entry) bool {
		return (o.match == nil || matches(o.match, e.Key)) && (o.typ == "" || o.typ == e.Type.String())
	}
	var keys []string
	for range 10 {
		page, err := c.s.page(ctx, c.ident.DB, int64(cur.inner), limit)
		if err != nil {
			c.emit(errorReply(nil, textTryAgain(err)))
			return
		}
		found, err := c.s.missed(ctx, c.ident.DB, page, cur.start*int64(time.Millisecond), wanted)
		if err != nil {
			c.emit(errorReply(nil, textTryAgain(err)))
			return
		}
		for _, e := range found {
			keys = append(keys, e.Key)
		}
		if len(page) < limit {
			c.emit(appendScan(0, keys))
			return
		}
		if cur.inner = uint64(page[len(page)-1].Pos); len(keys) > 0 {
			break
		}
	}
	c.emit(appendScan(cur.encode(), keys))
}
