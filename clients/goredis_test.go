package clients

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/testenv"
)

// allBytes is every byte there is, once.
var allBytes = func() string {
	b := make([]byte, 256)
	for n := range b {
		b[n] = byte(n)
	}
	return string(b)
}()

const (
	bot  = "app:bot+5511988887777"
	peer = "app:user@host"
)

// TestGoRedis is for go-redis what TestScripts is for the others. Its options are the defaults, as its users have them.
func TestGoRedis(t *testing.T) {
	for _, protocol := range []int{2, 3} {
		t.Run(fmt.Sprintf("RESP%d", protocol), func(t *testing.T) {
			t.Parallel()
			server := testenv.Redis(t)
			want := talk(t, server.Addr(), protocol, func() {}, func() {})
			emptyRedis(t, server.Addr())
			for _, m := range modes {
				t.Run(m.name, func(t *testing.T) {
					s := newStack(t)
					cold, calm, restart := func() {}, func() {}, s.restart
					switch {
					case m.storm:
						calm, restart = startStorm(t, s.admin), func() {}
					case m.evict != "":
						cold = s.cold
					}
					same(t, talk(t, s.addr, protocol, cold, restart), want)
					for n := 0; m.storm && n < 20 && s.stat("restores") == 0; n++ { // a quick client ends before it is disturbed
						same(t, talk(t, s.addr, protocol, cold, restart), want)
					}
					calm()
					s.audit(40, m)
				})
			}
		})
	}
}

// cold evicts every session.
func (s *stack) cold() {
	s.t.Helper()
	ctx := s.t.Context()
	sessions, err := s.admin.Do(ctx, "CREDPROXY", "SESSIONS", "COUNT", "10000").Slice()
	must(s.t, err)
	args := []any{"CREDPROXY", "EVICT"}
	for _, one := range sessions {
		if pairs := one.(map[any]any); pairs["state"] == "resident" {
			args = append(args, pairs["keyspace"].(string)+"/"+pairs["id"].(string))
		}
	}
	if len(args) > 2 {
		must(s.t, s.admin.Do(ctx, args...).Err())
	}
}

// talker is a program that uses go-redis; each step is one call, with an eviction before it.
type talker struct {
	t     *testing.T
	ctx   context.Context
	c     *redis.Client
	cold  func()
	lines []string
}

// talk runs the program and returns what it would have printed.
func talk(t *testing.T, addr string, protocol int, cold, restart func()) []string {
	c := redis.NewClient(&redis.Options{Addr: addr, Protocol: protocol})
	defer c.Close()
	k := &talker{t: t, ctx: t.Context(), c: c, cold: cold}
	k.strings()
	k.hashes()
	k.batches()
	k.types()
	k.channel()
	restart()
	k.logout()
	return k.lines
}

// say notes a reply with its type and its error.
func (k *talker) say(cmd redis.Cmder) {
	k.t.Helper()
	k.note(cmd)
	k.cold()
}

func (k *talker) note(cmd redis.Cmder) {
	value := cmd.String()
	if typed, ok := cmd.(interface{ Result() (any, error) }); ok {
		got, err := typed.Result()
		value = fmt.Sprintf("%s: %T %q %v", cmd.Name(), got, got, err)
	}
	k.lines = append(k.lines, fmt.Sprintf("%T %s", cmd, value))
}

func (k *talker) strings() {
	k.say(k.c.Set(k.ctx, bot+":creds", allBytes, 0))
	k.say(k.c.Get(k.ctx, bot+":creds"))
	k.say(k.c.Append(k.ctx, bot+":creds", allBytes))
	k.say(k.c.GetRange(k.ctx, bot+":creds", 250, 260))
	k.say(k.c.SetNX(k.ctx, bot+":creds", "other", 0))
	k.say(k.c.Get(k.ctx, bot+":none"))
	k.say(k.c.IncrByFloat(k.ctx, bot+":n", 1.5))
	k.say(k.c.IncrByFloat(k.ctx, bot+":n", 1.25))
	k.say(k.c.MSet(k.ctx, bot+":a", "one", peer+":a", allBytes))
	k.say(k.c.MGet(k.ctx, bot+":a", bot+":none", peer+":a"))
	k.say(k.c.GetDel(k.ctx, bot+":a"))
	k.say(k.c.Exists(k.ctx, bot+":a", peer+":a"))
	k.say(k.c.Set(k.ctx, bot+":"+allBytes, "v", 0))
	k.say(k.c.Get(k.ctx, bot+":"+allBytes))
	k.say(k.c.Set(k.ctx, bot+":t", "v", 1000*time.Second))
	if ttl, err := k.c.TTL(k.ctx, bot+":t").Result(); err != nil || ttl > 1000*time.Second || ttl < 900*time.Second {
		k.t.Errorf("TTL: %v, %v", ttl, err)
	}
	k.say(k.c.Persist(k.ctx, bot+":t"))
	k.say(k.c.TTL(k.ctx, bot+":t"))
	k.say(k.c.Do(k.ctx, "OBJECT", "HELP", "too", "many"))
}

func (k *talker) hashes() {
	var fields []string
	for n := range 812 {
		fields = append(fields, fmt.Sprintf("pre-key-%d", n), fmt.Sprintf(`{"n":%d,"key":"+/="}`, n))
	}
	k.say(k.c.HSet(k.ctx, bot+":keys", fields))
	k.say(k.c.HGetAll(k.ctx, bot+":keys"))
	k.say(k.c.HMGet(k.ctx, bot+":keys", "pre-key-3", "none"))
	k.say(k.c.HSet(k.ctx, bot+":keys", allBytes, allBytes))
	k.say(k.c.HGet(k.ctx, bot+":keys", allBytes))
	k.say(k.c.HDel(k.ctx, bot+":keys", "pre-key-3", "none"))
	k.say(k.c.HGet(k.ctx, bot+":keys", "pre-key-3"))
	k.say(k.c.HIncrBy(k.ctx, bot+":h", "n", 5))
	k.say(k.c.HIncrBy(k.ctx, bot+":h", "n", 5))
}

