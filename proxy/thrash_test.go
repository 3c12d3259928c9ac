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

// A loop over a little more than fits evicts each session before its turn comes again: that is found, said, and ended by the budget that
// is advised.
func TestThrashingIsFoundAndEnded(t *testing.T) {
	const sessions, size = 40, 300 << 10
	var log logBuffer
	e := newEnv(t, func(cfg *proxy.Config) {
		cfg.Memory.Budget.Max = 14 << 20
		cfg.Logger = hclog.New(&hclog.LoggerOptions{Output: &log})
	})
	ctx := context.Background()
	loop := func() {
		for i := range sessions {
			must(t, e.client.Get(ctx, fmt.Sprintf("s:t%d:k", i)).Err())
		}
	}
	for i := range sessions {
		must(t, e.client.Set(ctx, fmt.Sprintf("s:t%d:k", i), payload(i, size), 0).Err())
	}
	e.admin("SYNC")
	if e.stat("thrashing") != 0 || e.stat("advised_max_bytes") != 0 {
		t.Fatal("thrashing before anything was restored")
	}
	for n := 0; e.stat("thrashing") == 0; n++ {
		if n == 20 {
			t.Fatalf("not found after %d loops: %+v", n, e.server.Stats())
		}
		loop()
	}
	st := e.server.Stats().Thrashing
	if st.Advised <= sessions*size || st.Advised > 3*sessions*size || e.stat("quick_restores") < 50 {
		t.Errorf("advised: %d bytes for %d; %d quick restores", st.Advised, sessions*size, e.stat("quick_restores"))
	}
	testenv.Eventually(t, 20*time.Second, "a line in the log", func() bool {
		return strings.Contains(log.String(), "thrashing: the same sessions") && strings.Contains(log.String(), "a budget (memory.max) of about ")
	})
	cfg := e.cfg
	cfg.Memory.Budget.Max = st.Advised
	if _, err := e.server.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	loop() // brings all back
	before := e.stat("restores")
	loop()
	loop()
	if now := e.stat("restores"); now != before || e.stat("thrashing") != 0 {
		t.Errorf("with %d bytes %d were restored in two loops; thrashing is %d", st.Advised, now-before, e.stat("thrashing"))
	}
}
