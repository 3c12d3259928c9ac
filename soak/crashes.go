package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

// barriers are the points at which a proxy kills itself; how often each is passed decides at which pass.
var barriers = []struct {
	name string
	most int
}{
	{"restore-before-fill", 30}, {"restore-filled", 30}, {"restore-entered", 30},
	{"evict-read", 20}, {"evict-committed", 20}, {"evict-unlinked", 20},
	{"save-read", 8}, {"save-committed", 8}, {"save-unmarked", 8},
	{"removal-committed", 30}, {"mark-unsent", 100}, {"mark-sent", 100}, {"write-unsent", 300}, {"write-replied", 300},
}

// keeper runs one proxy after the other and decides how each dies.
type keeper struct {
	stack *stack
	tally *tally

	mu  sync.Mutex // guards now
	now *child
}

func (k *keeper) set(c *child) {
	k.mu.Lock()
	k.now = c
	k.mu.Unlock()
}

// current is the incarnation at work, nil between two.
func (k *keeper) current() *child {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

// fate of one incarnation: a barrier and what happens there, and how long it lives at most.
type doom struct {
	barrier string // "": none
	stop    bool   // frozen at the barrier rather than killed
	nth     int
	life    time.Duration
}

func (d doom) env() string {
	if d.barrier == "" {
		return ""
	}
	text := fmt.Sprintf("%s:%d", d.barrier, d.nth)
	if d.stop {
		text += ":stop"
	}
	return text
}

func chooseDoom(rng *rand.Rand) doom {
	d := doom{life: time.Duration(200+rng.IntN(2800)) * time.Millisecond}
	b := barriers[rng.IntN(len(barriers))]
	nth, stop := 1+rng.IntN(b.most), rng.IntN(100) < 15
	if rng.IntN(100) < 80 {
		d.barrier, d.nth, d.stop = b.name, nth, stop
	}
	return d
}

// crashes lets proxies live and die until ctx ends; the last one is left running.
func (k *keeper) crashes(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		d := chooseDoom(rng)
		if c := k.current(); c != nil {
			c.kill()
		}
		c, err := k.start(ctx, d.env())
		if err != nil {
			k.tally.happened("proxy start failed")
			pause(ctx, 20*time.Millisecond)
			continue
		}
		k.live(ctx, c, d)
	}
}

// start starts an incarnation and waits until it serves.
func (k *keeper) start(ctx context.Context, crash string) (*child, error) {
	begin := time.Now()
	c, err := k.stack.startChild(crash)
	if err != nil {
		return nil, err
	}
	k.set(c)
	defer func() {
		k.tally.add("proxy starts", 1)
		k.tally.add("proxy starts, ms in all", time.Since(begin).Milliseconds())
	}()
	wait, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if !c.ready(wait) {
		c.kill()
		return nil, fmt.Errorf("start the proxy: it ended or does not serve:\n%s", c.said())
	}
	k.tally.note("proxy serves, to die at " + crash)
	return c, nil
}

// live waits for an incarnation's end.
func (k *keeper) live(ctx context.Context, c *child, d doom) {
	end := time.NewTimer(d.life)
	defer end.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	frozen := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.ended:
			k.tally.happened("proxy died at " + d.barrier)
			return
		case <-end.C:
			if frozen {
				k.tally.happened("proxy killed while frozen")
			} else {
				k.tally.happened("proxy killed at random")
			}
			c.kill()
			return
		case <-look.C:
			if d.stop && !frozen && c.stopped() {
				frozen = true
				k.tally.happened("proxy frozen at " + d.barrier)
				k.thaw(ctx, c, d, end)
			}
		}
	}
}

// thaw lets a frozen proxy stand for a while; half of them go on then, the others are killed as they stand.
func (k *keeper) thaw(ctx context.Context, c *child, d doom, end *time.Timer) {
	pause(ctx, d.life/4)
	if d.nth%2 == 0 {
		_ = c.signal(syscall.SIGCONT)
		return
	}
	end.Reset(0)
}

// calm replaces the incarnation at work by one that does not die: what the old one knew and had not saved is gone with it.
func (k *keeper) calm(ctx context.Context) error {
	k.tally.note("proxy replaced by one that lives")
	if c := k.current(); c != nil {
		c.kill()
	}
	_, err := k.start(ctx, "")
	return err
}

// end kills the incarnation at work.
func (k *keeper) end() {
	if c := k.current(); c != nil {
		c.kill()
	}
}
