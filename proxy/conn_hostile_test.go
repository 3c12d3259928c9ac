package proxy_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/procs"
	"credproxy/internal/testenv"
)

// maxHostileRSS is how much memory a hostile client of each kind may cost the process, in KB as the kernel counts.
const maxHostileRSS = 64 << 10

// window is one kind of neighbourhood: what four clients that mean well felt in it, and what it cost.
type window struct {
	latencies           []time.Duration
	proxy, redis, enemy time.Duration // processor time
	lasted              time.Duration
}

// floor is the Redis against which the same hostile clients are let loose directly: what its others feel is what the machine costs, and
// Redis. It has the limit that an operator would set, as replies that nobody reads would take all memory.
func floor(t *testing.T) *procs.Redis {
	t.Helper()
	return testenv.Redis(t, "--client-output-buffer-limit", "normal 256mb 0 0")
}

// TestHostileClients lets each kind loose on a proxy in a process of its own. The process must live and stay small. The latency of
// four clients that mean well is measured in turns, in the same run: on a quiet machine and beside the attack. Their ratio is the figure
// of record: it is what an observer from outside compares. It is shown, as is the processor time that the proxy and Redis spend; a
// shared machine is no place for a limit on either.
//
// With -v, two more things explain it. The control leaves the proxy alone and keeps every processor busy: what the others feel of it, by
// itself and beside the attack, is the machine's, not the proxy's. (It is no base to compare with. It keeps processors awake,
// so that everything is quicker than on a quiet machine; and who is woken where a process of SCHED_IDLE runs waits for the next tick of the
// scheduler now and then, up to 4 ms, which with the control happens on both processors.) And the same attack on a Redis without a proxy is
// the floor.
func TestHostileClients(t *testing.T) {
	e := prepareEnv(t, nil)
	addr, _ := e.startChild(50 * time.Millisecond)
	large := func(c *redis.Client) {
		must(t, c.Set(context.Background(), "hostile:large", strings.Repeat("x", 1<<20), 0).Err())
	}
	large(e.direct)
	var bare *procs.Redis
	if testing.Verbose() {
		bare = floor(t)
		large(redisClient(t, bare.Addr(), ""))
	}
	each := *forFlag / 20
	measure(t, addr, each) // everything is warm
	for _, name := range slices.Sorted(maps.Keys(hostiles)) {
		t.Run(name, func(t *testing.T) {
			before := memoryKB(t, e.childPID, "VmRSS")
			must(t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", e.childPID), []byte("5"), 0)) // the peak begins anew
			var quiet, loud, shared, both, bareQuiet, bareLoud window
			for range 3 {
				e.observe(&quiet, addr, each)
				e.observe(&loud, addr, each, name)
				if bare != nil {
					e.observe(&shared, addr, each, control)
					e.observe(&both, addr, each, control, name)
					e.observe(&bareQuiet, bare.Addr(), each)
					e.observe(&bareLoud, bare.Addr(), each, name)
				}
			}
			cost := memoryKB(t, e.childPID, "VmHWM") - before
			t.Logf("%s; %d KB at the peak", loud.against(&quiet), cost)
			if bare != nil {
				t.Logf("beside the control: %s", both.against(&shared))
				t.Logf("without a proxy: %s", bareLoud.against(&bareQuiet))
			}
			t.Logf("processor time per second: proxy %s -> %s, Redis %s -> %s, the hostile process %s", quiet.share(quiet.proxy),
				loud.share(loud.proxy), quiet.share(quiet.redis), loud.share(loud.redis), loud.share(loud.enemy))
			if cost > maxHostileRSS {
				t.Errorf("it costs %d KB, want %d at most", cost, maxHostileRSS)
			}
			dialWire(t, addr).want("+PONG\r\n", "PING")
		})
	}
}

// against says what the others felt in w, an attack, and in calm.
func (w *window) against(calm *window) string {
	c, a := p99(calm.latencies), p99(w.latencies)
	return fmt.Sprintf("p99 %v -> %v attacked: %.2f times; p50 %v -> %v", c, a, float64(a)/float64(max(c, 1)), p50(calm.latencies), p50(w.latencies))
}

// observe adds one turn to w, beside processes of those kinds.
func (e *env) observe(w *window, addr string, d time.Duration, kinds ...string) {
	e.t.Helper()
	began, proxy, redis := time.Now(), processorTime(e.t, e.childPID), processorTime(e.t, e.redis.PID())
	turn := func() { w.latencies = append(w.latencies, measure(e.t, addr, d)...) }
	for _, kind := range kinds {
		inner := turn
		turn = func() { w.enemy += attack(e.t, kind, addr, inner) }
	}
	turn()
	w.proxy += processorTime(e.t, e.childPID) - proxy
	w.redis += processorTime(e.t, e.redis.PID()) - redis
	w.lasted += time.Since(began)
}

// share is processor time per second of the turn.
func (w *window) share(used time.Duration) time.Duration {
	return time.Duration(float64(used) / w.lasted.Seconds()).Round(time.Millisecond)
}

// measure runs four clients for a while and returns how long each of their commands took. They rest between their commands, as
// bots do.
func measure(t *testing.T, addr string, d time.Duration) (all []time.Duration) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	until := time.Now().Add(d)
	for i := range 4 {
		w := dialWire(t, addr)
		wg.Go(func() {
			defer w.nc.Close()
			var mine []time.Duration
			for n := 0; time.Now().Before(until); n++ {
				key, value := fmt.Sprintf("s:well%d:k", i), fmt.Sprint(n)
				start := time.Now()
				if reply, err := w.do("SET", key, value); err != nil || reply != "+OK\r\n" {
					t.Errorf("SET: %q, %v", reply, err)
					return
				}
				between := time.Now()
				if reply, err := w.do("GET", key); err != nil || reply != bulkReply(value) {
					t.Errorf("GET: %q, %v", reply, err)
					return
				}
				mine = append(mine, between.Sub(start), time.Since(between))
				time.Sleep(time.Millisecond)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
		})
	}
	wg.Wait()
	return all
}

func p50(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func p99(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)*99/100]
}

