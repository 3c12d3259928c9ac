package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"credproxy/internal/resp"
)

// maxHostileRSS is how much memory a hostile client of each kind may cost the process, in KB as the kernel counts.
const maxHostileRSS = 64 << 10

// hostiles are what clients do that mean no good, or are broken. Each runs until stop is closed; the connections are closed behind
// it, so that whatever it waits for ends.
var hostiles = map[string]func(h *hostile){
	"one byte at a time": func(h *hostile) { // slowloris: commands that never end
		conns := h.dial(200)
		frame := "*2\r\n$4\r\nECHO\r\n$16384\r\n" + strings.Repeat("x", 16384)
		for i := 0; h.running(); i++ {
			for _, nc := range conns {
				_, _ = io.WriteString(nc, frame[i%len(frame):i%len(frame)+1])
			}
			time.Sleep(time.Millisecond) // slow is what it is about
		}
	},
	"never reads its replies": func(h *hostile) {
		for _, nc := range h.dial(4) {
			h.wg.Go(func() { h.flood(nc, resp.AppendCommand(nil, "GET", "hostile:large")) })
		}
	},
	"deep pipeline, never reads": func(h *hostile) {
		batch := []byte(strings.Repeat(string(resp.AppendCommand(nil, "PING")), 5000))
		for _, nc := range h.dial(4) {
			h.wg.Go(func() { h.flood(nc, batch) })
		}
	},
	"half a gigabyte announced": func(h *hostile) {
		for _, nc := range h.dial(200) {
			_, _ = io.WriteString(nc, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n"+strings.Repeat("x", 20_000))
		}
		<-h.stop
	},
	"a million arguments announced": func(h *hostile) {
		for _, nc := range h.dial(200) {
			_, _ = io.WriteString(nc, "*1048576\r\n$4\r\nMGET\r\n"+strings.Repeat("$1\r\nk\r\n", 1000))
		}
		<-h.stop
	},
	"bad frames": func(h *hostile) {
		for h.running() {
			for _, bad := range []string{"*1\r\n$9223372036854775807\r\n", "*2147483647\r\n", "*1\r\n*1\r\n", strings.Repeat("a", 70_000), "GET / HTTP/1.1\r\nHost: x\r\n"} {
				h.once(bad)
			}
		}
	},
	"connect storm": func(h *hostile) {
		for range 4 {
			h.wg.Go(func() {
				for h.running() {
					h.once("PING\r\n")
				}
			})
		}
	},
	"inline without end": func(h *hostile) {
		for _, nc := range h.dial(50) {
			_, _ = io.WriteString(nc, strings.Repeat("A", 65_000))
		}
		<-h.stop
	},
	"empty frames": func(h *hostile) {
		for _, nc := range h.dial(2) {
			h.wg.Go(func() { h.flood(nc, []byte(strings.Repeat("*0\r\n\r\n*-1\r\n", 5000))) })
		}
	},
	"subscriber that never reads": func(h *hostile) {
		for _, nc := range h.dial(4) {
			_, _ = nc.Write(resp.AppendCommand(nil, "SUBSCRIBE", "hostile"))
		}
		nc := h.dial(1)[0]
		h.wg.Go(func() { _, _ = io.Copy(io.Discard, nc) })
		h.flood(nc, resp.AppendCommand(nil, "PUBLISH", "hostile", strings.Repeat("x", 10_000)))
	},
}

// hostile is one of them under way.
type hostile struct {
	t     *testing.T
	addr  string
	stop  chan struct{}
	wg    sync.WaitGroup
	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func (h *hostile) running() bool {
	select {
	case <-h.stop:
		return false
	default:
		return true
	}
}

func (h *hostile) dial(n int) []net.Conn {
	var conns []net.Conn
	for range n {
		nc, err := net.Dial("tcp", h.addr)
		if err != nil {
			h.t.Errorf("connect: %v", err)
			break
		}
		conns = append(conns, nc)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns = append(h.conns, conns...)
	return conns
}

// flood writes the same bytes for as long as they are taken.
func (h *hostile) flood(nc net.Conn, b []byte) {
	for h.running() {
		if _, err := nc.Write(b); err != nil {
			return
		}
	}
}

// once connects, says something and leaves.
func (h *hostile) once(text string) {
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		return // out of ports for the moment
	}
	_, _ = io.WriteString(nc, text)
	_ = nc.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = nc.Read(make([]byte, 200))
	_ = nc.Close()
}

// run plays one kind for a while and returns when it is over.
func (h *hostile) run(kind func(*hostile), during func()) {
	h.stop = make(chan struct{})
	h.wg.Go(func() { kind(h) })
	during()
	close(h.stop)
	h.mu.Lock()
	for _, nc := range h.conns {
		_ = nc.Close()
	}
	h.conns = nil
	h.mu.Unlock()
	h.wg.Wait()
}

// TestHostileClients lets each kind loose on a proxy in a process of its own. The process must live and stay small. The latency of
// four clients that mean well is measured in turns, quiet and hostile, and shown; a machine that also runs the hostile ones
// is no place for a limit.
func TestHostileClients(t *testing.T) {
	e := prepareEnv(t, nil)
	addr, _ := e.startChild(50 * time.Millisecond)
	must(t, e.direct.Set(context.Background(), "hostile:large", strings.Repeat("x", 1<<20), 0).Err())
	window := *forFlag / 20
	measure(t, addr, window) // everything is warm
	names := make([]string, 0, len(hostiles))
	for name := range hostiles {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			before := memoryKB(t, e.childPID, "VmRSS")
			must(t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", e.childPID), []byte("5"), 0)) // the peak begins anew
			var quiet, loud []time.Duration
			for range 2 {
				quiet = append(quiet, measure(t, addr, window)...)
				h := &hostile{t: t, addr: addr}
				h.run(hostiles[name], func() { loud = append(loud, measure(t, addr, window)...) })
			}
			q, l, cost := p99(quiet), p99(loud), memoryKB(t, e.childPID, "VmHWM")-before
			t.Logf("p99 %v quiet, %v hostile, %.2f times; %d KB at the peak", q, l, float64(l)/float64(q), cost)
			if cost > maxHostileRSS {
				t.Errorf("it costs %d KB, want %d at most", cost, maxHostileRSS)
			}
			dialWire(t, addr).want("+PONG\r\n", "PING")
		})
	}
}

// measure runs four clients for a while and returns how long each of their commands took.
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
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
		})
	}
	wg.Wait()
	return all
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

// A value is held whole on its way, in several places at once: redcon hands over complete commands only. How often is bounded.
func TestVeryLargeValue(t *testing.T) {
	e := prepareEnv(t, nil)
	addr, _ := e.startChild(50 * time.Millisecond)
	const size, most = 200 << 20, 5
	value := strings.Repeat("0123456789abcdef", size/16)
	w := dialWire(t, addr)
	w.want("+PONG\r\n", "PING")
	for _, args := range [][]string{{"SET", "large", value}, {"GET", "large"}} {
		before := memoryKB(t, e.childPID, "VmRSS")
		must(t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", e.childPID), []byte("5"), 0))
		w.writeAll([][]string{args})
		if got, want := w.next(), map[string]string{"SET": "+OK\r\n", "GET": bulkReply(value)}[args[0]]; got != want {
			t.Fatalf("%s: %d bytes, want %d", args[0], len(got), len(want))
		}
		cost := memoryKB(t, e.childPID, "VmHWM") - before
		t.Logf("%s of %d MB: %d MB at the peak", args[0], size>>20, cost>>10)
		if cost > most*size>>10 {
			t.Errorf("%s costs %d MB, want %d times the value at most", args[0], cost>>10, most)
		}
	}
}
