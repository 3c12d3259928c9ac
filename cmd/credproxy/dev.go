package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"credproxy/cmd/credproxy/config"
	"credproxy/internal/bots"
	"credproxy/internal/procs"
	"credproxy/keyspace"
)

// devOptions is the command line of dev.
type devOptions struct {
	dir      string
	bots     int
	keep     bool
	duration time.Duration // 0: until a signal
	listen   string
}

func devCommand() *cli.Command {
	return &cli.Command{
		Name:  "dev",
		Usage: "a private Redis and Postgres, the proxy in front, and bots that work through it and verify every byte",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "dir", Value: ".credproxy", Usage: "the `FOLDER` that everything lives in"},
			&cli.IntFlag{Name: "bots", Value: 60, Usage: "how many bots"},
			&cli.BoolFlag{Name: "keep", Usage: "keep the folder, and go on with the one that is there"},
			&cli.DurationFlag{Name: "duration", Usage: "end after `TIME` and verify every session once more (default: run until Ctrl-C)"},
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:6380", Usage: "the proxy's `HOST:PORT`; the next free port when it is taken"},
		},
		Before: noArguments,
		Action: func(c *cli.Context) error {
			opts := devOptions{
				dir: c.String("dir"), bots: c.Int("bots"), keep: c.Bool("keep"),
				duration: c.Duration("duration"), listen: c.String("listen"),
			}
			if opts.bots < 1 || opts.bots > 2000 {
				return usagef("dev: %d bots: 1 to 2000", opts.bots)
			}
			if _, _, err := net.SplitHostPort(opts.listen); err != nil {
				return usagef("dev: listen %q is no HOST:PORT", opts.listen)
			}
			ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
			context.AfterFunc(ctx, stop) // a second signal ends the process at once
			defer stop()
			return dev(ctx, opts, c.App.Writer)
		},
	}
}

// playground is everything that dev runs, in the order in which it was started.
type playground struct {
	opts     devOptions
	space    *workspace
	log      *os.File
	logger   hclog.Logger // into log
	redis    *procs.Redis
	postgres *procs.Postgres
	proxy    *instance
	fleet    *bots.Fleet
	out      io.Writer
}

// dev starts everything, lets the bots work until ctx ends, and ends everything. The error of a wrong answer is a
// failure of the run.
func dev(ctx context.Context, opts devOptions, out io.Writer) error {
	space, err := openWorkspace(opts.dir, opts.keep)
	if err != nil {
		return err
	}
	p := &playground{opts: opts, space: space, out: out}
	err = p.start(ctx)
	if err == nil {
		err = p.play(ctx)
	}
	interrupted := err != nil && p.fleet == nil && ctx.Err() != nil
	err = errors.Join(err, p.stop())
	if interrupted {
		fmt.Fprintln(out, "ended before everything had started")
		return space.close(false)
	}
	if err != nil {
		fmt.Fprintf(out, "The folder %s is left for a look: the proxy's log is credproxy.log.\n", space.path)
	}
	return errors.Join(err, space.close(err != nil))
}

// devRedis checks the payloads of RESTORE, as there is no restore.secret.
var devRedis = []string{"--sanitize-dump-payload", "clients"}

