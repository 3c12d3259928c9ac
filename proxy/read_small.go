package proxy

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
)

// What the saver reads back is mostly small strings and a few fields of hashes: many keys, of each of which every command counts. They are
// read in two round trips. The first one asks how large a key is, which also tells whether it is there, and is what its session is measured
// by. The second one is a transaction, so that a value and its expiry are of one moment; strings share one MGET. What is large, or turns out
// to be of another kind, is left to the reader.

// smallKey and smallKeys bound what is read of a key, and of all, in bytes: the replies are in Redis twice.
const (
	smallKey  = 64 << 10
	smallKeys = readBytes
)

// backReader reads keys back from Redis to save them, and says how large they are.
type backReader struct {
	cl    *redis.Client
	keys  []wanted
	out   []reading
	heads []smallHead
	sizes map[string]int64 // of all keys that were asked for, 0: not there
	left  []int            // places of keys that have to be read another way
}

// smallHead is what is asked of a key.
type smallHead struct {
	size, len, expire *redis.IntCmd
	fields            *redis.SliceCmd
	text              int // place in MGET
}

// readBack reads keys, and the sizes of more keys.
func readBack(ctx context.Context, cl *redis.Client, keys []wanted, more []string, fieldTTL bool) ([]reading, map[string]int64, error) {
	b := &backReader{cl: cl, keys: keys, out: make([]reading, len(keys)), heads: make([]smallHead, len(keys)), sizes: make(map[string]int64, len(keys)+len(more))}
	err := b.readSizes(ctx, more)
	if err == nil {
		err = b.readSmall(ctx)
	}
	if err == nil && fieldTTL {
		r := &reader{rd: cl, keys: keys, out: b.out, heads: make([]head, len(keys)), fieldTTL: true}
		err = r.readFieldTTLs(ctx)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read keys from Redis: %w", err)
	}
	if len(b.left) == 0 {
		return b.out, b.sizes, nil
	}
	wants := make([]wanted, len(b.left))
	for i, at := range b.left {
		wants[i] = keys[at]
	}
	rest, err := readKeys(ctx, cl, wants, fieldTTL)
	for i := range rest {
		b.out[b.left[i]] = rest[i]
	}
	return b.out, b.sizes, err
}

// readSizes asks how large keys are, and how many fields the hashes have of which only some are wanted.
func (b *backReader) readSizes(ctx context.Context, more []string) error {
	others := make([]*redis.IntCmd, len(more))
	cmds, err := b.cl.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range b.keys {
			if b.heads[i].size = p.MemoryUsage(ctx, b.keys[i].key, measureSamples); b.keys[i].patch {
				b.heads[i].len = p.HLen(ctx, b.keys[i].key)
			}
		}
		for i, key := range more {
			others[i] = p.MemoryUsage(ctx, key, measureSamples)
		}
		return nil
	})
	if err := pipelineError(cmds, err); err != nil {
		return err
	}
	for i := range b.keys {
		b.noteSize(b.keys[i].key, b.heads[i].size)
	}
	for i, key := range more {
		b.noteSize(key, others[i])
	}
	return nil
}

func (b *backReader) noteSize(key string, said *redis.IntCmd) {
	if size, err := said.Result(); err == nil || errors.Is(err, redis.Nil) {
		b.sizes[key] = size
	}
}

// small reports what a key adds to what is read at once; false: it is read another way.
func (b *backReader) small(i int) (bytes int64, ok bool) {
	h := &b.heads[i]
	if h.size.Err() != nil {
		return 0, false
	}
	bytes = h.size.Val()
	if h.len != nil {
		if h.len.Err() != nil || h.len.Val() == 0 { // a TTL changed of something else
			return 0, false
		}
		bytes = bytes / h.len.Val() * int64(len(b.keys[i].fields))
	}
	return bytes, bytes <= smallKey
}

// readSmall reads the keys that are small, and notes which are not.
func (b *backReader) readSmall(ctx context.Context) error {
	var asked []int
	var texts []string
	room := int64(smallKeys)
	for i := range b.keys {
		if errors.Is(b.heads[i].size.Err(), redis.Nil) {
			b.out[i].change = session.KeyChange{Key: session.Key{Name: b.keys[i].key}, Op: session.Delete}
			continue
		}
		bytes, ok := b.small(i)
		if !ok || room < bytes {
			b.left = append(b.left, i)
			continue
		}
		room -= bytes
		if asked = append(asked, i); !b.keys[i].patch {
			b.heads[i].text, texts = len(texts), append(texts, b.keys[i].key)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	values, err := b.readMoment(ctx, asked, texts)
	if err != nil {
		return err
	}
	for _, i := range asked {
		if !b.take(i, values) {
			b.left = append(b.left, i)
		}
	}
	return nil
}

// readMoment reads the keys at those places, all at one moment; the values of strings come back in the order of texts.
func (b *backReader) readMoment(ctx context.Context, asked []int, texts []string) ([]any, error) {
	var all *redis.SliceCmd
	cmds, err := b.cl.TxPipelined(ctx, func(p redis.Pipeliner) error {
		if len(texts) > 0 {
			all = p.MGet(ctx, texts...)
		}
		for _, i := range asked {
			k, h := &b.keys[i], &b.heads[i]
			if k.patch {
				h.len = p.HLen(ctx, k.key)
			}
			if len(k.fields) > 0 {
				h.fields = p.HMGet(ctx, k.key, k.fields...)
			}
			// Not PExpireTime: its time.Duration ends in the year 2262, and an expiry beyond it would be lost.
			h.expire = redis.NewIntCmd(ctx, "PEXPIRETIME", k.key)
			_ = p.Process(ctx, h.expire) // queues it
		}
		return nil
	})
	if err := pipelineError(cmds, err); err != nil && !isReply(err) || all == nil {
		return nil, err
	}
	return all.Val(), nil // nothing where Redis refuses transactions, as it does when its memory is full
}

// take takes what was said of a key; false: the key has to be read another way.
func (b *backReader) take(i int, texts []any) bool {
	k, h, out := &b.keys[i], &b.heads[i], &b.out[i]
	expire, err := h.expire.Result()
	if err != nil {
		return false
	}
	c := session.KeyChange{Key: session.Key{Name: k.key, ExpireAt: max(expire, 0)}} // negative: it never expires
	if !k.patch {
		if h.text >= len(texts) {
			return false
		}
		text, ok := texts[h.text].(string) // else it has another type, or has expired
		c.Type, c.Value = session.String, bytesOf(text)
		out.change = c
		return ok
	}
	if c.Len, err = h.len.Result(); err != nil || c.Len == 0 {
		return false
	}
	c.Type, c.Op = session.Hash, session.Patch
	out.change = c
	if h.fields == nil {
		return true
	}
	values, err := h.fields.Result()
	out.takeFields(k.fields, values)
	return err == nil
}

// takeFields takes the values of a patch.
func (out *reading) takeFields(names []string, values []any) {
	out.again = len(values) != len(names)
	for i := 0; i < len(values) && !out.again; i++ {
		out.again = isLongField(names[i])
		if text, ok := values[i].(string); ok {
			out.change.Fields = append(out.change.Fields, session.Field{Name: names[i], Value: bytesOf(text)})
		} else {
			out.change.Removed = append(out.change.Removed, names[i])
		}
	}
}

func isLongField(name string) bool { return len(name) > maxFieldName }
