package proxy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// Without memory.max, Redis's own maxmemory is the budget, also when it changes; evictions go by it.
func TestBudgetFromRedis(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Memory.MaxFromRedis = true }, "--maxmemory", "16mb")
	ctx := context.Background()
	max := func() int64 {
		e.admin("CHECK")
		return e.stat("memory_max_bytes")
	}
	if got := max(); got != 16<<20 {
		t.Errorf("the budget is %d bytes", got)
	}
	for i := range 80 {
		must(t, e.client.Set(ctx, fmt.Sprintf("s:f%d:k", i), payload(i, 300<<10), 0).Err())
	}
	e.admin("SYNC")
	e.admin("CHECK")
	if e.stat("evictions") == 0 || e.usedMemory() > 16<<20 {
		t.Errorf("%d evictions, %d bytes are used", e.stat("evictions"), e.usedMemory())
	}
	must(t, e.direct.ConfigSet(ctx, "maxmemory", "20mb").Err())
	if got := max(); got != 20<<20 {
		t.Errorf("with another maxmemory: %d bytes", got)
	}
	must(t, e.direct.ConfigSet(ctx, "maxmemory", "0").Err())
	if got := max(); got != proxy.DefaultMax {
		t.Errorf("without maxmemory: %d bytes", got)
	}
	cfg := e.cfg // a memory.max of one's own comes first
	cfg.Memory.MaxFromRedis, cfg.Memory.Budget.Max = false, 64<<20
	must(t, e.direct.ConfigSet(ctx, "maxmemory", "100mb").Err())
	if _, err := e.server.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if got := max(); got != 64<<20 {
		t.Errorf("with a max of one's own: %d bytes", got)
	}
}

// A budget above Redis's own limit, and a Redis that evicts by itself, are said in the log and in the state, and no longer when they are mended.
func TestRedisLimitsAreSaid(t *testing.T) {
	var log logBuffer
	e := newEnv(t, func(cfg *proxy.Config) {
		cfg.Memory.Budget.Max = 64 << 20
		cfg.Logger = hclog.New(&hclog.LoggerOptions{Output: &log})
	}, "--maxmemory", "40mb", "--maxmemory-policy", "allkeys-lru")
	const above = "memory.max (64 MB) is above Redis's own maxmemory (40 MB): Redis refuses writes before eviction begins"
	says := func(text string) bool {
		for _, w := range e.server.Stats().MemoryWarnings {
			if strings.Contains(w, text) {
				return true
			}
		}
		return false
	}
	testenv.Eventually(t, 20*time.Second, "both in the log and the state", func() bool {
		return strings.Contains(log.String(), above) && strings.Contains(log.String(), "maxmemory-policy is allkeys-lru") && says(above)
	})
	ctx := context.Background()
	must(t, e.direct.ConfigSet(ctx, "maxmemory", "60mb").Err())
	e.admin("CHECK")
	if !says("Redis refuses writes while there should be room") {
		t.Errorf("with the threshold below it: %q", e.server.Stats().MemoryWarnings)
	}
	must(t, e.direct.ConfigSet(ctx, "maxmemory", "64mb").Err())
	e.admin("CHECK")
	if list := e.server.Stats().MemoryWarnings; len(list) != 0 {
		t.Errorf("with a maxmemory of the same size: %q", list)
	}
}

// What the system has given Redis is shown beside what Redis uses.
func TestFragmentationIsShown(t *testing.T) {
	e := newEnv(t, nil)
	e.admin("CHECK")
	st := e.server.Stats()
	if st.RSS < 1<<20 || st.RSS > 1<<30 || st.Fragmentation < 0.1 || st.RSS != e.stat("memory_rss_bytes") {
		t.Errorf("%d bytes, in STATS %d, fragmentation %.1f", st.RSS, e.stat("memory_rss_bytes"), st.Fragmentation)
	}
}
