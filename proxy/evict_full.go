package proxy

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"

	"credproxy/proxy/upstream"
)

// A Redis over its maxmemory refuses whatever is queued inside MULTI, also UNLINK, so the transaction of an eviction cannot run
// just when it is needed most. A script may run then. It removes the keys if they are what they were before they were read,
// by their digests, which stand in for WATCH. Digests cost a DUMP of every key, twice, so this is the second choice.

const digestFunction = `local function digest(key)
  return redis.sha1hex((redis.call('DUMP', key) or '') .. ':' .. redis.call('PEXPIRETIME', key))
end
`

var (
	// digestScript returns the digests of the keys.
	digestScript = redis.NewScript(digestFunction + `local out = {}
for i, key in ipairs(KEYS) do out[i] = digest(key) end
return out`)
	// unlinkScript removes keys that still have their digests: 1 removed, 0 one has changed.
	// KEYS: bucket of the entry, hash of marks, the keys. ARGV: field of the entry, digests, names of marks.
	unlinkScript = redis.NewScript(digestFunction + `for i = 3, #KEYS do
  if digest(KEYS[i]) ~= ARGV[i-1] then return 0 end
end
for i = 3, #KEYS do redis.call('UNLINK', KEYS[i]) end
redis.call('HDEL', KEYS[1], ARGV[1])
for i = #KEYS, #ARGV do redis.call('HDEL', KEYS[2], ARGV[i]) end
return 1`)
)

// takeOutFull is what is left of takeOut when the transaction was refused. It takes one victim at a time, so that a change by
// the side door holds up no other.
func (e *evictor) takeOutFull(ctx context.Context, cn *redis.Conn, run upstream.Run, victims []*victim) (state, error) {
	if len(victims) > 1 {
		return resident, redis.TxFailedErr
	}
	v := victims[0]
	before, err := digestScript.Eval(ctx, cn, v.keys).StringSlice()
	if err != nil {
		return resident, fmt.Errorf("evict from a full Redis: %w", err)
	}
	if err := e.save(ctx, cn, run, victims); err != nil {
		return resident, err
	}
	if ctx.Err() != nil {
		return resident, ctx.Err()
	}
	done := e.s.moves.leaving(victims)
	n, err := e.unlinkFull(cn, v, before)
	done(err == nil && n == 1)
	switch {
	case err == nil && n == 1:
		return evicted, nil
	case err == nil:
		return resident, redis.TxFailedErr
	case isReply(err):
		return resident, fmt.Errorf("evict from a full Redis: %w", err)
	}
	return unknown, fmt.Errorf("evict from a full Redis: %w", err)
}

// unlinkFull takes no caller's context, as unlink.
func (e *evictor) unlinkFull(cn *redis.Conn, v *victim, digests []string) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), controlTimeout)
	defer cancel()
	field := heatField(v.id)
	args := make([]any, 0, 1+len(digests)+len(v.keys)+len(v.marks))
	args = append(args, field)
	for _, d := range digests {
		args = append(args, d)
	}
	for _, key := range slices.AppendSeq(slices.Clone(v.keys), maps.Keys(v.marks)) {
		args = append(args, key)
	}
	return unlinkScript.Eval(ctx, cn, append([]string{heatKey(field), dirtyMarks}, v.keys...), args...).Int()
}
