package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/urfave/cli/v2"

	"credproxy/internal/human"
)

// slowLogCommand shows commands that waited long for their session.
func slowLogCommand() *cli.Command {
	reset := false
	c := adminCommand("slowlog", "commands that waited for their session for log.slow or longer, the latest first", "",
		func(ctx context.Context, r *remote, _ []string) error {
			if reset {
				return simple("SLOWLOG")(ctx, r, []string{"RESET"})
			}
			return askSlowLog(ctx, r)
		},
		&cli.IntFlag{Name: "count", Value: 20, Usage: "how many at most; the proxy keeps 128"},
		&cli.BoolFlag{Name: "reset", Usage: "forget them instead"})
	c.Before = func(c *cli.Context) error {
		if reset = c.Bool("reset"); c.Int("count") < 1 {
			return usagef("slowlog: count %d: 1 or more", c.Int("count"))
		}
		return nil
	}
	return c
}

func askSlowLog(ctx context.Context, r *remote) error {
	records, err := r.several(ctx, "SLOWLOG", "GET", strconv.Itoa(r.count))
	if err != nil {
		return err
	}
	if r.json {
		return writeJSON(r.out, records)
	}
	if len(records) == 0 {
		_, err := fmt.Fprintln(r.out, "no command has waited long")
		return err
	}
	rows := make([]record, len(records))
	for i, rec := range records {
		rows[i] = slowRow(rec.values())
	}
	return writeRows(r.out, rows, r.width)
}

// slowRow is what people see of an entry: the parts of the wait that were not the longest are for programs.
func slowRow(v map[string]any) record {
	failed := ""
	if number(v, "failed") != 0 {
		failed = "failed"
	}
	return record{{"session", v["session"]}, {"at", human.Time(number(v, "at"))}, {"waited", human.Value("took_us", v["took_us"])},
		{"mostly_for", v["part"]}, {"command", v["command"]}, {"client", v["client"]}, {"outcome", failed}}
}
