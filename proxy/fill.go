package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
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

// fillScript restores a small session, each key as fillHash does, and writes its entry after them, but only in the run that the
// caller means: 1 done, 0 another run. An error of Redis ends it before the entry.
// KEYS: runKey, the heat bucket, the session's keys. ARGV: run, heat field, heat; then for each key the number of its
// fields (0: a string), the expiry in unix milliseconds or 0, and the string, or fields and values.
var fillScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local at = 4
for i = 3, #KEYS do
  local key, n, expiry = KEYS[i], 2 * tonumber(ARGV[at]), ARGV[at + 1]
  at = at + 2
  if n == 0 then
    if expiry == '0' then redis.call('SET', key, ARGV[at], 'NX') else redis.call('SET', key, ARGV[at], 'NX', 'PXAT', expiry) end
    at = at + 1
  elseif redis.call('EXISTS', key) == 0 then
    for j = at, at + n - 1, 2000 do redis.call('HSET', key, unpack(ARGV, j, math.min(j + 1999, at + n - 1))) end
    if expiry ~= '0' then redis.call('PEXPIREAT', key, expiry) end
  end
  at = at + n
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1`)

// blob is a value as an argument of go-redis: a pointer to it needs no memory of its own, as a []byte in an any does.
type blob []byte

func (b *blob) MarshalBinary() ([]byte, error) { return *b, nil }

func appendFields(args []any, fields []session.Field) []any {
	for i := range fields {
		args = append(args, &fields[i].Name, (*blob)(&fields[i].Value))
	}
	return args
}

// filler writes restored keys into Redis. Rule: only what is absent, atomically for each key, with its expiry. The caller
// has closed the session's gate, so only the side door can be there first, and then its value stays.
type filler struct {
	ctx    context.Context
	cl     *redis.Client
	pipe   redis.Pipeliner
	size   int
	checks []fillCheck
	poison map[string]string
	sent   bool
	tmp    map[string]string // hashes of which a piece has been written, by key: the names under which they are built
	coming *coming           // told of every step; nil: nobody counts
}

// fillCheck is a command in the pipe with what its reply must look like.
type fillCheck struct {
	key string
	cmd *redis.Cmd
	ok  func(f *filler, key string, cmd *redis.Cmd) error
}

func newFiller(ctx context.Context, cl *redis.Client) *filler {
	return &filler{ctx: ctx, cl: cl, pipe: cl.Pipeline(), poison: map[string]string{}}
}

// untouched reports whether nothing has been written yet.
func (f *filler) untouched() bool { return !f.sent && f.pipe.Len() == 0 }

// part restores strings and DUMPs, and pieces of hashes. It returns when Redis has them, as their bytes are lent.
func (f *filler) part(keys []session.Key) error {
	for i := range keys {
		k := &keys[i]
		if k.Type == session.Hash && k.Dump == nil {
			if err := f.fields(k); err != nil {
				return err
			}
		} else if err := f.key(k); err != nil {
			return err
		}
	}
	return f.flush()
}

// restart forgets the pieces of hashes.
func (f *filler) restart() error {
	for _, tmp := range f.tmp {
		f.pipe.Unlink(f.ctx, tmp)
	}
	f.tmp = nil
	return f.flush()
}

// abandon takes away what has been built of hashes, when the restore has failed: in a full Redis it is in the way. What cannot
// be taken away now expires.
func (f *filler) abandon() {
	if len(f.tmp) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.ctx), controlTimeout)
	defer cancel()
	defer f.coming.step(nil)()
	_ = f.cl.Unlink(ctx, slices.Collect(maps.Values(f.tmp))...).Err()
}

// finish restores the other keys but those that come apart; bad payloads are in poison then, by key.
func (f *filler) finish(keys []session.Key) error {
	for i := range keys {
		if keys[i].Apart > 0 {
			continue
		}
		if err := f.key(&keys[i]); err != nil {
			return err
		}
	}
	return f.flush()
}

func (f *filler) key(k *session.Key) error {
	switch {
	case k.Dump != nil:
		f.dump(k)
	case k.Type == session.String:
		f.text(k)
	case k.Type == session.Hash && f.tmp[k.Name] == "" && k.Bytes() <= smallHash:
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
	f.expect(k.Name, f.pipe.Do(f.ctx, setAbsent(k)...), answered)
}

// setAbsent is the command that restores a string.
func setAbsent(k *session.Key) []any {
	args := append(make([]any, 0, 6), "SET", &k.Name, (*blob)(&k.Value), "NX")
	if planted("restore-overwrites") {
		args = args[:3]
	}
	if k.ExpireAt > 0 {
		args = append(args, "PXAT", k.ExpireAt)
	}
	return args
}

func (f *filler) hash(k *session.Key) {
	args := append(make([]any, 0, 1+2*len(k.Fields)), k.ExpireAt)
	f.expect(k.Name, fillHash.Eval(f.ctx, f.pipe, []string{k.Name}, appendFields(args, k.Fields)...), answered)
}

// fields adds to a hash that is built beside its place, in slices.
func (f *filler) fields(k *session.Key) error {
	tmp := f.tmp[k.Name]
	if tmp == "" {
		if f.tmp == nil {
			f.tmp = map[string]string{}
		}
		tmp = tmpName()
		f.tmp[k.Name] = tmp
	}
	from, size := 0, 0
	for i := range k.Fields {
		size += len(k.Fields[i].Name) + len(k.Fields[i].Value)
		if size < smallHash && i < len(k.Fields)-1 {
			continue
		}
		args := append(make([]any, 0, 2+2*(i+1-from)), "HSET", tmp)
		f.expect(k.Name, f.pipe.Do(f.ctx, appendFields(args, k.Fields[from:i+1])...), answered)
		f.pipe.PExpire(f.ctx, tmp, tmpLife)
		if err := f.grown(size); err != nil {
			return err
		}
		from, size = i+1, 0
	}
	return nil
}

// largeHash builds the hash, or the rest of it, beside its place and moves it there in one step.
func (f *filler) largeHash(k *session.Key) error {
	if err := f.fields(k); err != nil {
		return err
	}
	tmp := f.tmp[k.Name]
	f.pipe.Do(f.ctx, "MULTI")
	if k.ExpireAt > 0 {
		f.pipe.Do(f.ctx, "PEXPIREAT", tmp, k.ExpireAt)
	} else {
		f.pipe.Do(f.ctx, "PERSIST", tmp)
	}
	f.pipe.Do(f.ctx, "RENAMENX", tmp, k.Name)
	f.pipe.Do(f.ctx, "UNLINK", tmp)
	f.expect(k.Name, f.pipe.Do(f.ctx, "EXEC"), executed)
	return nil
}

func (f *filler) dump(k *session.Key) {
	f.expect(k.Name, f.pipe.Do(f.ctx, "RESTORE", k.Name, k.ExpireAt, k.Dump, "ABSTTL"), undumped)
}

func (f *filler) expect(key string, cmd *redis.Cmd, ok func(*filler, string, *redis.Cmd) error) {
	f.checks = append(f.checks, fillCheck{key, cmd, ok})
}

// answered wants the command to succeed; nil (SET NX on a key that is there) is success.
func answered(_ *filler, key string, cmd *redis.Cmd) error {
	if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("restore key %q: %w", key, err)
	}
	return nil
}

// undumped wants a DUMP to be taken; one that Redis does not understand is poison.
func undumped(f *filler, key string, cmd *redis.Cmd) error {
	why, err := refusedFill(key, cmd.Err())
	if why != "" {
		f.poison[key] = why
	}
	return err
}

// refusedFill judges what Redis answers to RESTORE; why: the payload is bad.
func refusedFill(key string, err error) (why string, _ error) {
	switch {
	case err == nil || strings.HasPrefix(err.Error(), "BUSYKEY"):
		return "", nil
	case strings.Contains(err.Error(), "Bad data format") || strings.Contains(err.Error(), "DUMP payload"):
		return "Redis refuses its stored payload: " + err.Error(), nil
	}
	return "", fmt.Errorf("restore key %q: %w", key, err)
}

// executed wants the transaction to have run: an EXEC that answers nil has moved nothing.
func executed(_ *filler, key string, cmd *redis.Cmd) error {
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
}

func (f *filler) flush() error {
	if f.pipe.Len() == 0 {
		return nil
	}
	f.sent = true
	defer f.coming.step(f.names())()
	cmds, err := f.pipe.Exec(f.ctx)
	if err := pipelineError(cmds, err); err != nil {
		return fmt.Errorf("restore keys in Redis: %w", err)
	}
	for _, c := range f.checks {
		if err := c.ok(f, c.key, c.cmd); err != nil {
			return err
		}
	}
	f.checks, f.size = f.checks[:0], 0
	f.pipe = f.cl.Pipeline()
	return nil
}

// names are the keys that the pipe may make.
func (f *filler) names() []string {
	names := slices.Collect(maps.Values(f.tmp))
	for i := range f.checks {
		if name := f.checks[i].key; i == 0 || name != f.checks[i-1].key {
			names = append(names, name)
		}
	}
	return names
}

var (
	tmpToken   = rand.Text()[:8] // no two proxies build under the same name
	tmpCounter atomic.Uint64
)

func tmpName() string {
	return tmpPrefix + tmpToken + ":" + strconv.FormatUint(tmpCounter.Add(1), 36)
}
