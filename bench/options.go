package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// errUsage is wrapped by everything that is wrong with the command line.
var errUsage = errors.New("usage")

// options is the command line, checked.
type options struct {
	targets    []spec
	loads      []string
	clients    []int   // connections
	pipelines  []int   // commands sent before their replies are awaited
	sizes      []int   // bytes of a value in the loads of strings
	rate       float64 // commands per second in the open loop, 0: closed loop
	skew       float64 // exponent of Zipf's law in the loads that have it
	sessions   int
	rounds     int
	duration   time.Duration // measured part of one round of one target
	warmup     time.Duration // the part before it
	driver     string        // driverOwn or driverRedis
	loops      int           // threads of clients
	goroutines bool          // clients are goroutines: some target speaks TLS, or they are wanted
	jsonPath   string        // "": none
	htmlPath   string        // "": none
	compare    string        // an earlier JSON file, "": none
	binary     string        // credproxy; "": built from this module
	mode       string        // what is measured
	idle       int           // clients of which the memory is measured
	tracked    int           // sessions of which the memory is measured
	restores   int           // how many of each shape; of the largest a fifth
}

// What is measured: loads, or one of the other modes.
const (
	modeLoads   = "loads"
	modeRestore = "restore"
	modeRestart = "restart"
	modeMemory  = "memory"
)

// Who sends.
const (
	driverOwn        = "own"
	driverGoroutines = "goroutines"
	driverRedis      = "redis-benchmark"
)

// rawOptions are flags that need a second look.
type rawOptions struct {
	targets, loads, clients, pipelines, sizes string
	custom                                    []spec
	modes                                     map[string]*bool
	large                                     bool
}

