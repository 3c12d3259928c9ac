package proxy

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"credproxy/internal/resp"
	"credproxy/internal/session"
	"credproxy/keyspace"
)

// KEYS, SCAN, DBSIZE and RANDOMKEY tell about keys that they do not name, and evicted sessions' keys are among them. Redis is
// asked first, then Postgres. A key that Postgres has and Redis did not show is shown if its session was outside Redis
// at some time since Redis was asked: resident all the while, Redis's word is the truth (the key is deleted and not saved
// yet); otherwise Redis may have been asked too late or too early.

// listPage is how many stored keys are read from Postgres at once.
const listPage = 2000

// outside reports whether a stored key's session was not wholly in Redis all the time since (unix milliseconds).
func (s *Server) outside(id session.ID, since int64) bool {
	r, ok := s.sessions.lookup(s.sessions.identityOf(id))
	if !ok {
		return true
	}
	r.sh.Lock()
	defer r.sh.Unlock()
	g := &r.it.Value
	return g.state != resident || g.run != s.runs.Current() || g.loaded >= since
}

// stored calls f for every stored key of a database that is outside Redis, until f says no. It waits for Postgres as long as
// restore.wait allows.
func (s *Server) stored(ctx context.Context, db int, since int64, f func(e *session.Entry) bool) error {
	var after int64
	for {
		page, err := s.page(ctx, db, after, listPage)
		if err != nil {
			return err
		}
		for i := range page {
			after = page[i].Pos
			if s.configured(page[i].Session.Keyspace) && s.outside(page[i].Session, since) && !f(&page[i]) {
				return nil
			}
		}
		if len(page) < listPage {
			return nil
		}
	}
}

func (s *Server) page(ctx context.Context, db int, after int64, limit int) ([]session.Entry, error) {
	for {
		page, err := s.store.Keys(ctx, db, after, limit, nowMilli())
		if err == nil {
			return page, nil
		}
		if err := pause(ctx, loadRetry, fmt.Errorf("list keys in Postgres: %w", err)); err != nil {
			return nil, err
		}
	}
}

// listTimeout bounds a listing: each of its pages may have to wait for Postgres.
func (c *client) listContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.ctx, c.rules.wait)
}

func (c *client) cmdKeys(_ *keyspace.Command, args [][]byte, raw []byte) {
	since := nowMilli()
	reply, err := c.roundTrip(raw)
	if err != nil {
		c.emit(errorReply(nil, textUnavailable(err)))
		return
	}
	v, _, err := resp.Parse(reply)
	if err != nil || resp.IsError(reply) {
		c.emit(reply)
		return
	}
	seen := make(map[string]struct{}, len(v.Elems))
	var keys []string
	add := func(key string) {
		if _, dup := seen[key]; !dup && !keyspace.Own([]byte(key)) {
			seen[key] = struct{}{}
			keys = append(keys, key)
		}
	}
	for i := range v.Elems {
		add(string(v.Elems[i].Str))
	}
	ctx, cancel := c.listContext()
	defer cancel()
	err = c.s.stored(ctx, c.ident.DB, since, func(e *session.Entry) bool {
		if matches(args[1], e.Key) {
			add(e.Key)
		}
		return true
	})
	if err != nil {
		c.emit(errorReply(nil, textTryAgain(err)))
		return
	}
	c.emit(appendStrings(nil, keys))
}

// matches is MATCH and KEYS: a lone star matches everything, the empty key too.
func matches(pattern []byte, key string) bool {
	return string(pattern) == "*" || keyspace.Glob(pattern, []byte(key))
}

func appendStrings(b []byte, list []string) []byte {
	b = resp.AppendArray(b, len(list))
	for _, s := range list {
		b = resp.AppendBulkString(b, s)
	}
	return b
}

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
	var keys []string
	for range 10 {
		page, err := c.s.page(ctx, c.ident.DB, int64(cur.inner), limit)
		if err != nil {
			c.emit(errorReply(nil, textTryAgain(err)))
			return
		}
		for i := range page {
			e := &page[i]
			cur.inner = uint64(e.Pos)
			if (o.match == nil || matches(o.match, e.Key)) && (o.typ == "" || o.typ == e.Type.String()) &&
				c.s.configured(e.Session.Keyspace) && c.s.outside(e.Session, cur.start) {
				keys = append(keys, e.Key)
			}
		}
		if len(page) < limit {
			c.emit(appendScan(0, keys))
			return
		}
		if len(keys) > 0 {
			break
		}
	}
	c.emit(appendScan(cur.encode(), keys))
}

