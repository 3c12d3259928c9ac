package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"credproxy/cmd/credproxy/config"
	"credproxy/internal/human"
	"credproxy/internal/trace"
	"credproxy/lru"
)

// simulateCommand shows how often sessions would be restored, so that an operator picks a budget by looking.
func simulateCommand() *cli.Command {
	return &cli.Command{
		Name:  "simulate",
		Usage: "replay an access trace against budgets and policies and show how often sessions would be restored",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "trace", Usage: "`FILE` that credproxy record has written"},
			&cli.StringFlag{Name: "synthetic", Usage: "instead of a file: `KIND` zipf:0.99, loop, daily or boot"},
			&cli.StringFlag{Name: "max", Value: "10%,25%,50%,75%,90%", Usage: "budgets: `SIZE,SIZE` as 512MB, or percent of all sessions"},
			&cli.StringFlag{Name: "policy", Value: strings.Join(policyNames(), ","), Usage: "`NAME,NAME` of policies"},
			&cli.IntFlag{Name: "threshold", Value: 80, Usage: "`PERCENT` of max at which eviction starts"},
			&cli.IntFlag{Name: "target", Value: 70, Usage: "`PERCENT` of max at which it stops"},
			jsonFlag(),
		},
		Before: noArguments,
		Action: func(c *cli.Context) error {
			sim, err := newSimulation(c)
			if err != nil {
				return err
			}
			if err := sim.run(); err != nil {
				return err
			}
			if c.Bool("json") {
				return writeJSON(c.App.Writer, sim.records())
			}
			return sim.show(c.App.Writer)
		},
	}
}

func policyNames() (names []string) {
	for _, p := range lru.Policies() {
		names = append(names, string(p))
	}
	return names
}

// source plays a trace from its beginning.
type source func(f func(trace.Event)) error

// simulation is a trace and what it is replayed against: every policy with every budget.
type simulation struct {
	name     string
	play     source
	max      []string // as given
	policies []lru.Policy
	budget   lru.Budget // without Max
	extent   extent
	budgets  []int64
	runs     [][]*trace.Replay // by budget, then by policy
}

// extent is what a trace is about.
type extent struct {
	uses, sessions, bytes int64
	first, last           int64 // unix milliseconds
}

func newSimulation(c *cli.Context) (*simulation, error) {
	s := &simulation{budget: lru.Budget{Max: 1, Threshold: c.Int("threshold"), Target: c.Int("target")}}
	if err := s.budget.Validate(); err != nil {
		return nil, usagef("simulate: %s", strings.ReplaceAll(err.Error(), "memory.", "--"))
	}
	file, kind := c.String("trace"), c.String("synthetic")
	switch {
	case (file == "") == (kind == ""):
		return nil, usagef("simulate wants --trace FILE (see credproxy record) or --synthetic zipf:0.99, loop, daily or boot")
	case file != "":
		s.name, s.play = file, fileSource(file)
	default:
		s.name = kind
		s.play = func(f func(trace.Event)) error {
			if err := trace.Synthetic(kind, f); err != nil {
				return usagef("simulate: %v", err)
			}
			return nil
		}
	}
	for _, name := range words(c.String("policy")) {
		p, err := lru.ParsePolicy(name)
		if err != nil {
			return nil, usagef("simulate: %v", err)
		}
		s.policies = append(s.policies, p)
	}
	s.max = words(c.String("max"))
	if len(s.max) == 0 || len(s.policies) == 0 {
		return nil, usagef("simulate wants at least one --max and one --policy")
	}
	for _, text := range s.max { // what is wrong with it is said before the trace is read
		if _, err := bytesOf(text, 1<<40); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func fileSource(path string) source {
	return func(f func(trace.Event)) error {
		file, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("open trace: %w", err)
		}
		defer file.Close()
		if err := trace.Read(file, f); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	}
}

// bytesOf reads a size, or a percentage of all.
func bytesOf(text string, all int64) (int64, error) {
	if percent, found := strings.CutSuffix(text, "%"); found {
		n, err := strconv.ParseFloat(percent, 64)
		if err != nil || n <= 0 || n > 1000 {
			return 0, usagef("simulate: --max %s is no percentage: write for instance 25%%", text)
		}
		return max(int64(n*float64(all)/100), 1), nil
	}
	n, err := config.ParseSize(text)
	if err != nil {
		return 0, usagef("simulate: --max %v", err)
	}
	if n <= 0 {
		return 0, usagef("simulate: --max %s is no budget: write for instance 512MB", text)
	}
	return n, nil
}

// run reads the trace twice: percentages need to know how much there is.
func (s *simulation) run() error {
	if err := s.measure(); err != nil {
		return err
	}
	for _, text := range s.max {
		n, err := bytesOf(text, s.extent.bytes)
		if err != nil {
			return err
		}
		s.budgets = append(s.budgets, n)
	}
	slices.Sort(s.budgets)
	s.budgets = slices.Compact(s.budgets)
	var all []*trace.Replay
	for _, n := range s.budgets {
		var row []*trace.Replay
		for _, p := range s.policies {
			b := s.budget
			b.Max = n
			row = append(row, trace.NewReplay(trace.Setting{Budget: b, Policy: p}))
		}
		s.runs, all = append(s.runs, row), append(all, row...)
	}
	return s.play(func(ev trace.Event) {
		for _, r := range all {
			r.Access(ev)
		}
	})
}

// measure finds out what the trace is about. A session counts with the last size that was known of it.
func (s *simulation) measure() error {
	sizes := map[uint64]int64{}
	e := &s.extent
	err := s.play(func(ev trace.Event) {
		if e.uses++; e.uses == 1 {
			e.first = ev.At
		}
		e.last = max(e.last, ev.At)
		if _, known := sizes[ev.Session]; !known || ev.Bytes > 0 {
			sizes[ev.Session] = ev.Bytes
		}
	})
	if err != nil {
		return err
	}
	for _, n := range sizes {
		e.bytes += n
	}
	if e.sessions = int64(len(sizes)); e.uses == 0 {
		return fmt.Errorf("simulate: %s holds no event: record for longer, while clients use their sessions", s.name)
	}
	return nil
}

// records is one record for each budget and policy.
func (s *simulation) records() []record {
	var out []record
	for i, row := range s.runs {
		for j, run := range row {
			r := run.Result()
			out = append(out, record{
				{"trace", s.name}, {"policy", string(s.policies[j])}, {"max_bytes", s.budgets[i]}, {"all_bytes", s.extent.bytes},
				{"uses", r.Accesses}, {"sessions", r.Sessions}, {"restores", r.Restores}, {"restored_bytes", r.Bytes},
				{"evictions", r.Evictions}, {"restore_rate", r.Rate()},
			})
		}
	}
	return out
}

// show prints the restore rates as a table and as bars.
func (s *simulation) show(out io.Writer) error {
	e := s.extent
	_, err := fmt.Fprintf(out, "%s: %s uses of %s sessions in %s, %s in all\nuses that wait for a restore (a session's first one left out):\n\n",
		s.name, human.Count(e.uses), human.Count(e.sessions), human.Duration(time.Duration(e.last-e.first)*time.Millisecond), human.Size(float64(e.bytes)))
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, s.table()+"\n"+s.chart()); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}
