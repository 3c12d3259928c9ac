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
)

// KEYS, SCAN, DBSIZE and RANDOMKEY tell about keys that they do not name, and evicted sessions' keys are among them. Redis is
// asked first, then Postgres. What KEYS and DBSIZE add of Postgres, a census says (census.go). For the others: a key that Postgres has and Redis did not show is shown if its session was outside Redis
// at some time since Redis was asked: resident all the while, Redis's word is the truth (the key is deleted and not saved
// yet); otherwise Redis may have been asked too late or too early, and is asked about that key again if it has it by now. What
// Postgres had of a session that has left Redis since is of no use: its eviction has saved what clients did to it before, deletions too.

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

// missed returns those of the stored keys that are wanted, exist, and may have been missed when Redis was asked at since. typ is
// the type that they must have, "" for any: a key that is in Redis may have another one by now than what is stored.
func (s *Server) missed(ctx context.Context, db int, page []session.Entry, since int64, typ string,
	want func(*session.Entry) bool) ([]*session.Entry, error) {
	type doubt struct {
		e      *session.Entry
		loaded int64
		typ    *redis.StatusCmd
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
			if typ == "" || typ == e.Type.String() {
				found = append(found, e)
			}
		case arrived: // and its keys may have been deleted since
			doubts = append(doubts, doubt{e, loaded, pipe.Type(ctx, e.Key)})
		}
	}
	if len(doubts) == 0 {
		return found, nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("look for restored keys: %w", err)
	}
	for _, d := range doubts {
		now := d.typ.Val()
		if p, loaded := s.presence(d.e.Session, since); p != arrived || loaded != d.loaded {
			now = d.e.Type.String() // it has left Redis in the meantime, so it exists, whatever Redis says
		}
		if now != "none" && (typ == "" || typ == now) {
			found = append(found, d.e)
		}
	}
	return found, nil
}

// missedPage reads a page of stored keys and returns those of them that missed returns. It is read again if one of these has left Redis
// meanwhile, or is about to, some times at most: with so much coming and going a key may be named that has just been deleted.
func (s *Server) missedPage(ctx context.Context, db int, after int64, limit int, since int64, typ string,
	want func(*session.Entry) bool) (page []session.Entry, found []*session.Entry, err error) {
	for range pageTries {
		watch := s.moves.beginWatch()
		if page, err = s.page(ctx, db, after, limit); err == nil {
			found, err = s.missed(ctx, db, page, since, typ, want)
		}
		stale := slices.ContainsFunc(found, func(e *session.Entry) bool { return s.outdated(e, watch) })
		watch.close()
		if err != nil || !stale || pause(ctx, pagePause, nil) != nil {
			break
		}
	}
	return page, found, err
}

// outdated reports whether a stored key may have been read before its session's eviction saved a deletion of it. watch has begun before that.
func (s *Server) outdated(e *session.Entry, watch *census) bool {
	identity := s.sessions.identityOf(e.Session)
	return s.stateOf(identity) == evicting || watch.hasLeft(identity) // in this order: it leaves before its state says so
}

// pageTries bounds how often a page is read, pagePause stands between: evictions take milliseconds.
const (
	pageTries = 50
	pagePause = 5 * time.Millisecond
)

