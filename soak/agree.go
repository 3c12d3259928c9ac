package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
)

// agree checks that Postgres holds what Redis holds after a SYNC, and what was read after everything has been evicted, and that
// nothing evicted has stayed in Redis.
func (r *round) agree(ctx context.Context, final map[string]any) (bad []string, err error) {
	cl := dialClient(r.stack.addr)
	defer cl.Close()
	// What the policy evicts while the stores are compared would seem to differ; CHECK waits for an enforcement under way.
	for _, what := range []string{"PAUSE", "CHECK", "SYNC"} {
		if err := cl.Do(ctx, "CREDPROXY", what).Err(); err != nil {
			return nil, fmt.Errorf("CREDPROXY %s: %w", what, err)
		}
	}
	defer cl.Do(ctx, "CREDPROXY", "RESUME")
	where, err := states(ctx, cl)
	if err != nil {
		return nil, err
	}
	for _, s := range r.sessions {
		if where[s.id()] != "resident" {
			continue
		}
		more, err := r.compareTwice(ctx, cl, s)
		if err != nil {
			return nil, err
		}
		bad = append(bad, more...)
	}
	if err := r.evictAll(ctx, cl, where); err != nil {
		return nil, err
	}
	more, err := r.leftInRedis(ctx)
	bad = append(bad, more...)
	if err != nil {
		return nil, err
	}
	for _, s := range r.sessions {
		stored, err := r.stored(ctx, s)
		if err != nil {
			return nil, err
		}
		bad = append(bad, missing(s, final, stored)...)
	}
	return bad, nil
}

func (r *round) stored(ctx context.Context, s sess) (session.Snapshot, error) {
	return r.stack.store.Load(ctx, session.ID{Keyspace: s.space, Name: s.name}, time.Now().UnixMilli())
}

// compareTwice compares once more, after a SYNC and nothing else, if there was a difference: a command whose client has given up may
// have reached Redis after the first one, and the saver must then come to it by itself. Such a difference is noted. A key that has
// no second chance because its time is over counts as different.
func (r *round) compareTwice(ctx context.Context, cl *redis.Client, s sess) (bad []string, err error) {
	first, _, err := r.compare(ctx, s)
	if err != nil || len(first) == 0 {
		return nil, err
	}
	for _, text := range first {
		r.tally.add("late differences", 1)
		r.tally.remark(fmt.Sprintf("late difference in round %d: %s", r.n, text))
	}
	if err := cl.Do(ctx, "CREDPROXY", "SYNC").Err(); err != nil {
		return nil, fmt.Errorf("CREDPROXY SYNC: %w", err)
	}
	second, skipped, err := r.compare(ctx, s)
	if skipped > 0 {
		second = append(second, first...)
	}
	return second, err
}

// compare compares a resident session, all of it saved, in Redis and in Postgres. It says how many parts it had to leave out as they
// may have expired meanwhile.
func (r *round) compare(ctx context.Context, s sess) (bad []string, skipped int, err error) {
	inRedis, err := r.live(ctx, s)
	if err != nil {
		return nil, 0, err
	}
	snap, err := r.stored(ctx, s)
	if err != nil {
		return nil, 0, err
	}
	inPostgres := flat(snap.Keys)
	for _, name := range bothNames(inRedis, inPostgres) {
		if strings.Contains(name, s.key(keyLease)) && r.expiring(inRedis, inPostgres, s) {
			skipped++
			continue
		}
		if a, b := inRedis[name], inPostgres[name]; a != b {
			bad = append(bad, fmt.Sprintf("after SYNC Redis and Postgres differ at %s: Redis %.60q, Postgres %.60q", name, a, b))
		}
	}
	return bad, skipped, nil
}

