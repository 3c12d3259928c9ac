package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

// barriers are the points at which a proxy kills itself, at most at the most-th pass: few where passes are rare, so that the
// proxy gets there while it lives.
var barriers = []struct {
	name string
	most int
}{
	{"restore-before-fill", 25}, {"restore-filled", 25}, {"restore-entered", 25},
	{"evict-read", 15}, {"evict-committed", 15}, {"evict-unlinked", 15},
	{"save-read", 4}, {"save-committed", 4}, {"save-unmarked", 4},
	{"unlink-sent", 4}, {"removal-committed", 30}, {"mark-unsent", 80}, {"mark-sent", 80}, {"write-unsent", 250}, {"write-replied", 250},
}

// What becomes of a proxy, as the tally calls it.
const (
	diedAt       = "proxy killed at "
	frozenAt     = "proxy frozen at "
	diedAnywhere = "proxy killed anywhere"
	diedFrozen   = "proxy killed while frozen"
)

// keeper runs one proxy after the other and decides how each dies.
type keeper struct {
	stack *stack
	tally *tally

	mu  sync.Mutex // guards now and odd
	now *child
	odd []string // deaths that nobody has ordered
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

// chooseDoom throws the dice; of the barriers that they offer, it takes the one at which the fewest proxies have died.
func (k *keeper) chooseDoom(rng *rand.Rand) doom {
	d := doom{life: time.Duration(150+rng.IntN(1100)) * time.Millisecond}
	if rng.IntN(20) == 0 {
		d.life *= 3
	}
	b := barriers[rarest(k.tally, rng, len(barriers), func(i int) string { return diedAt + barriers[i].name })]
	nth, percent := 1+rng.IntN(b.most), rng.IntN(100)
	if percent < 90 {
		d.barrier, d.nth, d.stop = b.name, nth, percent < 10
	}
	return d
}

// offered is how many kinds of trouble the dice offer each time; what has been rarest among them is taken. With the seed they are
// the same in every run, so what is taken differs only as far as the runs' counts do.
const offered = 4

// rarest draws some of n kinds and returns the one with the lowest count.
func rarest(t *tally, rng *rand.Rand, n int, name func(i int) string) (best int) {
	least := int64(-1)
	for range offered {
		i := rng.IntN(n)
		if count := t.get(name(i)); least < 0 || count < least {
			best, least = i, count
		}
	}
	return best
}

// crashes lets proxies live and die until ctx ends; the last one is left running.
func (k *keeper) crashes(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		d := k.chooseDoom(rng)
		k.bury(k.current())
		c, err := k.start(ctx, d.env())
		if err != nil {
			k.tally.happened("proxy start failed")
			pause(ctx, 20*time.Millisecond)
			continue
		}
		k.live(ctx, c, d)
	}
}

// bury kills an incarnation, if it is not dead yet, and waits until nothing that it has sent is still on its way to Redis.
func (k *keeper) bury(c *child) {
	if c == nil || c.buried {
		return
	}
	c.buried = true
	c.kill()
	k.suspect(c)
	k.stack.relay.quiet()
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
		k.bury(c)
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
			k.tally.happened(diedAt + d.barrier)
			return
		case <-end.C:
			if frozen {
				k.tally.happened(diedFrozen)
			} else {
				k.tally.happened(diedAnywhere)
			}
			k.bury(c)
			return
		case <-look.C:
			if d.stop && !frozen && c.stopped() {
				frozen = true
				k.tally.happened(frozenAt + d.barrier)
				k.thaw(ctx, c, d, end)
			}
		}
	}
}

// suspect notes the end of an incarnation that has served and was not killed. One that has not served may have found a store away.
func (k *keeper) suspect(c *child) {
	how, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !c.serves() || (ok && how.Signaled() && how.Signal() == syscall.SIGKILL) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.odd = append(k.odd, fmt.Sprintf("the proxy ended by itself: %s; it said last:\n%s", c.cmd.ProcessState, c.said()))
}

// strange returns the deaths that nobody has ordered, once.
func (k *keeper) strange() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	odd := k.odd
	k.odd = nil
	return odd
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
	k.bury(k.current())
	_, err := k.start(ctx, "")
	return err
}

// end kills the incarnation at work.
func (k *keeper) end() { k.bury(k.current()) }
