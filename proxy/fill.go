package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
)

const (
	// fillBytes bounds one pipeline of restore commands, in payload bytes.
	fillBytes = 512 << 10
	// smallHash is up to which payload, in bytes, a hash is restored by one script call; a larger one is built under a name
	// of the proxy's own in slices and renamed when complete, so that Redis never stops for long.
	smallHash = 32 << 10
	// tmpLife is how long the remains of a half-built hash outlive a killed proxy.
	tmpLife = 10 * time.Minute
)

// fillHash creates a hash with its expiry unless the key exists: 1 created, 0 there already.
// KEYS: the key. ARGV: expiry in unix milliseconds or 0, then fields and values.
var fillHash = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
for i = 2, #ARGV, 2000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 1999, #ARGV)))
end
if ARGV[1] ~= '0' then redis.call('PEXPIREAT', KEYS[1], ARGV[1]) end
return 1`)

// filler writes restored keys into Redis. Rule: only what is absent, atomically for each key, with its expiry. The caller
// has closed the session's gate, so only the side door can be there first, and then its value stays.
type filler struct {
	ctx    context.Context
	cl     *redis.Client
	pipe   redis.Pipeliner
	size   int
	checks []func() error // what the replies of the commands in the pipe must look like
	poison map[string]string
}

// fillKeys restores the keys; bad payloads come back in poison, by key.
func fillKeys(ctx context.Context, cl *redis.Client, keys []session.Key) (poison map[string]string, err error) {
	f := &filler{ctx: ctx, cl: cl, pipe: cl.Pipeline(), poison: map[string]string{}}
	for i := range keys {
		if err := f.key(&keys[i]); err != nil {
			return nil, err
		}
	}
	return f.poison, f.flush()
}

func (f *filler) key(k *session.Key) error {
	switch {
	case k.Dump != nil:
		f.dump(k)
	case k.Type == session.String:
		f.text(k)
	case k.Type == session.Hash && k.Bytes() <= smallHash:
		f.hash(k)
	case k.Type == session.Hash:
		return f.largeHash(k)
	default:
		f.poison[k.Name] = "its stored form is unknown"
	}
	return f.grown(int(k.Bytes()))
}

// grown sends the pipe when it has become large.
func (f *filler) grown(n int) error {
	if f.size += n; f.size < fillBytes {
		return nil
	}
	return f.flush()
}

func (f *filler) text(k *session.Key) {
	args := []any{"SET", k.Name, k.Value, "NX"}
	if planted("restore-overwrites") {
		args = args[:3]
	}
	if k.ExpireAt > 0 {
		args = append(args, "PXAT", k.ExpireAt)
	}
	f.expect(k.Name, f.pipe.Do(f.ctx, args...))
}

func (f *filler) hash(k *session.Key) {
	args := make([]any, 0, 1+2*len(k.Fields))
	args = append(args, k.ExpireAt)
	for i := range k.Fields {
		args = append(args, k.Fields[i].Name, k.Fields[i].Value)
	}
	f.expect(k.Name, fillHash.Eval(f.ctx, f.pipe, []string{k.Name}, args...))
}

// largeHash builds the hash beside its place and moves it there in one step.
func (f *filler) largeHash(k *session.Key) error {
	tmp := tmpName()
	args, size := []any{"HSET", tmp}, 0
	for i := range k.Fields {
		args = append(args, k.Fields[i].Name, k.Fields[i].Value)
		size += len(k.Fields[i].Name) + len(k.Fields[i].Value)
		if size < smallHash && i < len(k.Fields)-1 {
			continue
		}
		f.expect(k.Name, f.pipe.Do(f.ctx, args...))
		f.pipe.PExpire(f.ctx, tmp, tmpLife)
		if err := f.grown(size); err != nil {
			return err
		}
		args, size = []any{"HSET", tmp}, 0
	}
	f.pipe.Do(f.ctx, "MULTI")
	if k.ExpireAt > 0 {
		f.pipe.Do(f.ctx, "PEXPIREAT", tmp, k.ExpireAt)
	} else {
		f.pipe.Do(f.ctx, "PERSIST", tmp)
	}
	f.pipe.Do(f.ctx, "RENAMENX", tmp, k.Name)
	f.pipe.Do(f.ctx, "UNLINK", tmp)
	f.expectExec(k.Name, f.pipe.Do(f.ctx, "EXEC"))
	return nil
}

func (f *filler) dump(k *session.Key) {
	cmd := f.pipe.Do(f.ctx, "RESTORE", k.Name, k.ExpireAt, k.Dump, "ABSTTL")
	name := k.Name
	f.checks = append(f.checks, func() error {
		err := cmd.Err()
		switch {
		case err == nil || strings.HasPrefix(err.Error(), "BUSYKEY"):
			return nil
		case strings.Contains(err.Error(), "Bad data format") || strings.Contains(err.Error(), "DUMP payload"):
			f.poison[name] = "Redis refuses its stored payload: " + err.Error()
			return nil
		}
		return fmt.Errorf("restore key %q: %w", name, err)
	})
}

// expect wants the command to succeed; nil (SET NX on a key that is there) is success.
func (f *filler) expect(key string, cmd *redis.Cmd) {
	f.checks = append(f.checks, func() error {
		if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return fmt.Errorf("restore key %q: %w", key, err)
		}
		return nil
	})
}

// expectExec wants the transaction to have run: an EXEC that answers nil has moved nothing.
func (f *filler) expectExec(key string, cmd *redis.Cmd) {
	f.checks = append(f.checks, func() error {
		replies, err := cmd.Slice()
		if err != nil {
			return fmt.Errorf("restore key %q: %w", key, err)
		}
		for _, r := range replies {
			if err, bad := r.(error); bad && !strings.Contains(err.Error(), "no such key") { // it has expired meanwhile
				return fmt.Errorf("restore key %q: %w", key, err)
			}
		}
		return nil
	})
}

func (f *filler) flush() error {
	if f.pipe.Len() == 0 {
		return nil
	}
	cmds, err := f.pipe.Exec(f.ctx)
	if err := pipelineError(cmds, err); err != nil {
		return fmt.Errorf("restore keys in Redis: %w", err)
	}
	for _, check := range f.checks {
		if err := check(); err != nil {
			return err
		}
	}
	f.checks, f.size = f.checks[:0], 0
	f.pipe = f.cl.Pipeline()
	return nil
}

var (
	tmpToken   = rand.Text()[:8] // no two proxies build under the same name
	tmpCounter atomic.Uint64
)

func tmpName() string {
	return tmpPrefix + tmpToken + ":" + strconv.FormatUint(tmpCounter.Add(1), 36)
}
