package proxy_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"credproxy/internal/resp"
	"credproxy/internal/testenv"
)

// noneReserved waits until no memory is reserved any more: everybody who has got some has given it back, exactly once.
func (e *env) noneReserved() {
	e.t.Helper()
	testenv.Eventually(e.t, 30*time.Second, "all reserved memory given back", func() bool { return e.server.Reserved() == 0 })
}

// vanishings are what clients have sent when they vanish: nothing answers them, so it matters little how many get how far.
var vanishings = map[string]func(n int) []byte{
	"half a write": func(n int) []byte {
		b := resp.AppendCommand(nil, "SET", fmt.Sprintf("s:half%d:k", n), string(payload(n, 20<<10)))
		return b[:len(b)/2]
	},
	"writes, and no reply read": func(n int) (b []byte) {
		for i := range 20 {
			b = resp.AppendCommand(b, "SET", fmt.Sprintf("s:deep%d:%d", n, i), string(payload(i, 10<<10)))
		}
		return b
	},
	"half a large value": func(n int) []byte {
		b := resp.AppendCommand(nil, "SET", fmt.Sprintf("s:large%d:k", n%4), string(payload(n, 2<<20)))
		return b[:len(b)-n%(1<<20)-1]
	},
	"an open transaction": func(n int) []byte {
		b := resp.AppendCommand(nil, "MULTI")
		for range 3 {
			b = resp.AppendCommand(b, "APPEND", fmt.Sprintf("s:multi%d:k", n%4), string(payload(n, 5<<10)))
		}
		return b
	},
	"touches of sessions that are away": func(n int) (b []byte) {
		for i := range 5 {
			b = resp.AppendCommand(b, "APPEND", fmt.Sprintf("s:old%d:k", 5*n+i), "more")
		}
		return b
	},
	"a write that Redis refuses": func(n int) []byte {
		return resp.AppendCommand(nil, "LPUSH", fmt.Sprintf("s:deep%d:0", n), string(payload(n, 5<<10)))
	},
}

// Clients vanish in the middle of what they do, with memory full all the time, so that some do so while they wait for room.
func TestRoomComesBackFromWhoeverVanishes(t *testing.T) {
	const budget, times = 16 << 20, 24
	e := newEnv(t, smallBudget(budget))
	ctx := context.Background()
	for i := range 600 {
		must(t, e.client.Set(ctx, fmt.Sprintf("s:old%d:k", i), payload(i, 32<<10), 0).Err())
	}
	addr := e.server.Addr().String()
	var wg sync.WaitGroup
	for name, sent := range vanishings {
		wg.Go(func() {
			for n := range times {
				nc, err := net.Dial("tcp", addr)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				_ = nc.SetDeadline(time.Now().Add(100 * time.Millisecond)) // one that waits for room takes no more either
				_, _ = nc.Write(sent(n))
				if n%2 == 0 {
					_, _ = nc.Read(make([]byte, 1))
				} else {
					_ = nc.(*net.TCPConn).SetLinger(0) // a reset
				}
				nc.Close()
			}
		})
	}
	wg.Wait()
	e.noneReserved()
	must(t, e.client.Set(ctx, "s:after:k", "v", 0).Err())
	e.noneReserved()
	if n := e.stat("evictions"); n == 0 {
		t.Error("memory was never short: that shows little")
	}
}
