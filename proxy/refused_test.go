package proxy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/testenv"
	"credproxy/lru"
	"credproxy/proxy"
)

// TestARefusedSessionHoldsUpNoOther lets Postgres refuse one session's key for good: all others are saved, and evicted.
func TestARefusedSessionHoldsUpNoOther(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) {
		cfg.Memory.Budget = lru.Budget{Max: 6 << 20, Threshold: 60, Target: 50}
	})
	ctx := context.Background()
	pg, err := pgx.Connect(ctx, e.dsn)
	must(t, err)
	defer pg.Close(ctx)
	_, err = pg.Exec(ctx, `ALTER TABLE credproxy.keys ADD CONSTRAINT refused CHECK (key <> 's:refused:k'::bytea)`)
	must(t, err)
	must(t, e.client.Set(ctx, "s:refused:k", "v", 0).Err())
	value := strings.Repeat("x", 20_000)
	for i := range 300 { // 6 MB: more than fits
		must(t, e.client.Set(ctx, fmt.Sprintf("s:good%d:k", i), value, 0).Err())
	}
	testenv.Eventually(t, 20*time.Second, "good sessions evicted, and only the refused key unsaved", func() bool {
		return e.stat("sessions_evicted") > 50 && e.stat("dirty_keys") == 1
	})
	if v := e.client.Get(ctx, "s:refused:k").Val(); v != "v" {
		t.Fatalf("the refused key reads %q", v)
	}
	if n := e.direct.Exists(ctx, "s:refused:k").Val(); n != 1 {
		t.Fatal("the refused key left Redis although Postgres never took it")
	}
	for i := range 300 {
		if v := e.client.Get(ctx, fmt.Sprintf("s:good%d:k", i)).Val(); v != value {
			t.Fatalf("good%d reads %d bytes", i, len(v))
		}
	}
	_, err = pg.Exec(ctx, `ALTER TABLE credproxy.keys DROP CONSTRAINT refused`)
	must(t, err)
	testenv.Eventually(t, 10*time.Second, "the key saved once Postgres takes it", func() bool { return e.stat("dirty_keys") == 0 })
}
