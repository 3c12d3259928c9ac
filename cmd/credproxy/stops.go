package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"credproxy/internal/sdnotify"
)

// stops are the requests to end: SIGTERM, and Ctrl-C.
type stops struct {
	once   context.Context // ends with the first
	twice  chan struct{}   // closed with the second
	cancel context.CancelFunc
	done   chan struct{}
}

func watchStops(ctx context.Context) *stops {
	s := &stops{twice: make(chan struct{}), done: make(chan struct{})}
	ctx, s.cancel = context.WithCancel(ctx)
	first, asked := context.WithCancel(ctx)
	s.once = first
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer close(s.done)
		defer signal.Stop(signals) // a third ends the process by itself
		defer asked()
		for n := 1; n <= 2; n++ {
			select {
			case <-signals:
			case <-ctx.Done():
				return
			}
			if asked(); n == 2 {
				close(s.twice)
			}
		}
	}()
	return s
}

func (s *stops) end() {
	s.cancel()
	<-s.done
}

// helper is a goroutine that does something every now and then.
type helper struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// repeat calls f every interval until stop.
func repeat(every time.Duration, f func(ctx context.Context)) *helper {
	ctx, cancel := context.WithCancel(context.Background())
	h := &helper{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(h.done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				f(ctx)
			}
		}
	}()
	return h
}

// stop ends it; a nil helper never ran.
func (h *helper) stop() {
	if h != nil {
		h.cancel()
		<-h.done
	}
}

const (
	// savingEvery is how often a drain says how far it is, savingFrames how often its bar is drawn on a terminal.
	savingEvery  = time.Second
	savingFrames = 200 * time.Millisecond
)

// reportSaving shows how far the saving is until stop: in lines, or by a bar where the log is on a terminal.
func (s *service) reportSaving() (stop func()) {
	all := s.in.server.Unsaved()
	left := func() (int64, bool) {
		n := s.in.server.Unsaved()
		all = max(all, n) // commands under way may have added some
		return n, n > 0
	}
	if s.screen.raise("saving") {
		shown := repeat(savingFrames, func(context.Context) {
			if n, some := left(); some {
				s.screen.set(all-n, all)
			}
		})
		return func() { shown.stop(); s.screen.drop() }
	}
	return repeat(savingEvery, func(context.Context) {
		if n, some := left(); some {
			text := fmt.Sprintf("saving: %s of %s keys left", grouped(n), grouped(all))
			s.log.Info(text)
			s.tell(sdnotify.Status(text))
		}
	}).stop
}

// grouped writes a number with commas: 4,210.
func grouped(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", grouped(n/1000), n%1000)
}

// startWatchdog tells the service manager that the proxy is alive as long as it answers; nil if nobody wants to know.
func (s *service) startWatchdog() *helper {
	every := s.manager.Watchdog() / 3
	if every <= 0 {
		return nil
	}
	return repeat(every, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 2*every)
		defer cancel()
		if err := s.in.server.Alive(ctx); err != nil {
			s.log.Error("the proxy does not answer its own PING; systemd restarts it if that goes on", "error", err)
			return
		}
		s.tell(sdnotify.Alive)
	})
}
