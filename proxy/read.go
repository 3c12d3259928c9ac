package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
)

// pipeliner is what reading needs of go-redis: a client, or a single connection that WATCHes.
type pipeliner interface {
	Pipelined(ctx context.Context, fn func(redis.Pipeliner) error) ([]redis.Cmder, error)
	HScan(ctx context.Context, key string, cursor uint64, match string, count int64) *redis.ScanCmd
}

// wanted is a key to be read back from Redis.
type wanted struct {
	key string
	// patch: only fields are wanted, the rest of the hash is known to be saved. Otherwise the whole key.
	patch  bool
	fields []string
}

// reading is the state of one key as Redis has it.
type reading struct {
	change session.KeyChange
	// again: the key changed its type while it was read, or a patch does not fit; read it as a whole later.
	again bool
	// apart: the value is too large to be read with others; see saveApart. later: there was no room for it beside the others. Of both only
	// the type is known.
	apart, later bool
}

const (
	// maxFieldName is the longest field name that Postgres' index takes, in bytes; a hash with a longer one is kept as DUMP.
	maxFieldName = 2000
	// scanHashFrom is from how many fields on a hash is read in slices, so that one HGETALL does not hold up everyone else.
	scanHashFrom = 1024
	// scanMemoryFrom is what so many fields take at least in a hash table, in bytes; in the compact form, which stops no one when it
	// is read at once, they may take less.
	scanMemoryFrom = 48 << 10
	scanHashStep   = 256
)

// readKeys reads keys in few round trips, whatever their number: what they are and how large, and their values up to readMost, at least of one
// key that is not apart.
func readKeys(ctx context.Context, rd pipeliner, keys []wanted, fieldTTL bool) ([]reading, error) {
	return readBounded(ctx, rd, keys, fieldTTL, readMost)
}

// readBounded is readKeys with another bound; 0: none, and no key is apart.
func readBounded(ctx context.Context, rd pipeliner, keys []wanted, fieldTTL bool, most int64) ([]reading, error) {
	r := &reader{rd: rd, keys: slices.Clone(keys), out: make([]reading, len(keys)), heads: make([]head, len(keys)), fieldTTL: fieldTTL, most: most}
	for _, step := range []func(context.Context) error{r.readHeads, r.countFields, r.weighPatches, r.leaveOut, r.readValues, r.readLargeHashes, r.readFieldTTLs} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("read keys from Redis: %w", err)
		}
	}
	return r.out, nil
}

type head struct {
	typ     *redis.StatusCmd
	expire  *redis.IntCmd
	len     *redis.IntCmd
	memory  *redis.IntCmd
	fields  *redis.SliceCmd
	text    *redis.StringCmd
	all     *redis.MapStringStringCmd
	still   *redis.IntCmd // the expiry once more, after the value
	weight  int64         // of a patch of a large hash: what its fields have
	isLarge bool
}

type reader struct {
	rd    pipeliner
	keys  []wanted
	heads []head
	out   []reading
	// fieldTTL: fields of a hash may have an expiry of their own in this Redis.
	fieldTTL bool
	most     int64 // bytes of values, 0: all of them
}

// replyErrors are wanted one by one; only a broken connection fails the whole pipeline.
func (r *reader) pipeline(ctx context.Context, fn func(redis.Pipeliner)) error {
	cmds, err := r.rd.Pipelined(ctx, func(p redis.Pipeliner) error {
		fn(p)
		return nil
	})
	return pipelineError(cmds, err)
}

func (r *reader) readHeads(ctx context.Context) error {
	err := r.pipeline(ctx, func(p redis.Pipeliner) {
		for i, k := range r.keys {
			h := &r.heads[i]
			h.typ = p.Type(ctx, k.key)
			// Not PExpireTime: its time.Duration ends in the year 2262, and an expiry beyond it would be lost.
			h.expire = redis.NewIntCmd(ctx, "PEXPIRETIME", k.key)
			_ = p.Process(ctx, h.expire) // queues it
			if k.patch {                 // of strings, which most keys are, it would be an error
				h.len = p.HLen(ctx, k.key)
			}
			h.memory = p.MemoryUsage(ctx, k.key)
		}
	})
	if err != nil {
		return err
	}
	for i := range r.keys {
		if err := r.takeHead(i); err != nil {
			return fmt.Errorf("key %q: %w", r.keys[i].key, err)
		}
	}
	return nil
}

