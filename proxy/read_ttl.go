package proxy

import (
	"context"
	"slices"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
)

// ttlStep is how many fields are asked for their expiry at once.
const ttlStep = 1000

// readFieldTTLs finds hashes with fields that expire by themselves (Redis 7.4 and later). The clear form has no place for such
// an expiry, so those hashes are taken as DUMP; a patch of one is read again as a whole.
func (r *reader) readFieldTTLs(ctx context.Context) error {
	if !r.fieldTTL {
		return nil
	}
	for i := range r.out {
		c := &r.out[i].change
		if c.Type != session.Hash || c.Dump != nil || len(c.Fields) == 0 {
			continue
		}
		has, err := r.anyFieldTTL(ctx, r.keys[i].key, c.Fields)
		if err != nil {
			return err
		}
		if !has {
			continue
		}
		if c.Op == session.Patch {
			r.out[i].again = true
			continue
		}
		if err := r.dump(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) anyFieldTTL(ctx context.Context, key string, fields []session.Field) (bool, error) {
	var asked []*redis.IntSliceCmd
	err := r.pipeline(ctx, func(p redis.Pipeliner) {
		for part := range slices.Chunk(fields, ttlStep) {
			names := make([]string, len(part))
			for i := range part {
				names[i] = part[i].Name
			}
			asked = append(asked, p.HPExpireTime(ctx, key, names...))
		}
	})
	if err != nil {
		return false, err
	}
	for _, cmd := range asked {
		if slices.ContainsFunc(cmd.Val(), func(at int64) bool { return at > 0 }) {
			return true, nil
		}
	}
	return false, nil
}
