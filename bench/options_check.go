package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits keep a mistyped number from taking the machine down.
const (
	maxClients  = 5_000
	maxPipeline = 1_000
	maxSize     = 1 << 20
	maxSessions = 100_000
	maxRounds   = 1_000
	maxDuration = 10 * time.Minute
	maxRestores = 10_000
	maxTracked  = 5_000_000

	// connLimit is how many clients the servers that we start accept.
	connLimit = 15_000
	maxLoops  = 64
	maxRate   = 100_000_000
	maxSkew   = 10
)

// check looks at the single numbers.
func (o options) check(rest []string) error {
	within := func(name string, v, low, high int) error {
		if v < low || v > high {
			return fmt.Errorf("--%s is %d, must be from %d to %d", name, v, low, high)
		}
		return nil
	}
	err := errors.Join(
		within("sessions", o.sessions, 1, maxSessions),
		within("rounds", o.rounds, 1, maxRounds),
		within("restores", o.restores, 1, maxRestores),
		within("idle", o.idle, 1, connLimit),
		within("tracked", o.tracked, 1, maxTracked),
		within("loops", o.loops, 1, maxLoops),
		o.checkDriver(),
	)
	if o.duration < 10*time.Millisecond || o.duration > maxDuration || o.warmup < 0 || o.warmup > maxDuration {
		err = errors.Join(err, fmt.Errorf("--duration must be from 10ms, --warmup from 0, to %s", maxDuration))
	}
	if !(o.rate >= 0 && o.rate <= maxRate) || !(o.skew >= 0 && o.skew <= maxSkew) {
		err = errors.Join(err, fmt.Errorf("--rate must be from 0 to %d, --skew from 0 to %d", maxRate, maxSkew))
	}
	if (o.mode == modeRestore || o.mode == modeRestart) && o.htmlPath != "" || o.mode != modeLoads && o.compare != "" {
		err = errors.Join(err, fmt.Errorf("--html and --compare are about loads; of --%s there is the table", o.mode))
	}
	if len(rest) > 0 {
		err = errors.Join(err, fmt.Errorf("unknown argument %q", rest[0]))
	}
	return err
}

// checkDriver looks for what redis-benchmark cannot do.
func (o options) checkDriver() error {
	if !slices.Contains([]string{driverOwn, driverGoroutines, driverRedis}, o.driver) {
		return fmt.Errorf("--driver %q is not known: own, goroutines, redis-benchmark", o.driver)
	}
	if o.driver != driverRedis {
		return nil
	}
	var err error
	if o.rate > 0 {
		err = errors.New("--rate: redis-benchmark has no open loop")
	}
	for _, name := range o.loads {
		if name != "get" && name != "set" {
			err = errors.Join(err, fmt.Errorf("--loads %s: redis-benchmark sends get and set", name))
		}
	}
	for _, s := range o.targets {
		if s.clientTLS {
			err = errors.Join(err, fmt.Errorf("--targets %s: redis-benchmark is used without TLS", s.name))
		}
	}
	return err
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
