package proxy_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"credproxy/internal/testenv"
	"credproxy/proxy"
)

var hugeFlag = flag.Int("huge", 48, "how large the values of TestHuge are, in MB")

// hugeStep is one thing that a client does, and how much memory the proxy may have for it, in KB.
type hugeStep struct {
	name string
	do   func(w *wire)
	most int64
}

// TestHuge has one client of a proxy in a process of its own do what moves many bytes at once. Each step may cost the process so much
// above what it had before the first. With more than 64 MB it is all of it.
//
//	go test ./proxy -run TestHuge -v -args -huge 200
func TestHuge(t *testing.T) {
	size := *hugeFlag << 20
	e := prepareEnv(t, func(c *proxy.Config) { c.Memory.Budget.Max = 16 << 30 })
	addr, _ := e.startChild(50 * time.Millisecond)
	w := dialWire(t, addr)
	w.want("+PONG\r\n", "PING")
	w.want("+OK\r\n", "SET", "s:warm:k", "x")
	idle := memoryKB(t, e.childPID, "VmRSS")
	for _, tc := range []struct {
		name  string
		long  bool
		steps []hugeStep
	}{
		{"string", false, e.hugeString("s:huge:k", hugeText(size))},
		{"longer string", true, e.hugeLonger("s:huge:k", hugeText(size))},
		{"hash", false, e.hugeHash(size)},
		{"list", true, e.hugeList(size)},
		{"MSET", false, hugeMany("s:huge:", size)},
		{"MSET outside", true, hugeMany("other:", size)},
		{"EVAL", false, hugeEval(size)},
		{"MULTI", false, hugeMulti(size)},
		{"held", true, hugeHeld(size)},
		{"push", true, e.hugePush()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.long && *hugeFlag <= 64 {
				t.Skip("for a larger size: -args -huge 200")
			}
			w.t = t
			for _, step := range tc.steps {
				must(t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", e.childPID), []byte("5"), 0))
				start := time.Now()
				step.do(w)
				cost := memoryKB(t, e.childPID, "VmHWM") - idle
				t.Logf("%s: %d MB at the peak, %v", step.name, cost>>10, time.Since(start).Round(time.Millisecond))
				if cost > step.most {
					t.Errorf("%s costs %d MB, want %d at most", step.name, cost>>10, step.most>>10)
				}
			}
			w.ask("DEL", "s:huge:k")
		})
	}
}

// hugeText is size bytes, no two parts of them alike.
func hugeText(size int) string {
	b := make([]byte, 0, size+16)
	for i := 0; len(b) < size; i++ {
		b = fmt.Appendf(b, "%011x\r\n$-*", i)
	}
	return string(b[:size])
}

// hugeMost is for what only passes; what is queued is collected command by command, while all that was written before is being saved.
const (
	hugeMost   = 64 << 10
	queuedMost = 96 << 10
)

func wantSame(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %d bytes, want %d: they begin to differ at %d", what, len(got), len(want), differAt(got, want))
	}
}

