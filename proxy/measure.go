package proxy

import (
	"context"
	"slices"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
)

// How large a session is, Redis says itself (MEMORY USAGE): after a save where the keys follow from the session's id, and of every
// session that it evicts, of which all keys are known then. Between, what is written is added, also where it replaces something: where
// keys may have any name, the whole session is measured anew when it seems to have become twice as large. Postgres remembers the size
// with the access time, so a session that comes back has the right one.

// entrySize is about what a session takes in Redis besides its keys: its residency entry (names.go).
const entrySize = 48

// measureSamples is of how many elements of a large key Redis takes the average.
const measureSamples = 64

// regrown is how many kilobytes a session may seem to grow by, beyond twice its size, before it is measured anew.
const regrown = 16

// measure notes how large the saved sessions are, and asks where what was read does not tell. A size that cannot be had stays as it was:
// it is an estimate.
func (v *saver) measure(ctx context.Context, db int, jobs []*job) {
	keys := make([][]string, len(jobs))
	ask := false
	for i, j := range jobs {
		switch {
		case j.size > 0:
			j.ref.sized(j.size)
		case len(j.keys) == 0 && !j.grown: // it has been measured with its last save
		default:
			keys[i] = v.keysToMeasure(ctx, j)
		}
		ask = ask || len(keys[i]) > 0
	}
	if !ask {
		return
	}
	for i, size := range measureKeys(ctx, v.s.control.db(db), keys) {
		if size > 0 {
			jobs[i].ref.sized(size)
		}
	}
}

// keysToMeasure lists the keys of a session; none where they do not follow from its id and it seems to be as large as before.
func (v *saver) keysToMeasure(ctx context.Context, j *job) []string {
	keys, wild := v.s.sessions.literals(j.id)
	switch {
	case wild && j.ref.regrown():
		keys, _ = v.s.store.KeysOf(ctx, j.id, nowMilli())
	case wild:
		keys = nil
	}
	return keys
}

// appendSizes appends the session's keys that are not read and of which the size is wanted all the same.
func (j *job) appendSizes(more []string, s *sessions) []string {
	keys, wild := s.literals(j.id)
	if wild || len(j.keys) == 0 {
		return more
	}
	j.sizeOf = keys
	for _, key := range keys {
		if j.keys[key] == nil {
			more = append(more, key)
		}
	}
	return more
}

// addSizes adds up what the session's keys take, if all of them were seen.
func (j *job) addSizes(sizes map[string]int64) {
	j.size = 0
	for _, key := range j.sizeOf {
		size, seen := sizes[key]
		if !seen {
			j.size = 0
			return
		}
		j.size += size
	}
}

// regrown reports whether the session seems to have become much larger since it was measured.
func (r ref) regrown() bool {
	r.sh.Lock()
	defer r.sh.Unlock()
	return r.it.Bytes>>10 > 2*int64(r.it.Value.sizeKB)+regrown
}

// sized records a size that was measured.
func (r ref) sized(size int64) {
	r.sh.Lock()
	defer r.sh.Unlock()
	r.sizedLocked(size)
}

func (r ref) sizedLocked(size int64) {
	r.it.Value.sizeKB = uint32(min(size>>10, 1<<32-1))
	r.sh.SetBytes(r.it, size)
}

// measureKeys asks Redis how much memory lists of keys take; 0 for those of which it does not say it.
func measureKeys(ctx context.Context, cl redis.Cmdable, lists [][]string) []int64 {
	sums := make([]int64, len(lists))
	var owner []int
	var all []string
	for i, list := range lists {
		for _, key := range list {
			owner, all = append(owner, i), append(all, key)
		}
	}
	for part := range slices.Chunk(all, unlinkStep) {
		cmds, _ := cl.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, key := range part {
				p.MemoryUsage(ctx, key, measureSamples)
			}
			return nil
		})
		for i, cmd := range cmds {
			sums[owner[i]] += cmd.(*redis.IntCmd).Val()
		}
		owner = owner[len(part):]
	}
	return sums
}

// measure asks how large the victims are, of which all keys are known by now.
func (e *evictor) measure(ctx context.Context, cn *redis.Conn, victims []*victim) {
	keys := make([][]string, len(victims))
	for i, v := range victims {
		keys[i] = v.keys
	}
	for i, size := range measureKeys(ctx, cn, keys) {
		if v := victims[i]; size > 0 {
			v.bytes, v.heat.Bytes = size+entrySize, size
			v.ref.sized(size)
		}
	}
}

// sizeOfRestored is the size of a session that has come back: what it was when it left, if that is known.
func sizeOfRestored(snap session.Snapshot, payload int64) int64 {
	if snap.Found && snap.Heat.Bytes > 0 {
		return snap.Heat.Bytes
	}
	return payload
}
