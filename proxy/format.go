package proxy

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"credproxy/keyspace"
)

// The metadata's format has a number, which stands in the name of each key of it. Before anything else is read, a new process makes the
// metadata of each database its own:
//
//	F1  formatKey names the format in force. The first one had no such key: where keys of it are, a program of that format was the
//	    last to run, whatever formatKey says, as an upgrade removes them.
//	F2  Only the format in force is believed. What another one says of residency was true before sessions were evicted behind its back.
//	F3  An upgrade copies first; then one script puts the new format in force and takes the old keys away. Killed before, it is begun
//	    anew; it makes no difference whether it ran.
//	F4  A newer format is not understood, so every session becomes unknown, and the scan for keys from before the proxy saves what
//	    Redis has. It cannot know which keys were removed and not noted in Postgres yet: with unsaved keys the process does not start.
//	    Every format therefore keeps its marks in a hash credproxy:<number>:dirty, and what adoptedKey holds in :adopted.
const format = 2

// The keys of the first format. It differed in the number of its buckets.
const (
	prefix1  = keyspace.OwnPrefix + "1:"
	run1     = prefix1 + "run"
	adopted1 = prefix1 + "adopted"
	dirty1   = prefix1 + "dirty"
	heat1    = prefix1 + "heat:"
	buckets1 = 256
)

// forceScript puts this format in force: KEYS: runKey, adoptedKey, formatKey, then what goes. ARGV: the values of the first three, ""
// for none.
var forceScript = redis.NewScript(`#!lua flags=allow-oom
for i = 1, 3 do
  if ARGV[i] == '' then redis.call('UNLINK', KEYS[i]) else redis.call('SET', KEYS[i], ARGV[i]) end
end
for i = 4, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 1`)

// newerFormatError says that metadata cannot be ignored without harm.
type newerFormatError struct {
	db     int
	format string
	keys   int64
}

func (e newerFormatError) Error() string {
	return fmt.Sprintf("Redis database %d was last served by a newer credproxy (metadata of format %s, this program knows up to %d), which left %d "+
		"keys that may not be in Postgres: start that version again and stop it with SIGTERM, then start this one", e.db, e.format, format, e.keys)
}

// adoptFormat makes the metadata of a database that of this program's format.
func (m *meta) adoptFormat(ctx context.Context, db int) error {
	cl := m.control.db(db)
	now, err := cl.Get(ctx, formatKey).Result()
	if err != nil && err != redis.Nil {
		return fmt.Errorf("read the metadata's format: %w", err)
	}
	older, err := cl.Exists(ctx, run1, adopted1, dirty1).Result()
	if err != nil {
		return fmt.Errorf("read the metadata's format: %w", err)
	}
	switch n, _ := strconv.Atoi(now); {
	case older > 0:
		return m.upgrade(ctx, db)
	case now == "" || n == format:
		return nil
	default:
		return m.ignore(ctx, db, now)
	}
}

// upgrade takes over what a program of the first format has left.
func (m *meta) upgrade(ctx context.Context, db int) error {
	cl := m.control.db(db)
	old := []string{dirty1, run1, adopted1}
	cmds, err := cl.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Unlink(ctx, heatKeys()...) // F2, F3
		p.HGetAll(ctx, dirty1)
		for i := range buckets1 {
			old = append(old, heat1+strconv.FormatUint(uint64(i), 16))
			p.HGetAll(ctx, old[len(old)-1])
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read metadata of format 1: %w", err)
	}
	into, sessions := map[string][]any{}, 0
	for key, gen := range cmds[1].(*redis.MapStringStringCmd).Val() {
		into[dirtyMarks] = append(into[dirtyMarks], key, gen)
	}
	for _, cmd := range cmds[2:] {
		for field, value := range cmd.(*redis.MapStringStringCmd).Val() {
			into[heatKey(field)] = append(into[heatKey(field)], field, value)
			sessions++
		}
	}
	if err := m.setFields(ctx, db, into); err != nil {
		return fmt.Errorf("write metadata of format %d: %w", format, err)
	}
	values, err := cl.MGet(ctx, run1, adopted1).Result()
	if err != nil {
		return fmt.Errorf("read metadata of format 1: %w", err)
	}
	if err := m.force(ctx, db, textOf(values[0]), textOf(values[1]), old); err != nil {
		return err
	}
	m.log.Info("metadata of an older credproxy is taken over", "db", db, "sessions", sessions, "unsaved_keys", len(into[dirtyMarks])/2)
	return nil
}

// setFields writes hashes in slices that hold Redis up for little, also when it is out of memory.
func (m *meta) setFields(ctx context.Context, db int, hashes map[string][]any) error {
	const most = 2000 // arguments of one script call
	cmds, err := m.control.db(db).Pipelined(ctx, func(p redis.Pipeliner) error {
		for key, pairs := range hashes {
			for part := range slices.Chunk(pairs, most) {
				markScript.Eval(ctx, p, []string{key}, part...)
			}
		}
		return nil
	})
	if len(cmds) == 0 {
		return nil
	}
	return err
}

// force puts this format in force and removes keys of others.
func (m *meta) force(ctx context.Context, db int, run, adopted string, gone []string) error {
	keys := append([]string{runKey, adoptedKey, formatKey}, gone...)
	if err := forceScript.Eval(ctx, m.control.db(db), keys, run, adopted, format).Err(); err != nil {
		return fmt.Errorf("put format %d of the metadata in force: %w", format, err)
	}
	return nil
}

// ignore makes every session unknown, because only a newer program understands what is written of them.
func (m *meta) ignore(ctx context.Context, db int, newer string) error {
	cl, prefix := m.control.db(db), keyspace.OwnPrefix+newer+":"
	n, err := cl.HLen(ctx, prefix+"dirty").Result()
	if err != nil {
		return fmt.Errorf("count the unsaved keys of metadata of format %s: %w", newer, err)
	}
	if n > 0 {
		return newerFormatError{db, newer, n}
	}
	mark, err := cl.Get(ctx, prefix+"adopted").Result()
	if err != nil && err != redis.Nil {
		return fmt.Errorf("read metadata of format %s: %w", newer, err)
	}
	adopted := ""
	if taggedOff(mark) {
		adopted = offPending // O7 holds whoever has written it
	}
	if err := m.sweep(ctx, db, prefix); err != nil {
		return err
	}
	if err := m.force(ctx, db, "", adopted, append(heatKeys(), prefix+"adopted")); err != nil {
		return err
	}
	m.log.Warn("metadata of a newer credproxy is ignored: sessions in Redis are looked for anew, and are as old as Redis says their keys are",
		"db", db, "its_format", newer, "known_format", format)
	return nil
}

// sweep removes the keys with a prefix of another format, but for what may be needed again if this is cut short.
func (m *meta) sweep(ctx context.Context, db int, prefix string) error {
	cl := m.control.db(db)
	scan := cl.Scan(ctx, 0, keyspace.OwnPrefix+"*", adoptStep).Iterator()
	for scan.Next(ctx) {
		if key := scan.Val(); strings.HasPrefix(key, prefix) && key != prefix+"adopted" {
			if err := cl.Unlink(ctx, key).Err(); err != nil {
				return fmt.Errorf("remove metadata of another format: %w", err)
			}
		}
	}
	if err := scan.Err(); err != nil {
		return fmt.Errorf("look for metadata of another format: %w", err)
	}
	return nil
}

func heatKeys() []string {
	keys := make([]string, heatBuckets)
	for i := range keys {
		keys[i] = bucketKey(i)
	}
	return keys
}

func textOf(v any) string {
	text, _ := v.(string)
	return text
}
