package clients

import (
	"testing"

	"credproxy/internal/testenv"
)

// script is a program that uses one client library.
type script struct {
	name     string
	node     int      // the oldest Node that the library runs on; 0: it is a Python program
	words    []string // the script and its arguments
	restarts bool     // it has the proxy killed in the middle
	least    int64    // the fewest restores that a cold run has to show
}

var scripts = []script{
	{"ioredis 5", 18, []string{"ioredis.mjs", "ioredis5"}, true, 40},
	{"ioredis 6", 20, []string{"ioredis.mjs", "ioredis6"}, true, 40},
	{"ioredis 6, RESP2", 20, []string{"ioredis.mjs", "ioredis6", "2"}, true, 40},
	{"node-redis 4", 18, []string{"node-redis.mjs", "redis4"}, true, 40},
	{"node-redis 5", 18, []string{"node-redis.mjs", "redis5"}, true, 40},
	{"node-redis 5, RESP3", 18, []string{"node-redis.mjs", "redis5", "3"}, true, 40},
	{"node-redis 6", 20, []string{"node-redis.mjs", "redis6"}, true, 40},
	{"node-redis 6, RESP2", 20, []string{"node-redis.mjs", "redis6", "2"}, true, 40},
	{"wa-auth-store", 20, []string{"wa-auth-store.mjs"}, true, 100},
	{"connect-redis", 18, []string{"connect-redis.mjs", "redis5"}, true, 40},
	{"connect-redis, node-redis 6", 20, []string{"connect-redis.mjs", "redis6"}, true, 40},
	{"redis-py", 0, []string{"redis_py.py"}, true, 40},
}

// mode is how the proxy runs while a client does.
type mode struct {
	name  string
	evict string // EVICT for the script
	storm bool   // sessions are evicted all the time, whatever the client does
}

var modes = []mode{
	{"warm", "", false},
	{"cold", "between", false},
	{"storm", "", true},
}

func TestScripts(t *testing.T) {
	for _, sc := range scripts {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			program := sc.interpreter(t)
			want := onRedis(t, program, sc)
			for _, m := range modes {
				t.Run(m.name, func(t *testing.T) {
					s := newStack(t)
					restart := sc.restarts && !m.storm
					calm := func() {}
					if m.storm {
						calm = startStorm(t, s.admin)
					}
					env := []string{"REDIS_ADDR=" + s.addr, "EVICT=" + m.evict, "RESTART=" + yes(restart)}
					same(t, start(t, program, sc.words, env...).transcript(s.restart), want)
					for n := 0; m.storm && n < 5 && s.stat("restores") == 0; n++ { // a quick client ends before it is disturbed
						same(t, start(t, program, sc.words, env...).transcript(s.restart), want)
					}
					calm()
					s.audit(sc.least, m)
				})
			}
		})
	}
}

// interpreter returns what runs the script, or skips the test.
func (sc script) interpreter(t *testing.T) string {
	t.Helper()
	if sc.node == 0 {
		return needPython(t)
	}
	return needNode(t, sc.node)
}

// onRedis returns what the script prints on a plain Redis.
func onRedis(t *testing.T, program string, sc script) []string {
	t.Helper()
	server := testenv.Redis(t)
	want := start(t, program, sc.words, "REDIS_ADDR="+server.Addr(), "EVICT=", "RESTART=").transcript(nil)
	emptyRedis(t, server.Addr())
	if len(want) < 10 {
		t.Fatalf("the script printed %d lines only", len(want))
	}
	return want
}

// audit looks at what a client has left behind, and whether it was disturbed as it should have been; least is how many restores
// a cold run shows.
func (s *stack) audit(least int64, m mode) {
	s.t.Helper()
	s.empty()
	s.count()
	s.t.Logf("%d evictions, %d restores", s.evictions, s.restores)
	switch {
	case m.storm:
		least = 1
	case m.evict == "":
		least = 0
	}
	if s.evictions < least || s.restores < least {
		s.t.Errorf("only %d evictions and %d restores: this run shows nothing", s.evictions, s.restores)
	}
	if s.restoreErrors != 0 {
		s.t.Errorf("%d restores failed", s.restoreErrors)
	}
	s.stop()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// same fails the test at the first line in which a transcript differs from the one of a plain Redis.
func same(t *testing.T, got, want []string) {
	t.Helper()
	for n := range max(len(got), len(want)) {
		if g, w := line(got, n), line(want, n); g != w {
			from := max(difference(g, w)-100, 0)
			t.Fatalf("line %d differs, from byte %d on\n     Redis: %.300s\nthe proxy: %.300s", n+1, from, w[from:], g[from:])
		}
	}
}

// difference returns how many bytes two texts have in common at their beginning.
func difference(a, b string) int {
	for n := range min(len(a), len(b)) {
		if a[n] != b[n] {
			return n
		}
	}
	return min(len(a), len(b))
}

func line(lines []string, n int) string {
	if n < 0 || n >= len(lines) {
		return "(nothing)"
	}
	return lines[n]
}