// start starts everything in the order in which it is needed. What was started before an error is ended by stop.
func (p *playground) start(ctx context.Context) error {
	var err error
	if p.log, err = os.OpenFile(p.space.file("credproxy.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	p.logger = hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "credproxy", Level: hclog.Info, Output: p.log})
	prior, err := p.takeFleet()
	if err != nil {
		return err
	}
	fmt.Fprintln(p.out, "starting a private Redis and Postgres in", p.space.path)
	if p.redis, err = procs.StartRedis(ctx, procs.RedisConfig{Dir: p.space.file("redis"), Log: p.log, Args: devRedis}); err != nil {
		return err
	}
	if p.postgres, err = procs.StartPostgres(ctx, procs.PostgresConfig{Dir: p.space.file("postgres"), Log: p.log, Durable: p.opts.keep}); err != nil {
		return err
	}
	if p.proxy, err = p.startProxy(ctx); err != nil {
		return err
	}
	fmt.Fprintln(p.out, "dashboard:", p.proxy.adminURL())
	p.fleet, err = bots.New(p.fleetConfig(prior))
	return err
}

// startProxy tries again when somebody took a port between its being found free and its use.
func (p *playground) startProxy(ctx context.Context) (*instance, error) {
	for attempt := 1; ; attempt++ {
		cfg, err := p.config()
		if err != nil {
			return nil, err
		}
		in, err := start(ctx, cfg, p.logger)
		if !errors.Is(err, syscall.EADDRINUSE) || attempt == 3 {
			return in, err
		}
	}
}

// takeFleet asks for an earlier fleet only when the sessions that it remembers are still there.
func (p *playground) takeFleet() (*bots.State, error) {
	if !p.opts.keep {
		return nil, nil
	}
	return p.space.takeFleet()
}

// The bots' days are short, so that sessions get cold, leave Redis and come back while one watches.
func (p *playground) fleetConfig(prior *bots.State) bots.Config {
	return bots.Config{
		Addr: p.proxy.addr(), Bots: p.opts.bots, Seed: 1, Generation: p.space.mark.Generation,
		Start: 3 * time.Second, Pace: 30 * time.Millisecond, Active: 3 * time.Second, Quiet: 6 * time.Second, Prior: prior,
		OnWrong: func(text string) { p.logger.Error("a bot read something wrong", "answer", text) },
		OnError: func(text string) { p.logger.Warn("a bot's command failed", "command", text) },
	}
}

// devBudget is too small for all bots' sessions at once (each comes to some 400 KB in Redis), so that the proxy has
// something to do. Redis itself needs about a megabyte.
func devBudget(n int) int64 { return max(8<<20, int64(n)*300<<10) }

// config differs from a production configuration only in its size and in how fast things happen.
func (p *playground) config() (config.Config, error) {
	c := config.Default()
	var err error
	if c.Listen, err = p.free(p.opts.listen, "the proxy's"); err != nil {
		return c, err
	}
	if c.Admin.Listen, err = p.free(c.Admin.Listen, "the admin pages'"); err != nil {
		return c, err
	}
	c.Upstream.Address = p.redis.Addr()
	for _, shape := range bots.AllShapes() {
		c.Keyspaces = append(c.Keyspaces, keyspace.Spec{Name: shape.String(), Patterns: shape.Patterns(), DB: -1})
	}
	c.Memory.Max, c.Memory.MaxUnset = devBudget(p.opts.bots), false
	c.Memory.CheckInterval = time.Second
	c.Memory.InactivityTTL = 10 * time.Minute
	c.Restore.Postgres = p.postgres.DSN()
	return c, nil
}

// free returns addr, or with the next free port when somebody listens there already.
func (p *playground) free(addr, whose string) (string, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("read %s address: %w", whose, err)
	}
	first, err := strconv.Atoi(text)
	if err != nil {
		return "", fmt.Errorf("read %s port: %w", whose, err)
	}
	for port := first; port < first+100; port++ {
		candidate := net.JoinHostPort(host, strconv.Itoa(port))
		l, err := net.Listen("tcp", candidate)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("try %s address: %w", whose, err)
		}
		if port != first {
			fmt.Fprintf(p.out, "%s port %d is taken: using %d\n", whose, first, port)
		}
		return candidate, l.Close()
	}
	return "", fmt.Errorf("find a free port for %s address: %d to %d are all taken", whose, first, first+99)
}

// play shows the summary while the bots work. Whatever ends by itself meanwhile is a failure.
func (p *playground) play(ctx context.Context) error {
	if p.opts.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.opts.duration)
		defer cancel()
	}
	working, halt := context.WithCancel(ctx)
	defer halt()
	over := make(chan struct{})
	go func() {
		defer close(over)
		p.fleet.Run(working)
	}()
	screen := newScreen(p, terminal(p.out))
	err := p.watch(ctx, screen)
	halt()
	screen.say("ending: the bots finish what they are at")
	<-over
	if err == nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		screen.say("verifying every session once more")
		err = p.fleet.Verify(context.Background())
	}
	screen.refresh(context.Background())
	fmt.Fprintln(p.out, screen.final())
	if s := p.fleet.Stats(); s.Wrong > 0 {
		err = errors.Join(err, fmt.Errorf("verify answers: %d wrong, the last: %s", s.Wrong, s.LastWrong))
	}
	return err
}

// watch redraws until ctx ends. Its error is about a server that ended without being asked to.
func (p *playground) watch(ctx context.Context, screen *screen) error {
	tick := time.NewTicker(screen.every())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.redis.Exited():
			return fmt.Errorf("run redis-server: it ended by itself, see %s", filepath.Base(p.log.Name()))
		case <-p.postgres.Exited():
			return fmt.Errorf("run postgres: it ended by itself, see %s", filepath.Base(p.log.Name()))
		case err := <-p.proxy.failed():
			return fmt.Errorf("run proxy: %w", err)
		case <-tick.C:
			screen.refresh(ctx)
			screen.draw()
		}
	}
}

// stop ends what was started, last first: the proxy drains while Redis and Postgres are still there.
func (p *playground) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	if p.fleet != nil {
		p.fleet.Close()
	}
	if p.proxy != nil {
		errs = append(errs, p.proxy.shutdown(ctx))
	}
	if p.fleet != nil && p.opts.keep {
		errs = append(errs, p.space.saveFleet(p.fleet.State()))
	}
	if p.redis != nil {
		errs = append(errs, p.redis.Stop(ctx))
	}
	if p.postgres != nil {
		errs = append(errs, p.postgres.Stop(ctx))
	}
	if p.log != nil {
		errs = append(errs, p.log.Close())
	}
	return errors.Join(errs...)
}
