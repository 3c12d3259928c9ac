package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/testenv"
)

// The program behind a PgBouncer in transaction mode: it must be told, works then as without, and a second proxy is refused by
// the row that takes the lock's place.
func TestBehindPgBouncer(t *testing.T) {
	server := testenv.Redis(t)
	dsn := testenv.PgBouncer(t, testenv.DSN(t))
	env := []string{"TEST_DSN=" + dsn}
	plain := writeFile(t, runConfig(server.Addr(), ""))
	out, err := program(t, env, "run", "--config", plain).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "pooler = true") {
		t.Errorf("a start without pooler = true: %v\n%s", err, out)
	}
	pooled := strings.Replace(runConfig(server.Addr(), ""), "restore { postgres", "restore {\n  pooler = true\n  postgres", 1)
	pooled = strings.Replace(pooled, `env("TEST_DSN") }`, "env(\"TEST_DSN\")\n}", 1)
	p := startConfigured(t, pooled, dsn)
	cl := redis.NewClient(&redis.Options{Addr: p.addr, DisableIdentity: true})
	defer cl.Close()
	ctx := context.Background()
	for i := range 40 {
		id := fmt.Sprintf("bot%d", i)
		if err := cl.HSet(ctx, "wa:auth:"+id+":keys", "a", i, "b", "x").Err(); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if err := cl.Do(ctx, "CREDPROXY", "EVICT", id).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := cl.HDel(ctx, "wa:auth:"+id+":keys", "b").Err(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 40 {
		got, err := cl.HGetAll(ctx, fmt.Sprintf("wa:auth:bot%d:keys", i)).Result()
		if err != nil || len(got) != 1 || got["a"] != fmt.Sprint(i) {
			t.Errorf("bot%d reads %v, %v", i, got, err)
		}
	}
	second := writeFile(t, pooled)
	out, err = program(t, env, "run", "--config", second).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another proxy") {
		t.Errorf("a second proxy behind the same pooler: %v\n%s", err, out)
	}
}