// memoryKB reads how much memory a process has (VmRSS), or has had (VmHWM), in KB.
func memoryKB(t *testing.T, pid int, which string) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	_, rest, _ := strings.Cut(string(status), which+":")
	var kb int64
	_, err = fmt.Sscan(rest, &kb)
	must(t, err)
	return kb
}

// A value on its way is held nowhere, neither to Redis nor to a client.
func TestVeryLargeValue(t *testing.T) {
	e := prepareEnv(t, nil)
	addr, _ := e.startChild(50 * time.Millisecond)
	const size = 200 << 20
	value := strings.Repeat("0123456789abcdef", size/16)
	w := dialWire(t, addr)
	w.want("+PONG\r\n", "PING")
	for _, step := range []struct {
		args []string
		want string
		most int64 // KB
	}{
		{[]string{"SET", "large", value}, "+OK\r\n", 32 << 10},
		{[]string{"GET", "large"}, bulkReply(value), 32 << 10},
	} {
		before := memoryKB(t, e.childPID, "VmRSS")
		must(t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", e.childPID), []byte("5"), 0))
		w.writeAll([][]string{step.args})
		if got := w.next(); got != step.want {
			t.Fatalf("%s: %d bytes, want %d", step.args[0], len(got), len(step.want))
		}
		cost := memoryKB(t, e.childPID, "VmHWM") - before
		t.Logf("%s of %d MB: %d MB at the peak", step.args[0], size>>20, cost>>10)
		if cost > step.most {
			t.Errorf("%s costs %d MB, want %d at most", step.args[0], cost>>10, step.most>>10)
		}
	}
}

// TestLargeRepliesUnexpected: replies were small, so many commands are sent together; then all of them are large, and nobody reads. What
// is under way has to be held, as it comes on a connection of others.
func TestLargeRepliesUnexpected(t *testing.T) {
	e := prepareEnv(t, nil)
	ctx := context.Background()
	value := strings.Repeat("x", 1<<20)
	must(t, e.direct.Set(ctx, "large", value, 0).Err())
	must(t, e.direct.Set(ctx, "small", "x", 0).Err())
	for _, tc := range []struct {
		name  string
		reads bool
	}{{"reads", true}, {"never reads", false}} {
		t.Run(tc.name, func(t *testing.T) {
			addr, kill := e.startChild(50 * time.Millisecond)
			defer kill()
			w := dialWire(t, addr)
			for range 3 {
				w.writeAll(slices.Repeat([][]string{{"GET", "small"}}, 1000))
				for range 1000 {
					if got := w.next(); got != "$1\r\nx\r\n" {
						t.Fatalf("%q", got)
					}
				}
			}
			before := memoryKB(t, e.childPID, "VmRSS")
			must(t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", e.childPID), []byte("5"), 0))
			w.writeAll(slices.Repeat([][]string{{"GET", "large"}}, 256))
			if tc.reads {
				for range 256 {
					if got := w.next(); len(got) != len(bulkReply(value)) {
						t.Fatalf("%d bytes", len(got))
					}
				}
			} else {
				e.untilQuiet(t)
			}
			cost := memoryKB(t, e.childPID, "VmHWM") - before
			t.Logf("%d KB at the peak", cost)
			if cost > maxHostileRSS {
				t.Errorf("it costs %d KB, want %d at most", cost, maxHostileRSS)
			}
		})
	}
}

// untilQuiet returns when Redis has sent nothing for a while.
func (e *env) untilQuiet(t *testing.T) {
	t.Helper()
	sent := ""
	testenv.Eventually(t, 30*time.Second, "Redis quiet", func() bool {
		time.Sleep(300 * time.Millisecond)
		last := sent
		sent = e.direct.InfoMap(context.Background(), "commandstats").Item("Commandstats", "cmdstat_get")
		return sent == last
	})
}