// parseOptions reads the flags; help goes to out.
func parseOptions(args []string, out io.Writer) (options, error) {
	var o options
	raw := rawOptions{modes: map[string]*bool{}}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(out)
	o.define(flags, &raw)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	if err := errors.Join(o.take(raw), o.check(flags.Args())); err != nil {
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	return o, nil
}

func (o *options) define(flags *flag.FlagSet, raw *rawOptions) {
	flags.StringVar(&raw.targets, "targets", "direct,credproxy", "what to compare, the first is the base: "+strings.Join(targetNames(), ", "))
	flags.Func("target", "one more target: `name=host:port,redis=port` of a proxy that runs, or name=exec program arguments, with "+placeholders,
		func(text string) error {
			what, err := parseCustom(text)
			raw.custom = append(raw.custom, what)
			return err
		})
	flags.Func("build", "one more target: credproxy as another build of it, `name=program`, to compare two in one run", func(text string) error {
		what, err := parseBuild(text)
		raw.custom = append(raw.custom, what)
		return err
	})
	flags.StringVar(&raw.loads, "loads", "mix,bots", "what to send: "+strings.Join(loadNames, ", "))
	flags.StringVar(&raw.clients, "clients", "1,50,500", "numbers of connections")
	flags.StringVar(&raw.pipelines, "pipeline", "1,16", "depths of the pipeline")
	flags.StringVar(&raw.sizes, "size", "256", "`bytes` of a value in the loads get, set and mix; several sizes are several loads")
	flags.Float64Var(&o.rate, "rate", 0, "open loop: so many `commands` per second, whatever the target does; 0: closed loop")
	flags.Float64Var(&o.skew, "skew", 1, "`exponent` of Zipf's law, by which the load storm chooses sessions")
	flags.IntVar(&o.sessions, "sessions", 1000, "sessions to spread the load over")
	flags.IntVar(&o.rounds, "rounds", 5, "rounds; each measures every target once")
	flags.DurationVar(&o.duration, "duration", 2*time.Second, "measured time of a target in a round")
	flags.DurationVar(&o.warmup, "warmup", 300*time.Millisecond, "time before that")
	flags.StringVar(&o.driver, "driver", driverOwn, "who sends: own, goroutines (always used if a target speaks TLS), or redis-benchmark (get and set only)")
	flags.IntVar(&o.loops, "loops", 1, "threads of the own driver")
	flags.StringVar(&o.jsonPath, "json", "", "write all numbers to this `file`")
	flags.StringVar(&o.htmlPath, "html", "", "write a report with charts to this `file`")
	flags.StringVar(&o.compare, "compare", "", "print what has changed since this JSON `file` of an earlier run")
	flags.StringVar(&o.binary, "credproxy", "", "the `program` to measure, instead of building it")
	flags.IntVar(&o.restores, "restores", 300, "with --restore: how often each session is restored, the largest a fifth of it")
	flags.IntVar(&o.idle, "idle", 10_000, "with --memory: idle clients; fewer if the limit of open files is too low")
	flags.IntVar(&o.tracked, "tracked", 100_000, "with --memory: sessions")
	mode := func(name, what string) { raw.modes[name] = flags.Bool(name, false, what+", instead of loads") }
	mode(modeRestore, "measure restores against their floor, and what they cost other clients")
	mode(modeRestart, "measure how soon the proxy serves again after kill -9")
	mode(modeMemory, "measure resident memory for each idle client and each session")
	flags.BoolVar(&raw.large, "large", false, "the same as --loads large")
}

// take splits the lists and finds the mode.
func (o *options) take(raw rawOptions) error {
	var errs [5]error
	var targets []string
	targets, errs[0] = names("targets", raw.targets, targetNames())
	if raw.large {
		raw.loads = "large"
	}
	o.loads, errs[1] = names("loads", raw.loads, loadNames)
	o.clients, errs[2] = numbers("clients", raw.clients, maxClients)
	o.pipelines, errs[3] = numbers("pipeline", raw.pipelines, maxPipeline)
	o.sizes, errs[4] = numbers("size", raw.sizes, maxSize)
	o.targets = specsNamed(targets, raw.custom)
	o.goroutines = o.driver == driverGoroutines ||
		o.driver == driverOwn && slices.ContainsFunc(o.targets, func(s spec) bool { return s.clientTLS })
	o.mode = modeLoads
	var err error
	for name, wanted := range raw.modes {
		if !*wanted {
			continue
		}
		if o.mode != modeLoads {
			err = fmt.Errorf("--%s and --%s cannot be measured in one run", min(name, o.mode), max(name, o.mode))
		}
		o.mode = name
	}
	return errors.Join(append(errs[:], err)...)
}

// shapesOf are all combinations; beside a disturbance the readers are always the same.
func (o options) shapesOf(l load) []shape {
	if l.besides != nil {
		s := shape{Clients: besideClients, Pipeline: 1, Rate: o.rate}
		if s.Rate == 0 {
			s.Rate = besideRate
		}
		return []shape{s}
	}
	var all []shape
	for _, clients := range o.clients {
		for _, pipeline := range o.pipelines {
			all = append(all, shape{Clients: clients, Pipeline: pipeline, Rate: o.rate})
		}
	}
	return all
}

// clientName says who sends.
func (o options) clientName() string {
	switch {
	case o.goroutines:
		return driverGoroutines
	case o.driver == driverOwn:
		return fmt.Sprintf("own, threads: %d", o.loops)
	}
	return o.driver
}

// planned is how long the measuring takes, without pauses between the parts.
func (o options) planned() time.Duration {
	switch o.mode {
	case modeRestore:
		return time.Duration(o.restores) * restoreRoundTime
	case modeMemory:
		return time.Duration(len(o.targets)) * memoryTime
	}
	turns := 0
	for _, name := range o.loads {
		for _, l := range loadsOf(name, options{sizes: o.sizes}) {
			turns += len(o.shapesOf(l)) * max(len(l.besides), 1)
		}
	}
	parts := len(o.targets) * turns * o.rounds
	return time.Duration(parts) * (o.duration + o.warmup)
}