func differAt(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// thereAndBack are the steps in which a session goes to Postgres and comes back.
func (e *env) thereAndBack(key string) []hugeStep {
	ctx := context.Background()
	return []hugeStep{
		{"save", func(w *wire) {
			testenv.Eventually(w.t, time.Minute, "saved", func() bool { return e.client.Do(ctx, "CREDPROXY", "SYNC").Err() == nil })
		}, hugeMost},
		{"evict", func(w *wire) {
			e.evictLarge("any/huge")
			if n := e.direct.Exists(ctx, key).Val(); n != 0 {
				w.t.Fatalf("%s is still in Redis", key)
			}
		}, hugeMost},
		{"restore", func(w *wire) { w.want(":1\r\n", "EXISTS", key) }, hugeMost},
	}
}

func (e *env) hugeString(key, value string) []hugeStep {
	steps := []hugeStep{{"SET", func(w *wire) {
		w.send("SET", key, value)
		wantSame(w.t, "SET", w.next(), "+OK\r\n")
	}, hugeMost}}
	steps = append(steps, e.thereAndBack(key)...)
	steps = append(steps, hugeStep{"GET", func(w *wire) {
		w.send("GET", key)
		wantSame(w.t, "GET", w.next(), bulkReply(value))
	}, hugeMost})
	return steps
}

// hugeLonger lets a string grow in Redis before it goes.
func (e *env) hugeLonger(key, value string) []hugeStep {
	steps := []hugeStep{{"SET", func(w *wire) {
		w.send("SET", key, value)
		wantSame(w.t, "SET", w.next(), "+OK\r\n")
	}, hugeMost}, {"APPEND", func(w *wire) {
		w.send("APPEND", key, value)
		wantSame(w.t, "APPEND", w.next(), fmt.Sprintf(":%d\r\n", 2*len(value)))
	}, hugeMost}, {"SETRANGE", func(w *wire) {
		w.send("SETRANGE", key, fmt.Sprint(len(value)/2), value)
		wantSame(w.t, "SETRANGE", w.next(), fmt.Sprintf(":%d\r\n", 2*len(value)))
	}, hugeMost}}
	return append(steps, e.thereAndBack(key)...)
}

func (e *env) hugeHash(size int) []hugeStep {
	const key, field = "s:huge:k", 200 << 10
	value := hugeText(field)
	n := size / field
	var want []string
	for i := range n {
		want = append(want, fmt.Sprintf("f%d", i), value)
	}
	steps := []hugeStep{{"HSET", func(w *wire) {
		for i := range n {
			w.want(":1\r\n", "HSET", key, want[2*i], value)
		}
	}, hugeMost}}
	steps = append(steps, e.thereAndBack(key)...)
	return append(steps, hugeStep{"HGETALL", func(w *wire) {
		w.send("HGETALL", key)
		reply := parseReply(w.t, w.next())
		got := map[string]string{}
		for i := 0; i+1 < len(reply.Elems); i += 2 {
			got[string(reply.Elems[i].Str)] = string(reply.Elems[i+1].Str)
		}
		if len(got) != n {
			w.t.Fatalf("%d fields, want %d", len(got), n)
		}
		for f, v := range got {
			wantSame(w.t, f, v, value)
		}
	}, hugeMost})
}

func (e *env) hugeList(size int) []hugeStep {
	const key, elem = "s:huge:k", 200 << 10
	value := hugeText(elem)
	n := size / elem
	steps := []hugeStep{{"RPUSH", func(w *wire) {
		for i := range n {
			w.want(fmt.Sprintf(":%d\r\n", i+1), "RPUSH", key, value)
		}
	}, hugeMost}}
	steps = append(steps, e.thereAndBack(key)...)
	return append(steps, hugeStep{"LRANGE", func(w *wire) {
		w.send("LRANGE", key, "0", "-1")
		wantSame(w.t, "LRANGE", w.next(), bulksReply(slices.Repeat([]string{value}, n)...))
	}, hugeMost})
}

func hugeMany(prefix string, size int) []hugeStep {
	value := hugeText(1 << 20)
	args, keys := []string{"MSET"}, []string{"MGET"}
	for i := range size >> 20 {
		args = append(args, fmt.Sprintf("%s%d", prefix, i), value)
		keys = append(keys, fmt.Sprintf("%s%d", prefix, i))
	}
	return []hugeStep{
		{"MSET", func(w *wire) {
			w.send(args...)
			wantSame(w.t, "MSET", w.next(), "+OK\r\n")
		}, hugeMost},
		{"MGET", func(w *wire) {
			w.send(keys...)
			wantSame(w.t, "MGET", w.next(), bulksReply(slices.Repeat([]string{value}, len(keys)-1)...))
		}, hugeMost},
	}
}

func hugeEval(size int) []hugeStep {
	value := hugeText(size)
	return []hugeStep{{"EVAL", func(w *wire) {
		w.send("EVAL", "return #ARGV[1]", "0", value)
		wantSame(w.t, "EVAL", w.next(), fmt.Sprintf(":%d\r\n", size))
	}, hugeMost}}
}

func hugeMulti(size int) []hugeStep {
	value, n := hugeText(1<<20), size>>20
	each := func(w *wire, what string, args func(i int) []string, want string) {
		w.want("+OK\r\n", "MULTI")
		for i := range n {
			w.want("+QUEUED\r\n", args(i)...)
		}
		w.send("EXEC")
		wantSame(w.t, what, w.next(), arrayReply(slices.Repeat([]string{want}, n)...))
	}
	return []hugeStep{
		{"MULTI of SET", func(w *wire) {
			each(w, "SET", func(i int) []string { return []string{"SET", fmt.Sprintf("s:huge:%d", i), value} }, "+OK\r\n")
		}, queuedMost},
		{"MULTI of GET", func(w *wire) {
			each(w, "GET", func(i int) []string { return []string{"GET", fmt.Sprintf("s:huge:%d", i)} }, bulkReply(value))
		}, queuedMost},
	}
}

func hugeHeld(size int) []hugeStep {
	value := hugeText(size)
	return []hugeStep{
		{"SET", func(w *wire) {
			w.send("SET", "held", value)
			wantSame(w.t, "SET", w.next(), "+OK\r\n")
		}, hugeMost},
		{"GET and SET", func(w *wire) { // a reply in front of a change is held: Redis would answer otherwise when asked again
			w.writeAll([][]string{{"GET", "held"}, {"SET", "x", "y"}})
			wantSame(w.t, "GET", w.next(), bulkReply(value))
			wantSame(w.t, "SET", w.next(), "+OK\r\n")
		}, int64(size)>>10 + hugeMost},
	}
}

func (e *env) hugePush() []hugeStep {
	value := hugeText(24 << 20) // Redis ends subscribers that have 32 MB to read
	ctx := context.Background()
	return []hugeStep{
		{"SUBSCRIBE", func(w *wire) {
			sub := dialWire(w.t, w.nc.RemoteAddr().String())
			sub.want(arrayReply(bulkReply("subscribe"), bulkReply("c"), ":1\r\n"), "SUBSCRIBE", "c")
			must(w.t, e.direct.Publish(ctx, "c", value).Err())
			wantSame(w.t, "message", sub.next(), bulksReply("message", "c", value))
			sub.nc.Close()
		}, hugeMost},
	}
}
