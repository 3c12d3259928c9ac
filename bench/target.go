package main

import (
	"context"
	"fmt"
	"time"
)

// targetNames are the values of --targets: Redis itself, credproxy in its sync modes, and peers, if they are installed.
var targetNames = []string{"direct", "credproxy", "credproxy:through", "nutcracker", "haproxy"}

// target is something that speaks RESP, with servers of its own behind it, so that targets do not share any state.
type target struct {
	name                   string
	addr                   string // host:port for clients
	redisAddr              string // host:port of its Redis
	dsn                    string // of its Postgres, "": none
	proxy, redis, postgres int    // process ids, 0: none
	saves                  bool   // it works on behind the clients' backs; see settle
	child                  *child // the proxy, nil: none
	start                  func() (*child, error)
}

// settleTime bounds the wait for the work that an earlier round left behind.
const settleTime = 2 * time.Minute

// settle waits until the target is idle: what credproxy has not yet saved would be counted to the next round, or slow down
// the next target.
func (t *target) settle(ctx context.Context) error {
	if !t.saves {
		return nil
	}
	c, err := dial(ctx, t.addr, time.Now().Add(settleTime))
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := c.do(command(nil, "CREDPROXY", "SYNC"), 1); err != nil {
		return fmt.Errorf("wait for saving: %w", err)
	}
	return nil
}

// usage reads the counters of the target's processes. Postgres is one process for each connection, so it counts as a family.
func (t *target) usage() (u usage, err error) {
	if u.proxy, err = readFamily(t.proxy); err != nil {
		return u, err
	}
	if u.redis, err = readProcess(t.redis); err != nil {
		return u, err
	}
	u.postgres, err = readFamily(t.postgres)
	return u, err
}
