package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// loadNames are the values of --loads.
var loadNames = []string{"get", "set", "mix", "bots", "bots-string", "storm", "cold", "bots-cold10", "save", "large"}

// readerSize is what the readers beside a disturbance read.
const readerSize = 256

// scenarioLoad makes a load that is not of strings of one size.
func scenarioLoad(name string, opts options) load {
	even, zipf := evenly(opts.sessions), skewed(opts.sessions, opts.skew)
	switch name {
	case "bots-string":
		return newBots(name, true, opts.sessions, even).load(name)
	case "storm":
		l := newBots(name, false, opts.sessions, zipf).load(name)
		l.budget = 1. / 3
		return l
	case "cold":
		l := newBots(name, false, opts.sessions, even).load(name)
		l.cold = 1
		return l
	case "bots-cold10":
		return coldTenth(name, opts.sessions)
	case "save", "large":
		l := stringLoad(name, 100, readerSize, opts.sessions)
		l.besides = map[string][]disturber{"save": saveDisturbers, "large": largeDisturbers}[name]
		return l
	default:
		return newBots(name, false, opts.sessions, even).load(name)
	}
}

// prepare fills a target with a load's sessions and gives it the memory that the load leaves it.
func (t *target) prepare(ctx context.Context, l load, opts options) error {
	if err := t.setBudget(ctx, 0); err != nil {
		return err
	}
	before, err := t.usedMemory(ctx)
	if err != nil {
		return err
	}
	if err := t.fill(ctx, l, opts.sessions); err != nil {
		return err
	}
	if err := t.settle(ctx); err != nil || l.budget == 0 {
		return err
	}
	after, err := t.usedMemory(ctx)
	if err != nil {
		return err
	}
	// Eviction begins at 80 % of the budget: what must fit are the sessions that stay.
	return t.setBudget(ctx, before+int64(float64(after-before)*l.budget))
}

// evictBatch is how many sessions one CREDPROXY EVICT takes.
const evictBatch = 50

// chill evicts the share of the sessions that a load wants cold; the last ones, which a skewed load touches least.
func (t *target) chill(ctx context.Context, l load, sessions int) error {
	if l.cold == 0 || !t.saves || t.limited != (l.budget > 0) {
		return nil
	}
	c, err := t.dial(ctx, time.Now().Add(settleTime))
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	first := sessions - int(float64(sessions)*l.cold)
	for id := first; id < sessions; id += evictBatch {
		args := []string{"CREDPROXY", "EVICT"}
		for i := id; i < min(id+evictBatch, sessions); i++ {
			args = append(args, l.session(i))
		}
		if err := c.do(command(nil, args...), 1); err != nil {
			return fmt.Errorf("evict sessions: %w", err)
		}
	}
	return nil
}

// usedMemory is what the target's Redis uses, bytes.
func (t *target) usedMemory(ctx context.Context) (int64, error) {
	c, err := dial(ctx, t.redisAddr, time.Now().Add(settleTime))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return strconv.ParseInt(c.info("memory", "used_memory"), 10, 64)
}
