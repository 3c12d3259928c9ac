package proxy_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// lateRelay stands between the proxy and Redis. A request with the word is kept back and its connection to the proxy cut: a
// network may deliver it much later, when deliver is called.
type lateRelay struct {
	t      *testing.T
	target string
	word   []byte
	ln     net.Listener
	wg     sync.WaitGroup

	mu   sync.Mutex // guards kept and all
	kept []func()
	all  []net.Conn
}

func newLateRelay(t *testing.T, target, word string) *lateRelay {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	r := &lateRelay{t: t, target: target, word: []byte(word), ln: ln}
	r.wg.Go(r.accept)
	t.Cleanup(func() {
		ln.Close()
		r.mu.Lock()
		for _, c := range r.all {
			c.Close()
		}
		r.mu.Unlock()
		r.wg.Wait()
	})
	return r
}

func (r *lateRelay) accept() {
	for {
		near, err := r.ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", r.target)
		if err != nil {
			near.Close()
			continue
		}
		r.mu.Lock()
		r.all = append(r.all, near, far)
		r.mu.Unlock()
		r.wg.Go(func() { _, _ = io.Copy(near, far); near.Close() })
		r.wg.Go(func() { r.forward(near, far) })
	}
}

func (r *lateRelay) forward(near, far net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := near.Read(buf)
		if err != nil {
			far.Close()
			return
		}
		if bytes.Contains(buf[:n], r.word) {
			held := bytes.Clone(buf[:n])
			r.mu.Lock()
			r.kept = append(r.kept, func() { _, _ = far.Write(held) })
			r.mu.Unlock()
			near.Close()
			return
		}
		if _, err := far.Write(buf[:n]); err != nil {
			near.Close()
			return
		}
	}
}

// deliver sends Redis what was kept back and returns how many requests that were.
func (r *lateRelay) deliver() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, send := range r.kept {
		send()
	}
	return len(r.kept)
}

// A write whose connection was lost, and which Redis gets only after the session was evicted, must not run: it would leave a hash
// of one field.
func TestLateWriteAfterEviction(t *testing.T) {
	for name, lost := range map[string][]string{
		"alone":       {"HSET", "wa:auth:x:keys", "new", "late-word"},
		"script":      {"EVAL", "return redis.call('HSET', KEYS[1], 'new', 'late-word')", "1", "wa:auth:x:keys"},
		"transaction": nil,
	} {
		t.Run(name, func(t *testing.T) {
			e := prepareEnv(t, nil)
			relay := newLateRelay(t, e.redis.Addr(), "late-word")
			e.cfg.Upstream = proxy.UpstreamConfig{Address: relay.ln.Addr().String()}
			e.start()
			ctx := context.Background()
			must(t, e.client.HSet(ctx, "wa:auth:x:keys", "a", "1", "b", "2").Err())
			c := e.wire()
			if lost == nil {
				c.want("+OK\r\n", "MULTI")
				lost = []string{"HSET", "wa:auth:x:keys", "new", "late-word"}
			}
			if reply, err := c.do(lost...); err == nil && reply[0] != '-' {
				t.Fatalf("the lost write was answered %q", reply)
			}
			testenv.Eventually(t, 10*time.Second, "eviction", func() bool {
				n, err := e.client.Do(ctx, "CREDPROXY", "EVICT", "wa/x").Int()
				return err == nil && n == 1
			})
			if relay.deliver() == 0 {
				t.Fatal("nothing was kept back")
			}
			must(t, e.direct.Ping(ctx).Err())
			time.Sleep(50 * time.Millisecond) // for Redis to run it, if it would: nothing tells
			if got := e.direct.HGetAll(ctx, "wa:auth:x:keys").Val(); len(got) > 0 {
				t.Errorf("Redis has %v of an evicted session", got)
			}
			if got := e.client.HGetAll(ctx, "wa:auth:x:keys").Val(); got["a"] != "1" || got["b"] != "2" {
				t.Errorf("the session reads %v", got)
			}
		})
	}
}
