package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/resp"
	"credproxy/internal/session"
	"credproxy/proxy/upstream"
)

// A large value goes from Redis to Postgres piece by piece, so that nobody here holds it (and back: apart_fill.go).
//
//	A1  A string, or the DUMP of another type, is one reply, read as Postgres takes it: so it is of one moment, whatever clients write
//	    meanwhile. It is committed as a whole or not at all.
//	A2  A hash in the clear is read in slices, as all large hashes are, and committed in one transaction. If a field of it is large by itself,
//	    or has an expiry or a name that Postgres cannot keep, the hash goes as DUMP.
//	A3  What was read of another run of Redis is not committed (S3, E4).

// apartFrom is from how many bytes in Redis on a value is apart. A hash of small fields is not before apartHash: field by field it is
// compared here, which is easier on Postgres than to be sent all of them. Only tests change them, to have everything apart.
var (
	apartFrom   int64 = 4 << 20
	apartHash   int64 = 32 << 20
	apartFields int64 = 4 << 10 // of a field, on average
)

const (
	// apartSlice is about how many bytes of a hash are read at once, sliceMost how many may come.
	apartSlice = 256 << 10
	sliceMost  = 4 << 20
)

var (
	errAsDump = errors.New("the hash cannot be kept field by field")
	errAgain  = errors.New("the key changed its type while it was read")
)

// isApart reports whether a key of that type, with n bytes in Redis, is read by itself. fields is how many a hash has.
func isApart(t session.Type, n, fields int64) bool {
	if t == session.Hash {
		return n >= apartHash || n >= apartFrom && n/max(fields, 1) >= apartFields
	}
	return n >= apartFrom
}

// saveApart commits one key as Redis has it.
func (s *Server) saveApart(ctx context.Context, run upstream.Run, id session.ID, heat session.Heat, key string) error {
	r := apartReading{s: s, ctx: ctx, run: run, db: id.DB, key: key}
	save := func() error { return s.store.SaveApart(ctx, id, heat, key, r.read) }
	err := save()
	if errors.Is(err, errAsDump) {
		r.dump = true
		err = save()
	}
	if err != nil {
		return fmt.Errorf("save a large key: %w", err)
	}
	s.barrier("save-committed")
	return nil
}

// apartReading reads one key.
type apartReading struct {
	s    *Server
	ctx  context.Context
	run  upstream.Run
	db   int
	key  string
	dump bool // a hash, too
	put  func(session.Key) error
}

// read hands the key to put, and returns the rest of what there is to say of it.
func (r *apartReading) read(put func(session.Key) error) (c session.KeyChange, err error) {
	r.put = func(piece session.Key) error {
		progress(r.ctx)
		return put(piece)
	}
	c.Name = r.key
	cl := r.s.control.db(r.db)
	name, err := cl.Type(r.ctx, r.key).Result()
	if err != nil {
		return c, fmt.Errorf("read key %q from Redis: %w", r.key, err)
	}
	c.Type = session.ParseType(name)
	was := redis.NewIntCmd(r.ctx, "PEXPIRETIME", r.key)
	_ = cl.Process(r.ctx, was)
	switch {
	case c.Type == session.None:
	case c.Type == session.Hash && !r.dump:
		err = r.hash(cl, &c)
	case c.Type == session.String:
		err = r.bulk("GET", func(b []byte) error { return r.put(session.Key{Type: c.Type, Value: b}) })
	default:
		err = r.bulk("DUMP", func(b []byte) error { return r.put(session.Key{Type: c.Type, Dump: b}) })
	}
	if err == nil {
		err = r.expiry(cl, was, &c)
	}
	if err == nil {
		err = r.s.control.checkRun(r.run)
	}
	return c, err
}

// expiry takes the earlier of the expiries before and after the reading, as takeExpiry does.
func (r *apartReading) expiry(cl *redis.Client, was *redis.IntCmd, c *session.KeyChange) error {
	still := redis.NewIntCmd(r.ctx, "PEXPIRETIME", r.key)
	_ = cl.Process(r.ctx, still)
	if err := errors.Join(was.Err(), still.Err()); err != nil {
		return fmt.Errorf("read the expiry of key %q from Redis: %w", r.key, err)
	}
	for _, at := range [...]int64{was.Val(), still.Val()} {
		switch {
		case at == -2:
			c.Op = session.Delete
		case at > 0 && (c.ExpireAt == 0 || at < c.ExpireAt):
			c.ExpireAt = at
		}
	}
	return nil
}

// private lends a connection of the proxy's own in the run that is meant.
func (r *apartReading) private() (conn *upstream.Conn, release func(), err error) {
	return r.s.privateIn(r.ctx, r.run, r.db)
}

// privateIn lends a connection of the proxy's own to one database, in one run of Redis; it is closed when ctx ends.
func (s *Server) privateIn(ctx context.Context, run upstream.Run, db int) (conn *upstream.Conn, release func(), err error) {
	id := s.ownIdentity(2)
	id.DB = db
	if conn, err = s.upstream.Private(ctx, id); err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, conn.Abandon)
	release = func() {
		stop()
		s.upstream.Release(id, conn) // not kept if it has failed
	}
	if conn.Run() != run {
		release()
		return nil, nil, errStaleRun
	}
	return conn, release, nil
}

