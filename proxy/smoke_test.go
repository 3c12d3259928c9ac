package proxy_test

import (
	"context"
	"testing"

	"credproxy/internal/testenv"
)

func TestEvictAndRestoreOnFirstTouch(t *testing.T) {
	e := newEnv(t, nil)
	ctx := context.Background()
	must(t, e.client.Set(ctx, "wa:auth:bot1:creds", "secret\x00bytes", 0).Err())
	must(t, e.client.HSet(ctx, "wa:auth:bot1:keys", "pre-key-1", "a", "pre-key-2", "b").Err())
	if n := e.admin("SYNC"); n.(int64) < 0 {
		t.Fatal(n)
	}
	e.evict("wa/bot1")
	if n := e.direct.Exists(ctx, "wa:auth:bot1:creds", "wa:auth:bot1:keys").Val(); n != 0 {
		t.Fatalf("%d keys still in Redis", n)
	}
	if v, err := e.client.Get(ctx, "wa:auth:bot1:creds").Result(); err != nil || v != "secret\x00bytes" {
		t.Fatalf("GET after eviction: %q, %v", v, err)
	}
	if v := e.client.HGetAll(ctx, "wa:auth:bot1:keys").Val(); len(v) != 2 || v["pre-key-2"] != "b" {
		t.Fatalf("HGETALL after eviction: %v", v)
	}
	must(t, e.client.Del(ctx, "wa:auth:bot1:creds").Err())
	e.evict("wa/bot1")
	if n := e.client.Exists(ctx, "wa:auth:bot1:creds", "wa:auth:bot1:keys").Val(); n != 1 {
		t.Fatalf("EXISTS: %d, want 1", n)
	}
	testenv.Eventually(t, 5e9, "everything saved", func() bool { return e.stat("dirty_keys") == 0 })
}
