package proxy

import (
	"bytes"
	"context"
	"errors"
	"slices"
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

// scanOptionsOf reads them; not ok: Redis would not take them, or is newer than this.
func scanOptionsOf(args [][]byte) (o scanOptions, ok bool) {
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

// parseScan reads a SCAN; l.plain: Redis will say what is wrong with it.
func (l *listing) parseScan(args [][]byte) {
	v, err := strconv.ParseUint(string(args[1]), 10, 64)
	o, ok := scanOptionsOf(args[2:])
	if l.plain = err != nil || !ok; l.plain {
		return
	}
	o.match = bytes.Clone(o.match)
	l.cursor, l.scan, l.first = decodeCursor(v, nowMilli()), o, v == 0
}

// page answers SCAN. Where Redis's part ends, the stored part begins, so that nobody comes back for an empty page.
func (l *listing) page(ctx context.Context, v resp.Value) ([]byte, error) {
	var keys []string
	if !l.cursor.stored {
		if len(v.Elems) != 2 {
			return nil, unavailableError{errors.New("the answer to SCAN is no pair")}
		}
		inner, err := strconv.ParseUint(string(v.Elems[0].Str), 10, 64)
		if err != nil || inner >= 1<<scanInner {
			return nil, unavailableError{errors.New("the cursor of Redis is larger than the proxy can pass on")}
		}
		for i := range v.Elems[1].Elems {
			if key := v.Elems[1].Elems[i].Str; !keyspace.Own(key) {
				keys = append(keys, string(key))
			}
		}
		if l.cursor.inner = inner; inner != 0 {
			return appendScan(l.cursor.encode(), keys), nil
		}
		l.cursor.stored = true
	}
	return l.storedPage(ctx, keys)
}

func appendScan(cursor uint64, keys []string) []byte {
	b := resp.AppendArray(nil, 2)
	b = resp.AppendBulkString(b, strconv.FormatUint(cursor, 10))
	return appendStrings(b, keys)
}

// storedPage adds stored keys. A page holds COUNT keys before MATCH and TYPE are applied, as in Redis; pages without any key
// outside Redis are passed over within reason.
func (l *listing) storedPage(ctx context.Context, inRedis []string) ([]byte, error) {
	keys := inRedis
	o, cur := &l.scan, &l.cursor
	limit := min(max(o.count, 100), listPage)
	wanted := func(e *session.Entry) bool { return o.match == nil || matches(o.match, e.Key) }
	since := cur.start * int64(time.Millisecond)
	if l.first {
		since = l.since // the cursor knows the time of its scan's start to 4 s only
	}
	for range 10 {
		page, found, err := l.c.s.missedPage(ctx, l.db, int64(cur.inner), limit, since, o.typ, wanted)
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			if !slices.Contains(inRedis, e.Key) { // it has just come back
				keys = append(keys, e.Key)
			}
		}
		if len(page) < limit {
			return appendScan(0, keys), nil
		}
		if cur.inner = uint64(page[len(page)-1].Pos); len(found) > 0 {
			break
		}
	}
	return appendScan(cur.encode(), keys), nil
}
