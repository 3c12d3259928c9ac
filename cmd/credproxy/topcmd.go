package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/urfave/cli/v2"

	"credproxy/cmd/credproxy/top"
)

// shortestInterval keeps top from being a load of its own.
const shortestInterval = 100 * time.Millisecond

func topCommand() *cli.Command {
	c := adminCommand("top", "a live view of a running proxy, on the whole terminal", "", nil,
		&cli.DurationFlag{Name: "interval", Aliases: []string{"i"}, Value: time.Second, Usage: "ask the proxy every `TIME`"})
	c.Action = func(c *cli.Context) error {
		if err := noArguments(c); err != nil {
			return err
		}
		if c.Bool("json") {
			return usagef("top: for a person before a terminal; programs use: credproxy stats --json, credproxy sessions --json")
		}
		interval := c.Duration("interval")
		if interval < shortestInterval {
			return usagef("top: interval %v: %v or more", interval, shortestInterval)
		}
		if !isatty.IsTerminal(os.Stdin.Fd()) || !isatty.IsTerminal(os.Stdout.Fd()) || os.Getenv("TERM") == "dumb" {
			return usagef("top: this is not a terminal that can be drawn on; for a file or a pipe use: credproxy stats")
		}
		r, err := newRemote(c)
		if err != nil {
			return err
		}
		return watchProxy(c.Context, r, interval)
	}
	return c
}

// watchProxy asks once before it takes the terminal: a wrong address or password is better read on a line that stays.
func watchProxy(ctx context.Context, r *remote, interval time.Duration) error {
	first, cancel := context.WithTimeout(ctx, r.timeout)
	_, err := r.do(first, "STATS")
	cancel()
	if err != nil {
		r.client.Close()
		return err
	}
	screen, err := top.Terminal()
	if err != nil {
		r.client.Close()
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	return top.Run(ctx, topProxy{r}, screen, top.New(r.addr, interval))
}

// topProxy is the proxy as top wants it.
type topProxy struct{ r *remote }

func (p topProxy) Do(ctx context.Context, args ...string) (any, error) { return p.r.do(ctx, args...) }
func (p topProxy) Close() error                                        { return p.r.client.Close() }
