package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"strconv"
	"time"
)

// target is something that speaks RESP, with servers of its own behind it, so that targets do not share any state.
type target struct {
	spec
	addr                   string      // host:port for clients
	redisAddr              string      // host:port of its Redis
	dsn                    string      // of its Postgres, "": none
	proxy, redis, postgres int         // process ids, 0: none
	tls                    *tls.Config // what clients speak, nil: plain
	saves                  bool        // it works on behind the clients' backs; see settle
	child                  *child      // the proxy, nil: none
	start                  func() (*child, error)
	budget                 func(bytes int64) error // changes its memory.max; nil: it has none
}

// dial connects a client; from deadline on every call fails.
func (t *target) dial(ctx context.Context, deadline time.Time) (*conn, error) {
	return dialTLS(ctx, t.addr, t.tls, deadline)
}

// settleTime bounds the wait for the work that an earlier round left behind.
const settleTime = 2 * time.Minute

// settle waits until the target is idle: what credproxy has not yet saved would be counted to the next round, or slow down
// the next target.
func (t *target) settle(ctx context.Context) error {
	if !t.saves {
		return nil
	}
	return t.command(ctx, "wait for saving", "CREDPROXY", "SYNC")
}

// command sends one that must succeed.
func (t *target) command(ctx context.Context, what string, args ...string) error {
	c, err := t.dial(ctx, time.Now().Add(settleTime))
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := c.do(command(nil, args...), 1); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// setBudget gives a limited target so many bytes of memory, 0 for no limit. Others have none.
func (t *target) setBudget(ctx context.Context, bytes int64) error {
	if t.budget == nil {
		return nil
	}
	if err := t.budget(bytes); err != nil {
		return err
	}
	return t.command(ctx, "change memory.max", "CREDPROXY", "RELOAD")
}

// usage reads the counters of the target's processes, and of the clients. Postgres is one process for each connection, so it
// counts as a family, and so does a proxy that forks.
func (t *target) usage(ctx context.Context) (u usage, err error) {
	if t.saves {
		u.restores, _ = strconv.ParseInt(t.stat(ctx, "restores"), 10, 64) // 0 if it cannot be had
	}
	if u.client, err = readSelf(); err != nil {
		return u, err
	}
	if u.proxy, err = readFamily(t.proxy); err != nil {
		return u, err
	}
	if u.redis, err = readProcess(t.redis); err != nil {
		return u, err
	}
	u.postgres, err = readFamily(t.postgres)
	return u, err
}

// stat reads one figure of INFO credproxy, "" if it cannot be had.
func (t *target) stat(ctx context.Context, name string) string {
	c, err := t.dial(ctx, time.Now().Add(time.Second))
	if err != nil {
		return ""
	}
	defer c.Close()
	return c.info("credproxy", "credproxy_"+name)
}
