package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/testenv"
)

// The connection that holds the lock on the memory policy drops, and somebody else gets the lock: the proxy serves and saves, evicts
// nothing, says so, and goes on when the lock is free again.
func TestLockIsLostAndRetaken(t *testing.T) {
	server, dsn := testenv.Redis(t), testenv.DSN(t)
	p := startProxy(t, server, dsn)
	cl := redis.NewClient(&redis.Options{Addr: p.addr, Protocol: 2, DisableIdentity: true})
	defer cl.Close()
	ctx := context.Background()
	if err := cl.Set(ctx, "wa:auth:b:creds", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	release := testenv.StealLocks(t, dsn)
	enforcing := func() string {
		info, err := cl.Info(ctx, "credproxy").Result()
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(info, "credproxy_enforcing:")
		return rest[:1]
	}
	testenv.Eventually(t, 20*time.Second, "loss of the lock", func() bool { return enforcing() == "0" })
	if err := cl.Do(ctx, "CREDPROXY", "EVICT", "b").Err(); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("EVICT without the lock: %v", err)
	}
	if err := cl.Set(ctx, "wa:auth:b:creds", "y", 0).Err(); err != nil {
		t.Error(err)
	}
	if err := cl.Do(ctx, "CREDPROXY", "SYNC").Err(); err != nil {
		t.Errorf("SYNC without the lock: %v", err)
	}
	release()
	testenv.Eventually(t, 20*time.Second, "the lock again", func() bool { return enforcing() == "1" })
	if n, err := cl.Do(ctx, "CREDPROXY", "EVICT", "b").Int(); n != 1 || err != nil {
		t.Errorf("EVICT with the lock: %d, %v", n, err)
	}
	if got := cl.Get(ctx, "wa:auth:b:creds").Val(); got != "y" {
		t.Errorf("the session reads %q", got)
	}
	for _, want := range []string{"nothing is evicted until it is back", "memory policy is back"} {
		if !strings.Contains(p.logged(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}
