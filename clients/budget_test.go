package clients

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"credproxy/internal/testenv"
)

var (
	budgetBots = flag.Int("bots", 60, "TestReplacedProgram: bots, of about 0.2 MB each")
	budgetMB   = flag.Int64("budget", 10, "TestReplacedProgram: memory budget in MB")
)

// budgetLine is what budget.mjs prints.
type budgetLine struct {
	MS        int64   `json:"ms"`
	Bots      int     `json:"bots"`
	Used      int64   `json:"used"`
	Peak      int64   `json:"peak"`
	Evictions int64   `json:"evictions"` // that its memory manager believes to have made
	InRedis   float64 `json:"inRedis"`   // sessions
	Readable  int     `json:"readable"`
}

// The same bots, store and budget, with wa-auth-store's own memory manager and with the proxy in its place. The manager deletes keys of
// another name than the store writes, so it frees nothing; the proxy holds the budget, and every bot reads what it wrote. With -v it
// prints both, and more bots show more: -args -bots 400 -budget 32.
func TestReplacedProgram(t *testing.T) {
	node := needNode(t, 20)
	budget, bots := *budgetMB<<20, *budgetBots
	env := func(addr, redis, manager string) []string {
		return []string{"REDIS_ADDR=" + addr, "REDIS=" + redis, "MANAGER=" + manager, fmt.Sprint("BUDGET=", budget), fmt.Sprint("BOTS=", bots)}
	}
	run := func(name string, env []string) budgetLine {
		var last budgetLine
		for _, text := range start(t, node, []string{"budget.mjs"}, env...).transcript(func() {}) {
			last = budgetLine{}
			must(t, json.Unmarshal([]byte(text), &last))
			t.Logf("%-13s %6.1f s %5d bots %7.1f MB used", name, float64(last.MS)/1000, last.Bots, mb(last.Used))
		}
		t.Logf("%-13s highest %.1f MB of %d, when all was written %.1f; %.0f sessions in Redis, %d of %d readable; evicted by a manager: %d", name,
			mb(last.Peak), *budgetMB, mb(last.Used), last.InRedis, last.Readable, bots, last.Evictions)
		return last
	}

	plain := testenv.Redis(t)
	was := run("its manager", env(plain.Addr(), plain.Addr(), "yes"))
	if was.Used <= budget || was.Evictions == 0 || int(was.InRedis) != bots || was.Readable != bots {
		t.Errorf("wa-auth-store by itself: %+v; is it another version, whose keys match?", was)
	}

	s := newBudgetStack(t, budget)
	now := run("credproxy", env(s.addr, s.redis.Addr(), ""))
	s.count()
	t.Logf("%-13s %d evictions, %d restores", "credproxy", s.evictions, s.restores)
	if now.Used > budget || int(now.InRedis) >= bots || now.Readable != bots || s.evictions == 0 || s.restoreErrors != 0 {
		t.Errorf("credproxy: %+v, %d evictions, %d errors of restores", now, s.evictions, s.restoreErrors)
	}
}

func mb(n int64) float64 { return float64(n) / (1 << 20) }

// newBudgetStack is newStack with a memory budget.
func newBudgetStack(t *testing.T, budget int64) *stack {
	t.Helper()
	s := &stack{t: t, redis: testenv.Redis(t), dsn: testenv.DSN(t), addr: freeAddr(t)}
	s.config = filepath.Join(t.TempDir(), "proxy.hcl")
	text := fmt.Sprintf(configText, s.addr, s.redis.Addr()) + fmt.Sprintf("memory { max = \"%d\" }\n", budget)
	must(t, os.WriteFile(s.config, []byte(strings.TrimSpace(text)+"\n"), 0o600))
	s.direct, s.admin = client(t, s.redis.Addr()), client(t, s.addr)
	s.start()
	return s
}