// stored calls f for every stored key that is wanted and may have been missed when Redis was asked at since (unix
// nanoseconds), until f says no. It waits for Postgres as long as restore.wait allows.
func (s *Server) stored(ctx context.Context, db int, since int64, want, f func(e *session.Entry) bool) error {
	var after int64
	for {
		page, found, err := s.missedPage(ctx, db, after, listPage, since, "", want)
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

// listing is one such command under way. What it says about its database is Redis's answer, completed.
type listing struct {
	c      *client
	name   string
	db     int
	since  int64 // unix nanoseconds; Redis is asked later than that
	glob   []byte
	cursor scanCursor
	scan   scanOptions
	first  bool // the scan begins here
	inTx   bool
	own    int64   // how many of the proxy's keys DBSIZE has counted within EXEC, -1: not known
	census *census // of DBSIZE and KEYS
	plain  bool    // SCAN's arguments are not what the proxy understands: Redis says what is wrong with them
}

// newListing begins a listing of a database. The arguments are copied.
func (c *client) newListing(cmd *keyspace.Command, args [][]byte, db int) *listing {
	l := &listing{c: c, name: cmd.Name, db: db, since: time.Now().UnixNano(), own: -1}
	switch {
	case !cmd.ArityOK(len(args)):
		l.plain = true
	case cmd.Name == "KEYS":
		l.glob = bytes.Clone(args[1])
	case cmd.Name == "SCAN":
		l.parseScan(args)
	}
	return l
}

// request is what Redis is asked, given what the client has asked.
func (l *listing) request(args [][]byte, raw []byte) []byte {
	switch {
	case l.name != "SCAN" || l.plain:
		return raw
	case l.cursor.stored: // Redis has nothing to add, but says whether this user may
		return command("SCAN", "0", "COUNT", "1")
	}
	args = append([][]byte{}, args...)
	args[1] = strconv.AppendUint(nil, l.cursor.inner, 10)
	return resp.AppendCommandBytes(nil, args)
}

// complete turns Redis's answer to the request into the client's.
func (l *listing) complete(reply []byte) []byte {
	v, _, err := resp.Parse(reply)
	if l.plain || err != nil || resp.IsError(reply) {
		return reply
	}
	ctx, cancel := context.WithTimeout(l.c.ctx, l.c.rules.wait)
	defer cancel()
	var out []byte
	switch l.name {
	case "KEYS":
		out, err = l.keys(ctx, v)
	case "DBSIZE":
		out, err = l.size(ctx, v)
	case "RANDOMKEY":
		out, err = l.random(ctx, v)
	default:
		out, err = l.page(ctx, v)
	}
	if err != nil {
		return errorReply(nil, gateText(err))
	}
	return out
}

// stored is Server.stored for this listing.
func (l *listing) stored(ctx context.Context, want, f func(e *session.Entry) bool) error {
	return l.c.s.stored(ctx, l.db, l.since, want, f)
}

func (c *client) cmdListing(cmd *keyspace.Command, args [][]byte, raw []byte) {
	l := c.newListing(cmd, args, c.ident.DB)
	reply, err := l.ask(l.request(args, raw))
	defer l.census.close()
	if err != nil {
		c.emit(errorReply(nil, textUnavailable(err)))
		return
	}
	c.emit(l.complete(reply))
}

// ask asks Redis, for KEYS at the moment of a census.
func (l *listing) ask(raw []byte) (reply []byte, err error) {
	if l.name != "KEYS" || l.plain {
		return l.c.roundTrip(raw)
	}
	if err := l.c.connect(); err != nil { // which may take a while
		return nil, err
	}
	if l.census, err = l.c.s.beginCensus(l.c.ctx); err != nil {
		return nil, err
	}
	defer l.census.counted()
	return l.c.roundTrip(raw)
}

func (l *listing) keys(ctx context.Context, v resp.Value) ([]byte, error) {
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
	wanted := func(e *session.Entry) bool { return matches(l.glob, e.Key) }
	err := l.c.s.storedOutside(ctx, l.census, l.db, wanted, func(e *session.Entry, _ bool) { add(e.Key) })
	return appendStrings(nil, keys), err
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

func (l *listing) size(ctx context.Context, v resp.Value) ([]byte, error) {
	s, n, own := l.c.s, v.Int, l.own
	if !l.inTx { // Redis has said that the user may; what it has counted was of another moment
		var err error
		if l.census, err = s.beginCensus(ctx); err == nil {
			defer l.census.close()
			n, own, err = s.count(ctx, l.db)
			l.census.counted()
		}
		if err != nil {
			return nil, unavailableError{err}
		}
	} else if own < 0 {
		var err error
		if _, own, err = s.count(ctx, l.db); err != nil {
			return nil, unavailableError{err}
		}
	}
	outside, err := s.countOutside(ctx, l.census, l.db)
	return resp.AppendInt(nil, max(n-own-l.census.early[l.db]+outside, 0)), err
}

// ownKeys are the names of all keys that the proxy may have in a database.
func ownKeys() []string {
	return append(heatKeys(), formatKey, runKey, adoptedKey, dirtyMarks)
}

// count returns how many keys a database has in Redis, and how many of them are the proxy's own, both at the same moment.
func (s *Server) count(ctx context.Context, db int) (all, own int64, err error) {
	pipe := s.control.db(db).TxPipeline()
	size, exist := pipe.DBSize(ctx), pipe.Exists(ctx, ownKeys()...)
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, 0, fmt.Errorf("count keys: %w", err)
	}
	return size.Val(), exist.Val(), nil
}