// bulk asks for the key and hands over what is answered, as it comes.
func (r *apartReading) bulk(command string, take func([]byte) error) error {
	conn, release, err := r.private()
	if err != nil {
		return err
	}
	defer release()
	call, in := upstream.NewCall(), bulkStream{take: take}
	if err := conn.SendStreaming(call, resp.AppendCommand(nil, command, r.key), in.feed); err != nil {
		return err
	}
	err = call.Wait()
	if err == nil && call.Streamed() == 0 {
		err = in.feed(call.Reply(0))
	}
	switch {
	case in.err != nil: // the connection was ended for it
		return in.err
	case err != nil:
		return fmt.Errorf("read key %q from Redis: %w", r.key, err)
	case in.refused && bytes.HasPrefix(in.head, []byte("-WRONGTYPE")):
		return errAgain
	case in.refused:
		return fmt.Errorf("read key %q from Redis: %s", r.key, bytes.TrimSpace(in.head[1:]))
	}
	return nil
}

// bulkStream takes a bulk reply of RESP2 apart as it comes.
type bulkStream struct {
	take    func([]byte) error
	head    []byte // the first line
	begun   bool   // that is complete
	refused bool   // it is an error
	left    int    // bytes of the value
	err     error  // of take
}

func (s *bulkStream) feed(b []byte) error {
	if s.err != nil {
		return s.err
	}
	if !s.begun {
		end := bytes.IndexByte(b, '\n') + 1
		if end == 0 {
			s.head = append(s.head, b...)
			return nil
		}
		s.head, b, s.begun = append(s.head, b[:end]...), b[end:], true
		s.refused = s.head[0] == '-'
		if s.head[0] == '$' {
			n, _ := strconv.Atoi(string(bytes.TrimSpace(s.head[1:])))
			s.left = max(n, 0) // -1: there is no such key
			if n == 0 {        // there is one
				s.err = s.take(nil)
			}
		}
	}
	if b = b[:min(len(b), s.left)]; len(b) == 0 {
		return s.err
	}
	s.left -= len(b)
	s.err = s.take(b)
	return s.err
}

// hash reads a hash slice by slice.
func (r *apartReading) hash(cl *redis.Client, c *session.KeyChange) error {
	n, size := cl.HLen(r.ctx, r.key), cl.MemoryUsage(r.ctx, r.key)
	if err := errors.Join(n.Err(), size.Err()); err != nil {
		return r.hashErr(err)
	}
	each := size.Val() / max(n.Val(), 1)
	if each > sliceMost {
		return errAsDump
	}
	step := int(min(max(apartSlice/max(each, 1), 1), scanHashStep))
	conn, release, err := r.private()
	if err != nil {
		return err
	}
	defer release()
	for cursor := "0"; ; {
		var fields []session.Field
		if cursor, fields, err = r.slice(conn, cursor, step); err != nil {
			return err
		}
		if len(fields) > 0 {
			if err := r.odd(cl, fields); err != nil {
				return err
			}
			if err := r.put(session.Key{Type: session.Hash, Fields: fields}); err != nil {
				return err
			}
		}
		if cursor == "0" {
			break
		}
	}
	n = cl.HLen(r.ctx, r.key)
	c.Len = n.Val()
	if n.Err() == nil && c.Len == 0 {
		c.Op = session.Delete
	}
	return r.hashErr(n.Err())
}

func (r *apartReading) hashErr(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, redis.Nil): // it went meanwhile
		return errAgain
	case isReply(err) && bytes.HasPrefix([]byte(err.Error()), []byte("WRONGTYPE")):
		return errAgain
	}
	return fmt.Errorf("read hash %q from Redis: %w", r.key, err)
}

// slice reads some fields, unless they are larger than sliceMost together: then one of them is large by itself.
func (r *apartReading) slice(conn *upstream.Conn, cursor string, step int) (next string, fields []session.Field, err error) {
	call := upstream.NewCall()
	var reply []byte
	request := resp.AppendCommand(nil, "HSCAN", r.key, cursor, "COUNT", strconv.Itoa(step))
	large := false
	err = conn.SendStreaming(call, request, func(part []byte) error {
		if large = len(reply)+len(part) > sliceMost; large {
			return errAsDump
		}
		reply = append(reply, part...)
		return nil
	})
	if err == nil {
		err = call.Wait()
	}
	switch {
	case large:
		return "", nil, errAsDump
	case err != nil:
		return "", nil, fmt.Errorf("read hash %q from Redis: %w", r.key, err)
	case call.Streamed() == 0:
		reply = call.Reply(0)
	}
	v, _, err := resp.Parse(reply)
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("read hash %q from Redis: %w", r.key, err)
	case v.Kind == '-' && bytes.HasPrefix(v.Str, []byte("WRONGTYPE")):
		return "", nil, errAgain
	case v.Kind == '-' || len(v.Elems) != 2:
		return "", nil, fmt.Errorf("read hash %q from Redis: %s", r.key, v.Str)
	}
	pairs := v.Elems[1].Elems
	for i := 0; i+1 < len(pairs); i += 2 {
		fields = append(fields, session.Field{Name: string(pairs[i].Str), Value: pairs[i+1].Str})
	}
	return string(v.Elems[0].Str), fields, nil
}

// odd looks for fields that cannot be kept in the clear.
func (r *apartReading) odd(cl *redis.Client, fields []session.Field) error {
	for i := range fields {
		if len(fields[i].Name) > maxFieldName {
			return errAsDump
		}
	}
	if !r.s.greeting.atLeast(7, 4) {
		return nil
	}
	look := reader{rd: cl}
	has, err := look.anyFieldTTL(r.ctx, r.key, fields)
	if err == nil && has {
		err = errAsDump
	}
	return err
}