// countFields asks how many fields those hashes have that may have more than scanHashFrom.
func (r *reader) countFields(ctx context.Context) error {
	var large []int
	for i := range r.keys {
		if h := &r.heads[i]; r.whole(i) && r.out[i].change.Type == session.Hash && (h.memory.Err() != nil || h.memory.Val() >= scanMemoryFrom) {
			large = append(large, i)
		}
	}
	if len(large) == 0 {
		return nil
	}
	err := r.pipeline(ctx, func(p redis.Pipeliner) {
		for _, i := range large {
			r.heads[i].len = p.HLen(ctx, r.keys[i].key)
		}
	})
	for _, i := range large {
		r.heads[i].isLarge = r.heads[i].len.Val() > scanHashFrom
	}
	return err
}

func (r *reader) takeHead(i int) error {
	k, h, c := r.keys[i], &r.heads[i], &r.out[i].change
	name, err := h.typ.Result()
	if err != nil {
		return err
	}
	c.Name, c.Type = k.key, session.ParseType(name)
	if c.Type == session.None {
		c.Op = session.Delete
		return nil
	}
	at, err := h.expire.Result()
	if err != nil {
		return err
	}
	c.ExpireAt = max(at, 0) // negative: it never expires
	if !k.patch {
		return nil
	}
	if c.Type != session.Hash {
		r.keys[i].patch = false // a TTL changed, or the key was replaced: its value is read with the others'
		return nil
	}
	if h.len.Err() != nil { // no hash any more, or Redis refused to count
		r.out[i].again = true
		return nil
	}
	c.Op, c.Len = session.Patch, h.len.Val()
	return nil
}

// takeFields takes the fields of a patch.
func (r *reader) takeFields(i int) {
	k, h := r.keys[i], &r.heads[i]
	values, err := h.fields.Result()
	if err != nil || len(values) != len(k.fields) {
		r.out[i].again = true
		return
	}
	r.out[i].takeFields(k.fields, values)
}

func (r *reader) whole(i int) bool {
	return !r.keys[i].patch && r.out[i].change.Type != session.None && !r.out[i].leftOut()
}

// readBytes bounds the values that are asked for at once: until they have been fetched, Redis holds all of them a second time,
// and it is read most when its memory is full.
const readBytes = 256 << 10

func (r *reader) readValues(ctx context.Context) error {
	for from := 0; from < len(r.keys); {
		to := from
		for size := int64(0); to < len(r.keys) && size < readBytes; to++ {
			size += r.wantedBytes(to)
		}
		if err := r.readSlice(ctx, from, to); err != nil {
			return err
		}
		from = to
	}
	return nil
}

func (r *reader) readSlice(ctx context.Context, from, to int) error {
	any := false
	err := r.pipeline(ctx, func(p redis.Pipeliner) {
		for i := from; i < to; i++ {
			k, h := r.keys[i], &r.heads[i]
			if r.out[i].change.Op == session.Patch && len(k.fields) > 0 && !r.out[i].later {
				h.fields = p.HMGet(ctx, k.key, k.fields...)
			} else if !r.whole(i) {
				continue
			}
			any = true
			switch {
			case h.fields != nil:
			case r.out[i].change.Type == session.String:
				h.text = p.Get(ctx, k.key)
			case r.out[i].change.Type == session.Hash:
				if !h.isLarge {
					h.all = p.HGetAll(ctx, k.key)
				}
			default:
				h.text = p.Dump(ctx, k.key)
			}
			h.still = redis.NewIntCmd(ctx, "PEXPIRETIME", k.key)
			_ = p.Process(ctx, h.still) // queues it
		}
	})
	if err != nil || !any {
		return err
	}
	for i := from; i < to; i++ {
		switch {
		case r.whole(i):
			r.takeValue(i)
		case r.heads[i].fields != nil:
			r.takeFields(i)
		}
		r.takeExpiry(i)
	}
	return nil
}

