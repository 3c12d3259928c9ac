package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"credproxy/internal/human"
)

// bulkWorkers is how many sessions are evicted or restored at a time: enough to keep Postgres at work while Redis answers,
// and too few for clients to feel.
const bulkWorkers = 4

// bulk is a command that does the same to many sessions.
type bulk struct {
	command string // of CREDPROXY
	doing   string // for the progress
	done    string // for the result
}

var (
	evicting  = bulk{"EVICT", "evicting", "evicted"}
	restoring = bulk{"RESTORE", "restoring", "restored"}
)

// failure is a session that something could not be done to.
type failure struct{ id, reason string }

// ask carries out the command for every id; "-" stands for ids on stdin, one a line.
func (b bulk) ask(ctx context.Context, r *remote, ids []string) error {
	if slices.Equal(ids, []string{"-"}) {
		var err error
		if ids, err = readIDs(r.in); err != nil {
			return err
		}
	}
	done, failures, err := b.each(ctx, r, ids, int64(len(ids)))
	if err != nil {
		return err
	}
	return b.show(r, done, failures)
}

// readIDs reads one id a line; empty lines do not count.
func readIDs(in io.Reader) ([]string, error) {
	var ids []string
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if id := strings.TrimSuffix(lines.Text(), "\r"); id != "" {
			ids = append(ids, id)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read sessions from stdin: %w", err)
	}
	return ids, nil
}

// each does it for every id, some at a time. What the proxy refuses for one session does not stop the others; what is about
// the connection does, as an error.
func (b bulk) each(ctx context.Context, r *remote, ids []string, all int64) (done int64, failures []failure, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	shown := newProgress(r.log, b.doing)
	defer shown.end()
	work := make(chan string)
	var mu sync.Mutex // guards the results
	var workers sync.WaitGroup
	for range min(bulkWorkers, len(ids)) {
		workers.Go(func() {
			for id := range work {
				n, problem := b.one(ctx, r, id)
				mu.Lock()
				switch {
				case problem == nil:
					done += n
				case refused(problem):
					failures = append(failures, failure{id, b.reason(id, problem)})
				case err == nil:
					err = problem
					cancel()
				}
				shown.set(done+int64(len(failures)), all)
				mu.Unlock()
			}
		})
	}
	for _, id := range ids {
		if ctx.Err() != nil {
			break
		}
		work <- id
	}
	close(work)
	workers.Wait()
	if err == nil {
		err = ctx.Err()
	}
	return done, failures, err
}

// reason is why the proxy has refused, without what the caller says itself.
func (b bulk) reason(id string, err error) string {
	return strings.TrimPrefix(refusal(err), fmt.Sprintf("0 of 1 done; session %q: ", id))
}

// one waits as long as --timeout says, for this session alone.
func (b bulk) one(ctx context.Context, r *remote, id string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	reply, err := r.do(ctx, b.command, id)
	if err != nil {
		return 0, err
	}
	n, _ := reply.(int64)
	return n, nil
}

// show prints how many it were, and fails if some could not be done.
func (b bulk) show(r *remote, done int64, failures []failure) error {
	slices.SortFunc(failures, func(a, b failure) int { return strings.Compare(a.id, b.id) })
	if r.json {
		rec := record{{b.done, done}}
		if len(failures) > 0 {
			list := make([]record, len(failures))
			for i, f := range failures {
				list[i] = record{{"id", f.id}, {"error", f.reason}}
			}
			rec = append(rec, record{{"failed", list}}...)
		}
		if err := writeJSON(r.out, rec); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(r.out, "%s: %s\n", b.done, human.Count(done))
	}
	switch {
	case len(failures) == 0:
		return nil
	case len(failures) == 1:
		return fmt.Errorf("%s session %s: %s", strings.ToLower(b.command), human.Printable(failures[0].id), human.Printable(failures[0].reason))
	}
	const told = 10
	for _, f := range failures[:min(len(failures), told)] {
		fmt.Fprintf(r.log, "session %s: %s\n", human.Printable(f.id), human.Printable(f.reason))
	}
	return fmt.Errorf("%s: %s of %s sessions failed", strings.ToLower(b.command), human.Count(int64(len(failures))),
		human.Count(done+int64(len(failures))))
}

// restoreAll is the way back to Redis alone: everything that is not in Redis returns.
func restoreAll(ctx context.Context, r *remote) error {
	st, err := r.stats(ctx)
	if err != nil {
		return err
	}
	away := int64(number(st, "sessions_evicted") + number(st, "sessions_unknown"))
	if number(st, "paused") == 0 && away > 0 {
		return errors.New("restore all: eviction is not paused, and what comes back could leave again: run credproxy pause first")
	}
	if !r.yes {
		return usagef("restore: --all brings %s sessions into Redis; give --yes, too, if it has room for them", human.Count(away))
	}
	var done int64
	failed := map[string]failure{}
	for _, state := range []string{"evicted", "unknown"} {
		for {
			ids, err := r.listed(ctx, state)
			if err != nil {
				return err
			}
			ids = slices.DeleteFunc(ids, func(id string) bool { _, known := failed[id]; return known })
			if len(ids) == 0 {
				break // nothing is left but what cannot be restored
			}
			n, failures, err := restoring.each(ctx, r, ids, int64(len(ids)))
			done += n
			for _, f := range failures {
				failed[f.id] = f
			}
			if err != nil {
				return err
			}
		}
	}
	var failures []failure
	for _, f := range failed {
		failures = append(failures, f)
	}
	return restoring.show(r, done, failures)
}

// listed names sessions in a state, some at a time.
func (r *remote) listed(ctx context.Context, state string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	reply, err := r.do(ctx, "SESSIONS", "STATE", state, "COUNT", "1000")
	if err != nil {
		return nil, err
	}
	rows, _ := reply.([]any)
	ids := make([]string, len(rows))
	for i, row := range rows {
		rec, err := asRecord(row)
		if err != nil {
			return nil, err
		}
		v := rec.values()
		ids[i] = fmt.Sprintf("%v@%v/%v", v["keyspace"], v["db"], v["id"])
	}
	return ids, nil
}

// restoreCommand takes ids, or all that are not in Redis.
func restoreCommand() *cli.Command {
	c := adminCommand("restore", "bring sessions back into Redis now", "ID... (- reads them from stdin)", restoring.ask,
		&cli.BoolFlag{Name: "all", Usage: "all that are not in Redis: the way back to Redis alone"},
		&cli.BoolFlag{Name: "yes", Usage: "confirm --all"})
	some := c.Action
	c.Action = func(c *cli.Context) error {
		if !c.Bool("all") {
			return some(c)
		}
		if err := checkIDs(c, "", c.Args().Slice()); err != nil {
			return err
		}
		r, err := newRemote(c)
		if err != nil {
			return err
		}
		defer r.client.Close()
		return restoreAll(c.Context, r)
	}
	return c
}
