package proxy_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"credproxy/internal/resp"
)

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
	// Many at a time: written one by one, they keep the client's own processor busy for a quarter of a second, with nothing but its own
	// send buffer. The proxy takes a hundredth of that.
	"never reads its replies": func(h *hostile) {
		batch := []byte(strings.Repeat(string(resp.AppendCommand(nil, "GET", "hostile:large")), 1000))
		for _, nc := range h.dial(4) {
			h.wg.Go(func() { h.flood(nc, batch) })
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
			fmt.Fprintln(os.Stderr, "hostile client: connect:", err)
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

// run plays one kind until over returns.
func (h *hostile) run(kind func(*hostile), over func()) {
	h.stop = make(chan struct{})
	h.wg.Go(func() { kind(h) })
	over()
	close(h.stop)
	h.mu.Lock()
	for _, nc := range h.conns {
		_ = nc.Close()
	}
	h.conns = nil
	h.mu.Unlock()
	h.wg.Wait()
}
