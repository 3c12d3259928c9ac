package proxy

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/resp"
	"credproxy/internal/session"
	"credproxy/keyspace"
	"credproxy/proxy/upstream"
)

// KEYS, SCAN, DBSIZE and RANDOMKEY tell about keys that they do not name, and evicted sessions' keys are among them. Redis is
// asked first, then Postgres. A key that Postgres has and Redis did not show is shown if its session was outside Redis
// at some time since Redis was asked: resident all the while, Redis's word is the truth (the key is deleted and not saved
// yet); otherwise Redis may have been asked too late or too early, and is asked about that key again if it has it by now.

// listPage is how many stored keys are read from Postgres at once.
const listPage = 2000

// presence is where a session was since a moment.
type presence uint8

const (
	inside  presence = iota // wholly in Redis all the time
	arrived                 // in Redis now, but not all the time
	outside                 // not in Redis now
)

// presence reports where a stored key's session was since a moment (unix nanoseconds), and when it came to Redis.
func (s *Server) presence(id session.ID, since int64) (p presence, loaded int64) {
	r, ok := s.sessions.lookup(s.sessions.identityOf(id))
	if !ok {
		return outside, 0
	}
	r.sh.Lock()
	defer r.sh.Unlock()
	g := &r.it.Value
	switch {
	case g.state != resident || g.run != s.runs.Current():
		return outside, 0
	case g.loaded >= since:
		return arrived, g.loaded
	}
	return inside, g.loaded
}

// missed returns those of the stored keys that are wanted, exist, and may have been missed when Redis was asked at since.
func (s *Server) missed(ctx context.Context, db int, page []session.Entry, since int64, want func(*session.Entry) bool) ([]*session.Entry, error) {
	type doubt struct {
		e      *session.Entry
		loaded int64
		exists *redis.IntCmd
	}
	var found []*session.Entry
	var doubts []doubt
	pipe := s.control.db(db).Pipeline()
	for i := range page {
		e := &page[i]
		if !s.configured(e.Session.Keyspace) || !want(e) {
			continue
		}
		switch p, loaded := s.presence(e.Session, since); p {
		case outside:
			found = append(found, e)
		case arrived: // and its keys may have been deleted since
			doubts = append(doubts, doubt{e, loaded, pipe.Exists(ctx, e.Key)})
		}
	}
	if len(doubts) == 0 {
		return found, nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("look for restored keys: %w", err)
	}
	for _, d := range doubts {
		// What has left Redis in the meantime exists, whatever Redis says.
		if p, loaded := s.presence(d.e.Session, since); d.exists.Val() > 0 || p != arrived || loaded != d.loaded {
			found = append(found, d.e)
		}
	}
	return found, nil
}

// stored calls f for every stored key that is wanted and may have been missed when Redis was asked at since (unix
// nanoseconds), until f says no. It waits for Postgres as long as restore.wait allows.
func (s *Server) stored(ctx context.Context, db int, since int64, want, f func(e *session.Entry) bool) error {
	var after int64
	for {
		page, err := s.page(ctx, db, after, listPage)
		if err != nil {
			return err
		}
		found, err := s.missed(ctx, db, page, since, want)
		if err != nil {
			return err
		}
		for _, e := range found {
			if !f(e) {
				return nil
			}
		}
		if len(page) < listPage {
			return nil
		}
		after = page[len(page)-1].Pos
	}
}

// anyEntry wants every stored key.
func anyEntry(*session.Entry) bool { return true }

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
	since := time.Now().UnixNano()
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
	wanted := func(e *session.Entry) bool { return matches(args[1], e.Key) }
	err = c.s.stored(ctx, c.ident.DB, since, wanted, func(e *session.Entry) bool {
		add(e.Key)
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

func (c *client) cmdDBSize(_ *keyspace.Command, _ [][]byte, raw []byte) {
	since := time.Now().UnixNano()
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
	err = c.s.stored(ctx, c.ident.DB, since, anyEntry, func(*session.Entry) bool { n++; return true })
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
	since := time.Now().UnixNano()
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
	err := c.s.stored(ctx, c.ident.DB, since, anyEntry, func(e *session.Entry) bool {
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
func (c *client) cmdFlush(cmd *keyspace.Command, args [][]byte, raw []byte) {
	if len(args) > 2 || len(args) == 2 && !bytes.EqualFold(args[1], []byte("ASYNC")) && !bytes.EqualFold(args[1], []byte("SYNC")) {
		c.pass(raw) // Redis says what is wrong
		return
	}
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
	if err1 != nil || err2 != nil || a < 0 || b < 0 || c.refusesDB(a) || c.refusesDB(b) {
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
	if refusal := c.refusal(raw); refusal != nil {
		c.emit(refusal)
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

// refusal asks what Redis would say to a command without running it: it is queued in a transaction that is discarded. nil: it
// would run it. Postgres must not be flushed for a user who may not flush Redis.
func (c *client) refusal(raw []byte) []byte {
	conn, err := c.s.upstream.Private(c.ctx, c.ident)
	if err != nil {
		return errorReply(nil, textUnavailable(err))
	}
	defer c.s.upstream.Release(c.ident, conn)
	call := upstream.NewCall()
	for n, request := range [][]byte{command("MULTI"), slices.Concat(raw, command("DISCARD"))} { // not in one: MULTI may be denied
		if err = conn.Send(call, n+1, request); err == nil {
			err = call.Wait()
		}
		if err != nil {
			return errorReply(nil, textUnavailable(err))
		}
		if reply := call.Reply(0); resp.IsError(reply) {
			return reply
		}
	}
	return nil
}

// forget makes the sessions of some databases unknown and their metadata obsolete.
func (s *Server) forget(hit func(db int) bool) {
	s.sessions.table.Range(func(sh *shard, it *item) bool {
		g := &it.Value
		if hit(s.sessions.dbOf(it.Key)) && g.state == resident {
			g.state = unknown
			sh.Unlist(it)
			if g.more != nil { // what was dirty stays so: it may have been written after the flush
				g.more.doubtLocked()
			}
		} else if hit(s.sessions.dbOf(it.Key)) && g.state == evicted {
			g.state = unknown
		}
		return true
	})
	s.meta.forgetDBs(hit)
}
