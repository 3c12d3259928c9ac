package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"credproxy/proxy/upstream"
)

// control is the proxy's own access to Redis, beside the data path: sampling, reading back what to save, restoring, evicting,
// metadata. One go-redis client per logical database; every connection learns its run before it is used.
type control struct {
	cfg    UpstreamConfig
	dialer *upstream.Dialer
	runs   *upstream.Runs

	mu      sync.Mutex // guards clients
	clients map[int]*redis.Client
	closed  bool
}

// controlTimeout bounds one round trip of the proxy's own work.
const controlTimeout = 10 * time.Second

func newControl(cfg UpstreamConfig, dialer *upstream.Dialer, runs *upstream.Runs) *control {
	return &control{cfg: cfg, dialer: dialer, runs: runs, clients: map[int]*redis.Client{}}
}

// db returns the client of one logical database.
func (c *control) db(n int) *redis.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cl := c.clients[n]; cl != nil {
		return cl
	}
	cl := redis.NewClient(c.options(n))
	if c.closed {
		cl.Close()
	}
	c.clients[n] = cl
	return cl
}

func (c *control) options(db int) *redis.Options {
	return &redis.Options{
		Addr: c.cfg.Address, Username: c.cfg.Username, Password: c.cfg.Password, DB: db,
		Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dialer.Dial(ctx) },
		// RESP2: replies of both protocols mean the same here, and RESP2 has no pushes.
		Protocol:   2,
		MaxRetries: -1, // a lost reply must not run a command twice
		// A retried dial hides a Redis that is down for as long as it is retried.
		DialerRetries: 1, DialTimeout: 5 * time.Second,
		ReadTimeout: controlTimeout, WriteTimeout: controlTimeout, ContextTimeoutEnabled: true,
		PoolSize: 16, MaxIdleConns: 8,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		OnConnect:                c.greet,
	}
}

// greet learns the run that a fresh connection belongs to. A restart is thereby noticed before anything is read over the
// connection, so "the current run has not changed since I began" means that all answers came from that run.
func (c *control) greet(ctx context.Context, cn *redis.Conn) error {
	info, err := cn.Info(ctx, "server").Result()
	if err != nil {
		return fmt.Errorf("ask Redis which run it is: %w", err)
	}
	id := upstream.RunID([]byte(info))
	if id == "" {
		return errors.New("ask Redis which run it is: INFO names no run_id")
	}
	c.runs.Observe(id)
	return nil
}

// askRun returns the run that answers on the proxy's own connection now.
func (c *control) askRun() (upstream.Run, error) {
	ctx, cancel := context.WithTimeout(context.Background(), controlTimeout)
	defer cancel()
	info, err := c.db(0).Info(ctx, "server").Result()
	if err != nil {
		return 0, fmt.Errorf("ask Redis which run it is: %w", err)
	}
	id := upstream.RunID([]byte(info))
	if id == "" {
		return 0, errors.New("ask Redis which run it is: INFO names no run_id")
	}
	return c.runs.Observe(id), nil
}

// pipelineError is the error of a pipeline as a whole; nil if its commands were answered, be it with errors of their own. When Redis
// refuses a fresh connection (it is busy with a script, has no room for clients, wants another password), go-redis returns that
// refusal, which is a reply, and leaves every command without an error and without a value: taken for answers, they
// would say that nothing is there.
func pipelineError(cmds []redis.Cmder, err error) error {
	if !isReply(err) {
		return err
	}
	for _, cmd := range cmds {
		if cmd.Err() != nil {
			return nil
		}
	}
	return err
}

// databases lists the logical databases that hold keys.
func (c *control) databases(ctx context.Context) ([]int, error) {
	info, err := c.db(0).Info(ctx, "keyspace").Result()
	if err != nil {
		return nil, fmt.Errorf("list Redis databases: %w", err)
	}
	var dbs []int
	for line := range strings.SplitSeq(info, "\r\n") {
		name, _, ok := strings.Cut(line, ":")
		if rest, isDB := strings.CutPrefix(name, "db"); ok && isDB {
			if n, err := strconv.Atoi(rest); err == nil {
				dbs = append(dbs, n)
			}
		}
	}
	return dbs, nil
}

func (c *control) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, cl := range c.clients {
		cl.Close()
	}
}

// checkRun reports whether run is still the current one; if not, what was just read or written may have gone to another.
func (c *control) checkRun(run upstream.Run) error {
	if c.runs.Current() != run {
		return errStaleRun
	}
	return nil
}

// infoField returns the value of one "name:value" line of INFO's text.
func infoField(info, name string) (string, bool) {
	for line := range strings.SplitSeq(info, "\r\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && k == name {
			return v, true
		}
	}
	return "", false
}

func infoInt(info, name string) (int64, error) {
	text, ok := infoField(info, name)
	if !ok {
		return 0, fmt.Errorf("INFO has no %s", name)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("INFO %s is no number: %q", name, text)
	}
	return n, nil
}