// takeExpiry takes the earlier of the expiries before and after the value was read. They differ when the key was written in
// between: it is dirty again then, but were it the last that Postgres hears of it, a value must not outlive its own expiry.
func (r *reader) takeExpiry(i int) {
	h, c := &r.heads[i], &r.out[i].change
	if h.still == nil || c.Op == session.Delete {
		return
	}
	at, err := h.still.Result()
	switch {
	case err != nil:
		r.out[i].again = true
	case at == -2: // there is no such key any more
		c.Op = session.Delete
	case at > 0 && (c.ExpireAt == 0 || at < c.ExpireAt):
		c.ExpireAt = at
	}
}

func (r *reader) takeValue(i int) {
	h, out := &r.heads[i], &r.out[i]
	switch {
	case h.text != nil:
		text, err := h.text.Result()
		switch {
		case errors.Is(err, redis.Nil): // it expired between the two round trips
			out.change.Op = session.Delete
		case err != nil: // it has another type now
			out.again = true
		case out.change.Type == session.String:
			out.change.Value = bytesOf(text)
		default:
			out.change.Dump = bytesOf(text)
		}
	case h.all != nil:
		fields, err := h.all.Result()
		out.setFields(fields, err)
	}
}

// bytesOf is text as bytes that nobody changes, without a copy: values are large. It is never nil, which would be no value at all.
func bytesOf(text string) []byte {
	if text == "" {
		return []byte{}
	}
	return unsafe.Slice(unsafe.StringData(text), len(text))
}

func (out *reading) setFields(fields map[string]string, err error) {
	if err != nil {
		out.again = true
		return
	}
	if len(fields) == 0 {
		out.change.Op = session.Delete
		return
	}
	out.change.Fields = make([]session.Field, 0, len(fields))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		out.change.Fields = append(out.change.Fields, session.Field{Name: name, Value: bytesOf(fields[name])})
	}
}

// readLargeHashes walks big hashes in slices, and takes a DUMP of those whose field names Postgres cannot index.
func (r *reader) readLargeHashes(ctx context.Context) error {
	for i := range r.keys {
		if !r.whole(i) {
			continue
		}
		if r.heads[i].isLarge {
			fields, err := scanHash(ctx, r.rd, r.keys[i].key)
			var reply redis.Error
			if err != nil && !errors.As(err, &reply) {
				return err
			}
			r.out[i].setFields(fields, err)
		}
		if err := r.dumpIfOdd(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func scanHash(ctx context.Context, rd pipeliner, key string) (map[string]string, error) {
	fields := map[string]string{}
	var cursor uint64
	for {
		pairs, next, err := rd.HScan(ctx, key, cursor, "", scanHashStep).Result()
		if err != nil {
			return nil, err
		}
		for j := 0; j+1 < len(pairs); j += 2 {
			fields[pairs[j]] = pairs[j+1]
		}
		if next == 0 {
			return fields, nil
		}
		cursor = next
	}
}

func (r *reader) dumpIfOdd(ctx context.Context, i int) error {
	if !slices.ContainsFunc(r.out[i].change.Fields, func(f session.Field) bool { return isLongField(f.Name) }) {
		return nil
	}
	return r.dump(ctx, i)
}

// dump takes a hash as DUMP instead of in the clear.
func (r *reader) dump(ctx context.Context, i int) error {
	r.out[i].change.Fields = nil
	err := r.pipeline(ctx, func(p redis.Pipeliner) { r.heads[i].text = p.Dump(ctx, r.keys[i].key) })
	if err == nil {
		r.takeValue(i)
	}
	return err
}
