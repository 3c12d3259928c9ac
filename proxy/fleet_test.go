package proxy_test

import (
	"context"
	"testing"
	"time"

	"credproxy/internal/bots"
	"credproxy/keyspace"
	"credproxy/lru"
	"credproxy/proxy"
)

// TestBotsUnderMemoryPressure lets a fleet work in a third of the memory it needs: no bot may read a wrong byte.
func TestBotsUnderMemoryPressure(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) {
		cfg.Keyspaces = nil
		for _, s := range bots.AllShapes() {
			cfg.Keyspaces = append(cfg.Keyspaces, keyspace.Spec{Name: s.String(), Patterns: s.Patterns(), DB: -1})
		}
		cfg.Memory.Budget = lru.Budget{Max: 8 << 20, Threshold: 80, Target: 60}
		cfg.Sync.Interval = 200 * time.Millisecond
	})
	fleet, err := bots.New(bots.Config{
		Addr: e.server.Addr().String(), Bots: 30, Seed: 7, Start: 2 * time.Second, Pace: 5 * time.Millisecond,
		Active: time.Second, Quiet: 2 * time.Second,
		OnWrong: func(text string) { t.Error(text) }, OnError: func(text string) { t.Log(text) },
	})
	must(t, err)
	defer fleet.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fleet.Run(ctx)
	must(t, fleet.Verify(context.Background()))
	if e.stat("evictions") < 20 || e.stat("restores") < 10 {
		t.Fatalf("too little happened: %d evictions, %d restores", e.stat("evictions"), e.stat("restores"))
	}
}
