package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// This part measures how soon a proxy serves again after kill -9, and how soon everything that it had not saved is in Postgres. The
// sessions that are resident must be recognised, the keys that carry a mark compared and saved: the time must follow the
// marks, not the sessions.

// restartCase is what the proxy leaves behind when it is killed.
type restartCase struct{ resident, marked int }

var restartCases = []restartCase{{20, 20}, {5_000, 0}, {5_000, 20}, {5_000, 500}}

// restartTimes are from the start of the process: until it answers a command, and until nothing waits to be saved.
type restartTimes struct{ serves, repaired time.Duration }

// restartPoll is how often a starting proxy is asked.
const restartPoll = time.Millisecond

// runRestart kills the proxy in every case, round by round, and prints medians.
func runRestart(ctx context.Context, s *stack, out io.Writer) error {
	i := slices.IndexFunc(s.targets, func(t *target) bool { return t.saves })
	if i < 0 {
		return fmt.Errorf("%w: --restart needs credproxy among the targets", errUsage)
	}
	t := s.targets[i]
	times := make([][]restartTimes, len(restartCases))
	for c, what := range restartCases { // residents of one case stay for the next: their numbers rise
		if err := t.fillSessions(ctx, what.resident); err != nil {
			return err
		}
		for range s.opts.rounds {
			took, err := t.restart(ctx, what)
			if err != nil {
				return fmt.Errorf("restart with %d sessions, %d of them marked: %w", what.resident, what.marked, err)
			}
			times[c] = append(times[c], took)
		}
	}
	return printRestarts(out, times)
}

func restartKey(n int) string { return fmt.Sprintf("wa:auth:restart%d:creds", n) }

// restartValue is as long as the credentials of a bot.
func restartValue(text string) string { return fmt.Sprintf("%-1500s", text) }

// fillSessions makes n sessions resident and saved.
func (t *target) fillSessions(ctx context.Context, n int) error {
	c, err := t.dial(ctx, time.Now().Add(settleTime))
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range n {
		if err := c.do(command(nil, "SET", restartKey(i), restartValue("saved")), 1); err != nil {
			return err
		}
	}
	return t.settle(ctx)
}

// restart leaves marked keys behind, kills the proxy and times its successor.
func (t *target) restart(ctx context.Context, what restartCase) (took restartTimes, err error) {
	if err := t.settle(ctx); err != nil {
		return took, err
	}
	c, err := t.dial(ctx, time.Now().Add(settleTime))
	if err != nil {
		return took, err
	}
	defer c.Close()
	var writes []byte
	for i := range what.marked {
		writes = command(writes, "SET", restartKey(i), restartValue(time.Now().String()))
	}
	if what.marked > 0 {
		if err := c.do(writes, what.marked); err != nil {
			return took, err
		}
	}
	if err := t.child.kill(); err != nil {
		return took, err
	}
	if err := t.wantMarks(ctx, what.marked); err != nil {
		return took, err
	}
	start := time.Now()
	if t.child, err = t.start(); err != nil {
		return took, err
	}
	t.proxy = t.child.cmd.Process.Pid
	if err := t.until(ctx, func() bool { return serves(ctx, t) }); err != nil {
		return took, err
	}
	took.serves = time.Since(start)
	err = t.until(ctx, func() bool { return t.stat(ctx, "dirty_keys") == "0" && t.stat(ctx, "adoption_pending") == "0" })
	took.repaired = time.Since(start)
	return took, err
}

// wantMarks makes sure that the proxy was killed before it had saved.
func (t *target) wantMarks(ctx context.Context, want int) error {
	c, err := dial(ctx, t.redisAddr, time.Now().Add(settleTime))
	if err != nil {
		return err
	}
	defer c.Close()
	got, err := c.line("HLEN", "credproxy:2:dirty")
	if err == nil && got != fmt.Sprintf(":%d\r\n", want) {
		err = fmt.Errorf("the killed proxy has left %q marks, want %d: it saved before it died", strings.TrimSpace(got), want)
	}
	return err
}

// until polls the proxy that has just been started.
func (t *target) until(ctx context.Context, done func() bool) error {
	for !done() {
		select {
		case <-t.child.exited:
			return errors.New("the proxy ended: " + t.child.lastOutput())
		default:
		}
		if err := wait(ctx, restartPoll); err != nil {
			return err
		}
	}
	return nil
}

func printRestarts(out io.Writer, times [][]restartTimes) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "resident\tmarked\tserves after\tall saved after\tmin\tmax\t")
	for i, what := range restartCases {
		var serves, repaired []time.Duration
		for _, t := range times[i] {
			serves, repaired = append(serves, t.serves), append(repaired, t.repaired)
		}
		slices.Sort(serves)
		slices.Sort(repaired)
		mid := len(serves) / 2
		fmt.Fprintf(w, "%d\t%d\t%.1f ms\t%.1f ms\t%.1f ms\t%.1f ms\t\n", what.resident, what.marked,
			millis(serves[mid]), millis(repaired[mid]), millis(repaired[0]), millis(repaired[len(repaired)-1]))
	}
	return w.Flush()
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