func (k *talker) batches() {
	queued, err := k.c.Pipelined(k.ctx, func(p redis.Pipeliner) error {
		for n := range 293 {
			p.Set(k.ctx, fmt.Sprintf("app:fleet%d:k%d", n%7, n), n, 0)
			p.Get(k.ctx, fmt.Sprintf("app:fleet%d:k%d", (n+1)%7, n-6))
		}
		return nil
	})
	k.all("pipeline", queued, err)
	queued, err = k.c.TxPipelined(k.ctx, func(p redis.Pipeliner) error {
		p.HSet(k.ctx, bot+":h", "f", "v")
		p.Get(k.ctx, peer+":a")
		p.Incr(k.ctx, bot+":creds")
		return nil
	})
	k.all("multi", queued, err)
	err = k.c.Watch(k.ctx, func(tx *redis.Tx) error {
		k.note(k.c.Set(k.ctx, bot+":w", "theirs", 0))
		_, err := tx.TxPipelined(k.ctx, func(p redis.Pipeliner) error { return p.Set(k.ctx, bot+":w", "mine", 0).Err() })
		return err
	}, bot+":w")
	k.all("watch lost", nil, err)
	err = k.c.Watch(k.ctx, func(tx *redis.Tx) error {
		_, err := tx.TxPipelined(k.ctx, func(p redis.Pipeliner) error { return p.Set(k.ctx, bot+":w", "mine", 0).Err() })
		return err
	}, bot+":w")
	k.all("watch won", nil, err)
	once := redis.NewScript(`redis.call("HSETNX", KEYS[1], ARGV[1], ARGV[2]) return {redis.call("HGET", KEYS[1], ARGV[1]), 7}`)
	k.say(once.Run(k.ctx, k.c, []string{bot + ":lua"}, "f", allBytes))
	k.say(once.Run(k.ctx, k.c, []string{bot + ":lua"}, "f", "second"))
}

func (k *talker) all(name string, cmds []redis.Cmder, err error) {
	k.lines = append(k.lines, fmt.Sprintf("%s: %v", name, err))
	for _, cmd := range cmds {
		k.note(cmd)
	}
	k.cold()
}

func (k *talker) types() {
	k.say(k.c.RPush(k.ctx, bot+":l", "a", allBytes, "c"))
	k.say(k.c.LRange(k.ctx, bot+":l", 0, -1))
	k.say(k.c.SAdd(k.ctx, bot+":s", "x"))
	k.say(k.c.SMembersMap(k.ctx, bot+":s"))
	k.say(k.c.ZAdd(k.ctx, bot+":z", redis.Z{Score: 1.5, Member: "a"}, redis.Z{Score: 2, Member: "b"}))
	k.say(k.c.ZRangeWithScores(k.ctx, bot+":z", 0, -1))
	k.say(k.c.XAdd(k.ctx, &redis.XAddArgs{Stream: bot + ":x", ID: "1-1", Values: []any{"f", "v"}}))
	k.say(k.c.XRange(k.ctx, bot+":x", "-", "+"))
	for _, name := range []string{"creds", "keys", "l", "s", "z", "x", "none"} {
		k.say(k.c.Type(k.ctx, bot+":"+name))
	}
	k.say(k.c.Get(k.ctx, bot+":l"))
	k.say(k.c.Do(k.ctx, "HGETALL", bot+":lua")) // what RESP3 makes of it
	k.say(k.c.Do(k.ctx, "ZSCORE", bot+":z", "a"))
	k.say(k.c.Rename(k.ctx, bot+":l", peer+":l"))
	k.say(k.c.BLPop(k.ctx, 0, bot+":l", peer+":l"))
	k.say(k.c.Del(k.ctx, peer+":l"))
	popped := make(chan *redis.StringSliceCmd)
	go func() { popped <- k.c.BRPop(k.ctx, 0, peer+":l") }()
	k.note(k.c.LPush(k.ctx, peer+":l", "for the one who waits"))
	k.say(<-popped)
}

func (k *talker) channel() {
	sub := k.c.Subscribe(k.ctx, "news")
	defer sub.Close()
	_, err := sub.Receive(k.ctx)
	must(k.t, err)
	k.cold()
	k.say(k.c.Publish(k.ctx, "news", allBytes))
	got, err := sub.ReceiveMessage(k.ctx)
	must(k.t, err)
	k.lines = append(k.lines, fmt.Sprintf("%q %q", got.Channel, got.Payload))
}

func (k *talker) logout() {
	k.say(k.c.Get(k.ctx, bot+":w"))
	k.lines = append(k.lines, strings.Join(k.list("app:fleet*"), " "))
	for _, match := range []string{"app:fleet*", bot + ":*", peer + ":*"} {
		keys := k.list(match)
		k.cold()
		k.say(k.c.Unlink(k.ctx, keys...))
	}
	k.say(k.c.DBSize(k.ctx))
	if left := k.list("*"); len(left) > 0 {
		k.t.Errorf("SCAN finds %q after the logout", left)
	}
}

func (k *talker) list(match string) []string {
	var keys []string
	it := k.c.Scan(k.ctx, 0, match, 50).Iterator()
	for it.Next(k.ctx) {
		keys = append(keys, it.Val())
	}
	if err := it.Err(); err != nil && !errors.Is(err, context.Canceled) {
		k.t.Errorf("SCAN %s: %v", match, err)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
