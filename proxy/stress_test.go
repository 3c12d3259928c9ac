package proxy_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// TestHashesSurviveEvictionsUnderLoad changes hashes field by field while their sessions are evicted all the time, and
// checks the whole of each hash against a model.
func TestHashesSurviveEvictionsUnderLoad(t *testing.T) {
	e := newEnv(t, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var bots, storm sync.WaitGroup
	for n := range 8 {
		bots.Go(func() { hashBot(ctx, t, e.client, n) })
	}
	stop, end := context.WithCancel(context.Background())
	for range 2 {
		storm.Go(func() {
			for stop.Err() == nil {
				e.client.Do(stop, "CREDPROXY", "EVICT", fmt.Sprintf("wa/h%d", rand.IntN(8)), fmt.Sprintf("wa/h%d", rand.IntN(8)))
			}
		})
	}
	bots.Wait()
	end()
	storm.Wait()
	t.Logf("%d evictions, %d restores", e.stat("evictions"), e.stat("restores"))
	if e.stat("evictions") == 0 {
		t.Fatal("nothing was evicted: the test shows nothing")
	}
}

func hashBot(ctx context.Context, t *testing.T, cl *redis.Client, n int) {
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	key := fmt.Sprintf("wa:auth:h%d:keys", n)
	model := map[string]string{}
	set := func(from, count int) {
		var args []any
		for i := range count {
			f, v := fmt.Sprintf("pre-key-%d", from+i), strings.Repeat(fmt.Sprint(rng.IntN(1000)), 40)
			model[f] = v
			args = append(args, f, v)
		}
		if err := cl.HSet(context.Background(), key, args...).Err(); err != nil {
			t.Errorf("HSET: %v", err)
		}
	}
	set(0, 812)
	for ctx.Err() == nil && !t.Failed() {
		switch rng.IntN(4) {
		case 0:
			set(rng.IntN(900), 1+rng.IntN(5))
		case 1:
			f := fmt.Sprintf("pre-key-%d", rng.IntN(900))
			delete(model, f)
			if err := cl.HDel(context.Background(), key, f).Err(); err != nil {
				t.Errorf("HDEL: %v", err)
			}
		case 2:
			f := fmt.Sprintf("pre-key-%d", rng.IntN(900))
			v, err := cl.HGet(context.Background(), key, f).Result()
			if want, ok := model[f]; (ok && v != want) || (!ok && err != redis.Nil) {
				t.Errorf("HGET %s: %.20q, %v; want %.20q, there %v", f, v, err, want, ok)
			}
		case 3:
			all := cl.HGetAll(context.Background(), key).Val()
			if len(all) != len(model) {
				t.Errorf("HGETALL %s: %d fields, want %d", key, len(all), len(model))
			}
			for f, want := range model {
				if all[f] != want {
					t.Errorf("HGETALL %s: field %s is %.20q, want %.20q", key, f, all[f], want)
					break
				}
			}
		}
	}
}
