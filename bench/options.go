package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// errUsage is wrapped by everything that is wrong with the command line.
var errUsage = errors.New("usage")

// options is the command line, checked.
type options struct {
	targets   []string
	loads     []string
	clients   []int // connections
	pipelines []int // commands sent before their replies are awaited
	size      int   // bytes of a value in the loads get and mix
	sessions  int
	rounds    int
	duration  time.Duration // measured part of one round of one target
	warmup    time.Duration // the part before it
	jsonPath  string        // "": none
	htmlPath  string        // "": none
	binary    string        // credproxy; "": built from this module
	restore   bool          // measure restores instead of loads
	restart   bool          // measure restarts after kill -9 instead of loads
	restores  int           // how many of each shape; of the largest a fifth
}

// Limits keep a mistyped number from taking the machine down.
const (
	maxClients  = 5_000
	maxPipeline = 1_000
	maxSize     = 1 << 20
	maxSessions = 100_000
	maxRounds   = 1_000
	maxDuration = 10 * time.Minute
	maxRestores = 10_000
)

// parseOptions reads the flags; help goes to out.
func parseOptions(args []string, out io.Writer) (options, error) {
	var o options
	var targets, loads, clients, pipelines string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&targets, "targets", "direct,credproxy", "what to compare, the first is the base: "+strings.Join(targetNames, ", "))
	flags.StringVar(&loads, "loads", "mix,bots", "what to send: "+strings.Join(loadNames, ", "))
	flags.StringVar(&clients, "clients", "1,50,500", "numbers of connections")
	flags.StringVar(&pipelines, "pipeline", "1,16", "depths of the pipeline")
	flags.IntVar(&o.size, "size", 256, "`bytes` of a value in the loads get and mix")
	flags.IntVar(&o.sessions, "sessions", 1000, "sessions to spread the load over")
	flags.IntVar(&o.rounds, "rounds", 5, "rounds; each measures every target once")
	flags.DurationVar(&o.duration, "duration", 2*time.Second, "measured time of a target in a round")
	flags.DurationVar(&o.warmup, "warmup", 300*time.Millisecond, "time before that")
	flags.StringVar(&o.jsonPath, "json", "", "write all numbers to this `file`")
	flags.StringVar(&o.htmlPath, "html", "", "write a report with charts to this `file`")
	flags.StringVar(&o.binary, "credproxy", "", "the `program` to measure, instead of building it")
	flags.BoolVar(&o.restore, "restore", false, "measure restores against their floor, and what they cost other clients, instead of loads")
	flags.BoolVar(&o.restart, "restart", false, "measure how soon the proxy serves again after kill -9, instead of loads")
	flags.IntVar(&o.restores, "restores", 300, "with --restore: how often each session is restored, the largest a fifth of it")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	var errs [4]error
	o.targets, errs[0] = names("targets", targets, targetNames)
	o.loads, errs[1] = names("loads", loads, loadNames)
	o.clients, errs[2] = numbers("clients", clients, maxClients)
	o.pipelines, errs[3] = numbers("pipeline", pipelines, maxPipeline)
	if err := errors.Join(append(errs[:], o.check(flags.Args()))...); err != nil {
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	return o, nil
}

// check looks at the single numbers.
func (o options) check(rest []string) error {
	within := func(name string, v, low, high int) error {
		if v < low || v > high {
			return fmt.Errorf("--%s is %d, must be from %d to %d", name, v, low, high)
		}
		return nil
	}
	err := errors.Join(
		within("size", o.size, 1, maxSize),
		within("sessions", o.sessions, 1, maxSessions),
		within("rounds", o.rounds, 1, maxRounds),
		within("restores", o.restores, 1, maxRestores),
	)
	if o.duration < 10*time.Millisecond || o.duration > maxDuration || o.warmup < 0 || o.warmup > maxDuration {
		err = errors.Join(err, fmt.Errorf("--duration must be from 10ms, --warmup from 0, to %s", maxDuration))
	}
	if o.restore && o.htmlPath != "" {
		err = errors.Join(err, errors.New("--html draws loads; of --restore there is the table, and --json"))
	}
	if len(rest) > 0 {
		err = errors.Join(err, fmt.Errorf("unknown argument %q", rest[0]))
	}
	return err
}

// planned is how long the measuring takes, without pauses between the parts.
func (o options) planned() time.Duration {
	if o.restore {
		return time.Duration(o.restores) * restoreRoundTime
	}
	parts := len(o.targets) * len(o.loads) * len(o.clients) * len(o.pipelines) * o.rounds
	return time.Duration(parts) * (o.duration + o.warmup)
}

// names splits a list of known names.
func names(flag, list string, known []string) ([]string, error) {
	var all []string
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("--%s: unknown name %q: known are %s", flag, name, strings.Join(known, ", "))
		}
		if slices.Contains(all, name) {
			return nil, fmt.Errorf("--%s: %s is named twice", flag, name)
		}
		all = append(all, name)
	}
	return all, nil
}

// numbers splits a list of numbers from 1 to high.
func numbers(flag, list string, high int) ([]int, error) {
	var all []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 || n > high {
			return nil, fmt.Errorf("--%s: %q is no number from 1 to %d", flag, text, high)
		}
		all = append(all, n)
	}
	return all, nil
}
