package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// syncInterval is the proxy's restore.sync_interval here.
const syncInterval = 100 * time.Millisecond

// options are what a run depends on.
type options struct {
	duration  time.Duration
	each      int           // how often each kind of trouble must happen; the run goes on until it has
	round     time.Duration // how long clients work before everything is checked
	seed      uint64
	sessions  int
	clients   int
	sync      string // restore.sync
	redisKill bool
	plant     string
	trace     string // file for the whole round in which something was found
	nemeses   string // names, comma separated; "crash" is the proxy's own deaths; "" all, "none" none
}

func defaults() options {
	return options{duration: time.Minute, round: 6 * time.Second, seed: 1, sessions: 120, clients: 24, sync: "behind"}
}

func main() { os.Exit(run(os.Args[1:], os.Stdout)) }

// silent drops what go-redis says of lost connections: losing them is what this program is for.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func run(args []string, out io.Writer) int {
	redis.SetLogger(silent{})
	opt := defaults()
	all := false
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	f.SetOutput(out)
	f.DurationVar(&opt.duration, "duration", opt.duration, "how long to run; the round under way is finished")
	f.IntVar(&opt.each, "each", 0, "go on until each kind of trouble has happened this often")
	f.DurationVar(&opt.round, "round", opt.round, "how long clients work before everything is checked")
	f.Uint64Var(&opt.seed, "seed", opt.seed, "of all random choices")
	f.IntVar(&opt.sessions, "sessions", opt.sessions, "how many sessions")
	f.IntVar(&opt.clients, "clients", opt.clients, "how many clients")
	f.StringVar(&opt.sync, "sync", opt.sync, "restore.sync: behind or through")
	f.BoolVar(&opt.redisKill, "redis-kill", false, "kill Redis, which has no persistence, at the end of every round")
	f.StringVar(&opt.trace, "trace", "", "write every operation of a round with violations to this file")
	f.StringVar(&opt.plant, "plant", "", "plant a fault: "+strings.Join(plantNames(), ", "))
	f.StringVar(&opt.nemeses, "nemeses", "", "only these, comma separated: crash, "+strings.Join(nemesisNames(), ", ")+"; none")
	f.BoolVar(&all, "plants", false, "run every planted fault and show whether and when it was found")
	if err := f.Parse(args); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "credproxy-soak-bin-")
	if err != nil {
		fmt.Fprintln(out, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary, err := build(ctx, dir)
	if err != nil {
		fmt.Fprintln(out, err)
		return 1
	}
	if all {
		return showPlants(ctx, binary, opt, out)
	}
	return show(ctx, binary, opt, out)
}

// show makes one run and prints what came of it.
func show(ctx context.Context, binary string, opt options, out io.Writer) int {
	res, err := soak(ctx, binary, opt)
	fmt.Fprintf(out, "seed %d, %s, %d rounds, sync %s\n", opt.seed, res.took.Round(time.Second), res.rounds, opt.sync)
	res.tally.print(out)
	if kind, n := res.tally.fewest(res.kinds); len(res.kinds) > 0 {
		fmt.Fprintf(out, "\nof %d kinds of trouble the rarest, %q, happened %d times\n", len(res.kinds), kind, n)
	}
	if opt.redisKill {
		fmt.Fprintln(out, lossReport(res.tally))
	}
	for _, v := range res.violations[:min(len(res.violations), maxViolations)] {
		fmt.Fprintf(out, "\nVIOLATION %s\n", v)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(out, "\nthe run failed: %v\n", err)
		return 1
	}
	fmt.Fprintf(out, "\n%d violations\n", len(res.violations))
	if len(res.violations) > 0 {
		return 1
	}
	return 0
}

func nemesisNames() (names []string) {
	for _, n := range nemeses {
		names = append(names, n.name)
	}
	return names
}

// chosen returns the nemeses to use, and whether proxies die by themselves.
func (o options) chosen() (list []nemesis, crash bool, err error) {
	if o.nemeses == "" {
		return nemeses, true, nil
	}
	for name := range strings.SplitSeq(o.nemeses, ",") {
		found := name == "none" || name == "crash"
		crash = crash || name == "crash"
		for _, n := range nemeses {
			if n.name == name {
				list, found = append(list, n), true
			}
		}
		if !found {
			return nil, false, fmt.Errorf("no nemesis %q: there are crash, %s", name, strings.Join(nemesisNames(), ", "))
		}
	}
	return list, crash, nil
}