func (c *client) cmdDBSize(_ *keyspace.Command, _ [][]byte, raw []byte) {
	since := nowMilli()
	reply, err := c.roundTrip(raw)
	if err != nil {
		c.emit(errorReply(nil, textUnavailable(err)))
		return
	}
	v, _, err := resp.Parse(reply)
	if err != nil || resp.IsError(reply) {
		c.emit(reply)
		return
	}
	ctx, cancel := c.listContext()
	defer cancel()
	own, err := c.s.ownKeys(ctx, c.ident.DB)
	if err != nil {
		c.emit(errorReply(nil, textUnavailable(err)))
		return
	}
	n := v.Int - own
	err = c.s.stored(ctx, c.ident.DB, since, func(*session.Entry) bool { n++; return true })
	if err != nil {
		c.emit(errorReply(nil, textTryAgain(err)))
		return
	}
	c.emit(resp.AppendInt(nil, max(n, 0)))
}

// ownKeys counts the proxy's own keys in a database.
func (s *Server) ownKeys(ctx context.Context, db int) (int64, error) {
	keys := []string{runKey, adoptedKey, dirtyMarks}
	for i := range heatBuckets {
		keys = append(keys, heatPrefix+strconv.FormatUint(uint64(i), 16))
	}
	n, err := s.control.db(db).Exists(ctx, keys...).Result()
	if err != nil {
		return 0, fmt.Errorf("count own keys: %w", err)
	}
	return n, nil
}

// cmdRandomKey asks Redis; one of the proxy's own keys is asked away, and with no other key left Postgres has the answer.
func (c *client) cmdRandomKey(_ *keyspace.Command, _ [][]byte, raw []byte) {
	since := nowMilli()
	const tries = 16
	for range tries {
		reply, err := c.roundTrip(raw)
		if err != nil {
			c.emit(errorReply(nil, textUnavailable(err)))
			return
		}
		v, _, err := resp.Parse(reply)
		if err != nil || resp.IsError(reply) || (!v.Null && !keyspace.Own(v.Str)) {
			c.emit(reply)
			return
		}
		if v.Null {
			break
		}
	}
	ctx, cancel := c.listContext()
	defer cancel()
	answer := resp.AppendNull(nil, c.ident.Proto)
	err := c.s.stored(ctx, c.ident.DB, since, func(e *session.Entry) bool {
		answer = resp.AppendBulkString(nil, e.Key)
		return false
	})
	if err != nil {
		answer = errorReply(nil, textTryAgain(err))
	}
	c.emit(answer)
}

// flushTimeout bounds FLUSHALL's half in Postgres.
const flushTimeout = 5 * time.Minute

// cmdFlush is FLUSHALL and FLUSHDB: Postgres first, so that nothing flushed comes back.
func (c *client) cmdFlush(cmd *keyspace.Command, _ [][]byte, raw []byte) {
	dbs := []int{c.ident.DB}
	if cmd.Name == "FLUSHALL" {
		dbs = nil
	}
	c.flushing(cmd, raw, func(ctx context.Context) error { return c.s.store.DeleteDB(ctx, dbs) },
		func(db int) bool { return dbs == nil || db == dbs[0] })
}

func (c *client) cmdSwapDB(cmd *keyspace.Command, args [][]byte, raw []byte) {
	a, err1 := strconv.Atoi(string(args[1]))
	b, err2 := strconv.Atoi(string(args[2]))
	if err1 != nil || err2 != nil {
		c.pass(raw)
		return
	}
	c.flushing(cmd, raw, func(ctx context.Context) error { return c.s.store.SwapDB(ctx, a, b) },
		func(db int) bool { return db == a || db == b })
}

// flushing runs a command on whole databases: nothing moves between the stores meanwhile, and afterwards nobody believes what
// was known of the sessions in them.
func (c *client) flushing(cmd *keyspace.Command, raw []byte, store func(context.Context) error, hit func(db int) bool) {
	if c.rules.flush != FlushAll {
		c.emit(errorReply(nil, textFlushDenied(cmd.Name)))
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, flushTimeout)
	defer cancel()
	if _, err := c.s.saver.sync(ctx); err != nil { // SWAPDB must find everything in Postgres
		c.emit(errorReply(nil, textTryAgain(err)))
		return
	}
	c.s.flushing.Lock()
	defer c.s.flushing.Unlock()
	if err := store(ctx); err != nil {
		c.emit(errorReply(nil, textTryAgain(err)))
		return
	}
	reply, err := c.roundTrip(raw)
	if err != nil {
		reply = errorReply(nil, textUnavailable(err))
	}
	c.s.forget(hit)
	c.emit(reply)
}

// forget makes the sessions of some databases unknown and their metadata obsolete.
func (s *Server) forget(hit func(db int) bool) {
	s.sessions.table.Range(func(sh *shard, it *item) bool {
		g := &it.Value
		if hit(s.sessions.dbOf(it.Key)) && g.state == resident {
			g.state = unknown
			sh.Unlist(it)
			if g.more != nil {
				s.saver.queue.keys.Add(-int64(len(g.more.dirty)))
				g.more.dirty, g.more.marks = nil, nil
			}
		} else if hit(s.sessions.dbOf(it.Key)) && g.state == evicted {
			g.state = unknown
		}
		return true
	})
	s.meta.forgetDBs(hit)
}
