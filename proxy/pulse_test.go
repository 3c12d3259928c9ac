package proxy

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away error
		hangs := false
		ping := func(ctx context.Context) error {
			if hangs {
				<-ctx.Done()
				return ctx.Err()
			}
			time.Sleep(3 * time.Millisecond)
			return away
		}
		var p pulse
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.watch(ctx, ping) }()
		time.Sleep(10 * time.Second)
		first := p.state()
		if !first.Up || first.Latency != 3*time.Millisecond || time.Since(first.Since) < 9*time.Second {
			t.Errorf("up: %+v", first)
		}
		away = errors.New("away")
		time.Sleep(20 * time.Second)
		if s := p.state(); s.Up || s.Error != "away" || time.Since(s.Since) < 18*time.Second || time.Since(s.Since) > 20*time.Second {
			t.Errorf("down: %+v", s)
		}
		away, hangs = nil, false
		time.Sleep(2 * time.Second)
		if s := p.state(); !s.Up || s.Error != "" {
			t.Errorf("up again: %+v", s)
		}
		hangs = true // one that does not answer is away, too
		time.Sleep(pingTimeout + 2*pingEvery)
		if s := p.state(); s.Up {
			t.Errorf("hangs: %+v", s)
		}
		stop() // and a watch ends also while it hangs
		<-done
	})
}
