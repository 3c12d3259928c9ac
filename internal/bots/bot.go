package bots

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// bot is one simulated client with one session. One goroutine runs it.
type bot struct {
	n     int
	fleet *Fleet
	store *store
	model *model
	rng   *rand.Rand
}

// run lives until ctx ends: pair if need be, work, be quiet, work again. Commands are not cut off by ctx: a command of
// unknown outcome would weaken what the bot can verify.
func (b *bot) run(ctx context.Context) {
	if !b.pause(ctx, b.spread(b.fleet.cfg.Start)) {
		return
	}
	for {
		if !b.work(ctx) {
			return
		}
		if b.fleet.cfg.Quiet > 0 && !b.pause(ctx, b.around(b.fleet.cfg.Quiet)) {
			return
		}
	}
}

// work does one active period; false when ctx has ended. The first reads after a quiet time are those of a restarted
// program: they are the ones that wait for a restore.
func (b *bot) work(ctx context.Context) bool {
	b.fleet.count.active.Add(1)
	defer b.fleet.count.active.Add(-1)
	began := time.Now()
	op := context.WithoutCancel(ctx)
	if !b.model.paired() {
		b.pair(op)
	} else if b.boot(op) {
		b.fleet.wakes.add(time.Since(began))
	}
	for until := began.Add(b.around(b.fleet.cfg.Active)); time.Now().Before(until); {
		if !b.pause(ctx, b.around(b.fleet.cfg.Pace)) {
			return false
		}
		b.step(op)
	}
	return ctx.Err() == nil
}

// around picks a time near d, so that bots do not march in step.
func (b *bot) around(d time.Duration) time.Duration { return d/2 + b.spread(d) }

func (b *bot) spread(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(b.rng.Int64N(int64(d)))
}

// pause waits; false when ctx has ended.
func (b *bot) pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// read verifies items; false when the read failed.
func (b *bot) read(ctx context.Context, items ...item) bool {
	if len(items) == 0 {
		return true
	}
	values, err := b.store.read(ctx, items)
	b.fleet.count.ops.Add(1)
	if err != nil {
		b.fleet.failed(b, "read", err)
		return false
	}
	for i, it := range items {
		b.verify(it, values[i])
	}
	return true
}

// verify compares one value that was read.
func (b *bot) verify(it item, got []byte) {
	b.fleet.count.values.Add(1)
	if got == nil {
		b.fleet.count.misses.Add(1)
	}
	if complaint := b.model.check(it, got); complaint != "" {
		b.wrong(it.name(), complaint)
	}
}

func (b *bot) wrong(what, complaint string) {
	b.fleet.wrong(fmt.Sprintf("bot %d (%s) %s: %s", b.n, b.store.shape, what, complaint))
}

// write gives items new versions.
func (b *bot) write(ctx context.Context, items ...item) {
	if len(items) == 0 {
		return
	}
	values := make([][]byte, len(items))
	versions := make([]uint32, len(items))
	for i, it := range items {
		versions[i] = b.model.next(it)
		values[i] = b.model.value(nil, it, versions[i])
	}
	err := b.store.write(ctx, items, values)
	b.settle("write", err, items, versions)
}

// remove deletes items.
func (b *bot) remove(ctx context.Context, items ...item) {
	if len(items) == 0 {
		return
	}
	err := b.store.remove(ctx, items)
	b.settle("remove", err, items, make([]uint32, len(items)))
}

// settle counts a write and records its outcome. Of several commands one error does not tell which of them ran.
func (b *bot) settle(what string, err error, items []item, versions []uint32) {
	b.fleet.count.ops.Add(1)
	b.fleet.count.writes.Add(int64(len(items)))
	if err != nil {
		b.fleet.failed(b, what, err)
	}
	o := outcomeOf(err, len(items) > 1)
	for i, it := range items {
		b.model.wrote(it, versions[i], o)
		if it.kind == creds && o == done {
			b.model.credsAt = time.Now()
		}
	}
}
