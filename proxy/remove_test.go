package proxy

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"credproxy/internal/session"
)

// asks sends removals to a remover, one every millisecond, each from a goroutine of its own, which waits until it is taken.
func asks(m *remover, n int) {
	for i := range n {
		go func() {
			time.Sleep(time.Duration(i) * time.Millisecond)
			m.reqs <- &removalReq{removals: make([]session.Removal, 1)}
		}()
	}
}

// Who comes while a removal waits shares its commit; one that comes alone is committed at once.
func TestRemovalsShareACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &remover{reqs: make(chan *removalReq)}
		asks(m, 3)
		synctest.Wait() // the first one waits
		start := time.Now()
		if group := m.gather(t.Context(), 2500*time.Microsecond); len(group) != 3 || time.Since(start) != 2500*time.Microsecond {
			t.Errorf("%d removals after %s share the commit, want 3", len(group), time.Since(start))
		}
		go asks(m, 1)
		start = time.Now()
		if group := m.gather(t.Context(), time.Hour); len(group) != 1 || time.Since(start) != 0 {
			t.Errorf("a removal that is alone waits for %s, with %d others", time.Since(start), len(group)-1)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if group := m.gather(ctx, 0); group != nil {
			t.Errorf("%d removals are there when nobody asks", len(group))
		}
	})
}