func bothNames(a, b map[string]string) (names []string) {
	for name := range a {
		names = append(names, name)
	}
	for name := range b {
		if _, too := a[name]; !too {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// expiring reports whether the key with a TTL may have expired while the two stores were read.
func (r *round) expiring(a, b map[string]string, s sess) bool {
	for _, m := range []map[string]string{a, b} {
		at, err := strconv.ParseInt(m[s.key(keyLease)+"@"], 10, 64)
		if err == nil && at < time.Now().UnixMilli()+slack {
			return true
		}
	}
	return false
}

// flat renders keys so that they can be compared one by one: value, field, DUMP and deadline.
func flat(keys []session.Key) map[string]string {
	m := map[string]string{}
	for i := range keys {
		k := &keys[i]
		switch {
		case k.Dump != nil:
			m[k.Name] = string(k.Dump)
		case k.Type == session.Hash:
			for _, f := range k.Fields {
				m[fieldPart(k.Name, f.Name)] = string(f.Value)
			}
		default:
			m[k.Name] = string(k.Value)
		}
		if k.ExpireAt != 0 {
			m[k.Name+"@"] = strconv.FormatInt(k.ExpireAt, 10)
		}
	}
	return m
}

// live reads a session from Redis, past the proxy and in one transaction: within one, Redis looks at one clock, so that no key is
// there without its deadline.
func (r *round) live(ctx context.Context, s sess) (map[string]string, error) {
	cl := r.stack.direct
	text := map[string]*redis.StringCmd{}
	var hash *redis.MapStringStringCmd
	var at *redis.Cmd
	_, err := cl.TxPipelined(ctx, func(p redis.Pipeliner) error {
		for _, suffix := range []string{keyA, keyB, keyCounter, keyLease} {
			text[s.key(suffix)] = p.Get(ctx, s.key(suffix))
		}
		text[s.key(keyList)] = p.Dump(ctx, s.key(keyList))
		hash = p.HGetAll(ctx, s.key(keyHash))
		at = p.Do(ctx, "PEXPIRETIME", s.key(keyLease))
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read session %s from Redis: %w", s.id(), err)
	}
	m := map[string]string{}
	for key, cmd := range text {
		if cmd.Err() == nil {
			m[key] = cmd.Val()
		}
	}
	for f, v := range hash.Val() {
		m[fieldPart(s.key(keyHash), f)] = v
	}
	if n, _ := at.Int64(); n > 0 {
		m[s.key(keyLease)+"@"] = strconv.FormatInt(n, 10)
	}
	return m, nil
}

// evictAll evicts every session that the proxy knows.
func (r *round) evictAll(ctx context.Context, cl *redis.Client, where map[string]string) error {
	all := append(slices.Clone(r.sessions), r.sides...)
	for part := range slices.Chunk(all, 16) {
		args := []any{"CREDPROXY", "EVICT"}
		for _, s := range part {
			if where[s.id()] != "" {
				args = append(args, s.id())
			}
		}
		if len(args) == 2 {
			continue
		}
		if err := evictSome(ctx, cl, args); err != nil {
			return fmt.Errorf("evict all sessions: %w", err)
		}
	}
	return nil
}

// evictTries is how often an eviction is tried: a key whose time ends meanwhile makes it fail, as it should.
const evictTries = 5

func evictSome(ctx context.Context, cl *redis.Client, args []any) (err error) {
	for range evictTries {
		err = cl.Do(ctx, args...).Err()
		if err == nil || strings.Contains(err.Error(), "it is not known") {
			return nil
		}
		pause(ctx, 20*time.Millisecond)
	}
	return err
}

// leftInRedis lists keys of evicted sessions that are in Redis. The side door's are allowed to be.
func (r *round) leftInRedis(ctx context.Context) (bad []string, err error) {
	for _, space := range spaces {
		keys, err := r.stack.direct.Keys(ctx, space+":s[0-9]*").Result()
		if err != nil {
			return nil, fmt.Errorf("list keys of Redis: %w", err)
		}
		for _, key := range keys {
			bad = append(bad, fmt.Sprintf("key %s is in Redis after its session was evicted", key))
		}
	}
	return bad, nil
}

// missing says where Postgres differs from what was read last. A list's DUMP is not decoded: it is read again in the next round.
func missing(s sess, final map[string]any, snap session.Snapshot) (bad []string) {
	stored := flat(snap.Keys)
	for _, part := range s.parts() {
		text, want := stored[part], ""
		switch state := final[part].(type) {
		case int64:
			if want = ""; state != 0 {
				want = encode(state)
			}
			if kindOf(part) == kindCounter && state != 0 {
				want = strconv.FormatInt(state, 10)
			}
		case lease:
			if text == "" || state.lo < time.Now().UnixMilli()+slack {
				continue
			}
			want = encode(state.val)
		case string:
			if (text == "") != (state == "") {
				bad = append(bad, fmt.Sprintf("after EVICT Postgres and the last reading differ at list %s: %q was read", part, state))
			}
			continue
		}
		if text != want {
			bad = append(bad, fmt.Sprintf("after EVICT Postgres and the last reading differ at %s: Postgres %.60q, read %.60q", part, text, want))
		}
	}
	return bad
}
