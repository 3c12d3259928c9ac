package bots

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// store is one session as a bot's program reaches it: the commands that its shape uses. Errors are go-redis's own.
type store struct {
	client *redis.Client
	shape  Shape
	id     string
}

// The scripts of the Scripted shape. ARGV holds field and value pairs, or field names.
const (
	scriptWrite = `for i = 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i+1]) end
redis.call('SET', KEYS[2], 'held', 'PX', 60000)
return #ARGV / 2`
	scriptRemove = `local n = 0
for i = 1, #ARGV do n = n + redis.call('HDEL', KEYS[1], ARGV[i]) end
return n`
	scriptLogout = `return redis.call('DEL', KEYS[1])`
)

// read returns the items' values in order, nil for one that is not there.
func (s *store) read(ctx context.Context, items []item) ([][]byte, error) {
	values := make([][]byte, len(items))
	var fields []string
	var at []int // where in values the fields belong
	cmds := make(map[int]*redis.StringCmd)
	run := s.pipe(func(p redis.Pipeliner) {
		for i, it := range items {
			if key, ok := s.shape.stringKey(s.id, it); ok {
				cmds[i] = p.Get(ctx, key)
			} else {
				fields, at = append(fields, it.name()), append(at, i)
			}
		}
	})
	if err := run(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	for i, cmd := range cmds {
		var err error
		if values[i], err = present(cmd); err != nil {
			return nil, err
		}
	}
	return values, s.readFields(ctx, fields, at, values)
}

// pipe runs commands in one write, in a transaction where the shape wants one. The commands are added when it is called.
func (s *store) pipe(add func(redis.Pipeliner)) func(context.Context) error {
	p := s.client.Pipeline()
	if s.shape == Transactions {
		p = s.client.TxPipeline()
	}
	add(p)
	return func(ctx context.Context) error {
		if p.Len() == 0 {
			return nil
		}
		_, err := p.Exec(ctx)
		return err
	}
}

// present tells a value from a nil reply, also an empty value.
func present(cmd *redis.StringCmd) ([]byte, error) {
	v, err := cmd.Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return v, err
}

// readFields reads hash fields; a single one by HGET, as the stores do.
func (s *store) readFields(ctx context.Context, fields []string, at []int, values [][]byte) error {
	switch len(fields) {
	case 0:
		return nil
	case 1:
		v, err := present(s.client.HGet(ctx, s.shape.hash(s.id), fields[0]))
		values[at[0]] = v
		return err
	}
	got, err := s.client.HMGet(ctx, s.shape.hash(s.id), fields...).Result()
	if err != nil {
		return err
	}
	if len(got) != len(fields) {
		return fmt.Errorf("read %d fields: %d came back", len(fields), len(got))
	}
	for i, v := range got {
		if text, ok := v.(string); ok {
			values[at[i]] = []byte(text)
		}
	}
	return nil
}

// write stores values under items.
func (s *store) write(ctx context.Context, items []item, values [][]byte) error {
	var pairs []any
	run := s.pipe(func(p redis.Pipeliner) {
		for i, it := range items {
			key, ok := s.shape.stringKey(s.id, it)
			switch {
			case ok && s.shape == CredsAndKeys:
				p.Set(ctx, key, values[i], expiry)
			case ok:
				p.Set(ctx, key, values[i], 0)
			default:
				pairs = append(pairs, it.name(), values[i])
			}
		}
		if len(pairs) > 0 && s.shape != Scripted {
			p.HSet(ctx, s.shape.hash(s.id), pairs...)
		}
	})
	if len(pairs) > 0 && s.shape == Scripted {
		return s.client.Eval(ctx, scriptWrite, []string{s.shape.hash(s.id), s.shape.lease(s.id)}, pairs...).Err()
	}
	return run(ctx)
}

// remove deletes items.
func (s *store) remove(ctx context.Context, items []item) error {
	var keys, fields []string
	for _, it := range items {
		if key, ok := s.shape.stringKey(s.id, it); ok {
			keys = append(keys, key)
		} else {
			fields = append(fields, it.name())
		}
	}
	if len(fields) > 0 && s.shape == Scripted {
		args := make([]any, len(fields))
		for i, f := range fields {
			args[i] = f
		}
		return s.client.Eval(ctx, scriptRemove, []string{s.shape.hash(s.id)}, args...).Err()
	}
	return s.pipe(func(p redis.Pipeliner) {
		if len(keys) > 0 {
			p.Del(ctx, keys...)
		}
		if len(fields) > 0 {
			p.HDel(ctx, s.shape.hash(s.id), fields...)
		}
	})(ctx)
}

// fields returns the whole hash of the session; nil for shapes without one.
func (s *store) fields(ctx context.Context) (map[string]string, error) {
	if key := s.shape.hash(s.id); key != "" {
		return s.client.HGetAll(ctx, key).Result()
	}
	return nil, nil
}

// credsTTL returns how long the credentials have to live, where the shape gives them an expiry.
func (s *store) credsTTL(ctx context.Context) (ttl time.Duration, has bool, err error) {
	if s.shape != CredsAndKeys {
		return 0, false, nil
	}
	key, _ := s.shape.stringKey(s.id, item{kind: creds})
	ttl, err = s.client.PTTL(ctx, key).Result()
	return ttl, true, err
}

// list returns the string keys of the session the way the shape's store finds them; ok is false for shapes that do not
// list.
func (s *store) list(ctx context.Context) (keys []string, ok bool, err error) {
	if s.shape != Strings && s.shape != Transactions {
		return nil, false, nil
	}
	anyItem, _ := s.shape.stringKey(s.id, item{kind: creds})
	match := strings.TrimSuffix(anyItem, "creds") + "*"
	seen := map[string]bool{} // SCAN may name a key twice
	for cursor := uint64(0); ; {
		page, next, err := s.client.Scan(ctx, cursor, match, 1000).Result()
		if err != nil {
			return nil, true, err
		}
		for _, k := range page {
			if !seen[k] {
				seen[k] = true
				keys = append(keys, k)
			}
		}
		if cursor = next; cursor == 0 {
			return keys, true, nil
		}
	}
}

// logout deletes the session in one command. listed is what list found.
func (s *store) logout(ctx context.Context, listed []string) error {
	switch s.shape {
	case Scripted:
		return s.client.Eval(ctx, scriptLogout, []string{s.shape.hash(s.id)}).Err()
	case CredsAndKeys:
		key, _ := s.shape.stringKey(s.id, item{kind: creds})
		return s.client.Del(ctx, key, s.shape.hash(s.id)).Err()
	case OneHash:
		return s.client.Del(ctx, s.shape.hash(s.id)).Err()
	}
	if len(listed) == 0 {
		return nil
	}
	return s.client.Unlink(ctx, listed...).Err()
}

// refusals begin replies to commands that were not run.
var refusals = []string{"TRYAGAIN", "OOM", "LOADING", "NOAUTH", "NOPERM", "MISCONF", "READONLY", "EXECABORT", "ERR max number"}

// outcomeOf says what an error tells of a command; several is true when it may be the error of just one of many.
func outcomeOf(err error, several bool) outcome {
	if err == nil {
		return done
	}
	var reply redis.Error
	if !several && errors.As(err, &reply) {
		for _, prefix := range refusals {
			if strings.HasPrefix(reply.Error(), prefix) {
				return refused
			}
		}
	}
	return unknown
}
