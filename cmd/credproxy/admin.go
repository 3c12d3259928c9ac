package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/urfave/cli/v2"
)

// adminCommands are those that ask a running proxy, over the port that clients use.
func adminCommands() []*cli.Command {
	return []*cli.Command{
		adminCommand("stats", "numbers of a running proxy", "", askStats),
		adminCommand("sessions", "its sessions, the least recently used first", "", askSessions,
			&cli.StringFlag{Name: "order", Value: "lru", Usage: "lru, recent, hits or bytes"},
			&cli.StringFlag{Name: "match", Usage: "only those with `TEXT` in their id"},
			&cli.StringFlag{Name: "state", Usage: "only those that are resident, evicted, loading, evicting or unknown"},
			&cli.IntFlag{Name: "count", Value: 20, Usage: "how many at most"}),
		adminCommand("session", "one session, and why it would or would not be evicted", "ID", askSession),
		adminCommand("evict", "move sessions out of Redis now", "ID... (- reads them from stdin)", evicting.ask),
		restoreCommand(),
		adminCommand("sync", "wait until Postgres holds everything", "", askSync),
		adminCommand("pin", "never evict a session", "ID", simple("PIN")),
		adminCommand("unpin", "undo pin", "ID", simple("UNPIN")),
		adminCommand("pause", "stop evicting", "", simple("PAUSE")),
		adminCommand("resume", "evict again", "", simple("RESUME")),
		slowLogCommand(),
		topCommand(),
	}
}

// asker sends one command and shows its reply.
type asker func(ctx context.Context, r *remote, ids []string) error

func adminCommand(name, usage, args string, ask asker, more ...cli.Flag) *cli.Command {
	flags := append([]cli.Flag{
		&cli.StringFlag{Name: "addr", Value: "127.0.0.1:6380", Usage: "the proxy's `HOST:PORT` or unix:///path"},
		&cli.StringFlag{Name: "user", Usage: "Redis user `NAME`"},
		&cli.StringFlag{Name: "password", EnvVars: []string{"REDISCLI_AUTH"}, Usage: "Redis `PASSWORD`; the environment keeps it out of ps"},
		jsonFlag(),
		&cli.DurationFlag{Name: "timeout", Value: time.Minute, Usage: "give up after `TIME`"},
	}, append(tlsFlags(), more...)...)
	var complete cli.BashCompleteFunc
	if strings.HasPrefix(args, "ID") {
		complete = completeIDs
	}
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: args, Flags: flags, BashComplete: complete,
		Action: func(c *cli.Context) error {
			ids := c.Args().Slice()
			if err := checkIDs(c, args, ids); err != nil {
				return err
			}
			r, err := newRemote(c)
			if err != nil {
				return err
			}
			defer r.client.Close()
			ctx := c.Context
			if len(ids) < 2 && !slices.Contains(ids, "-") { // of many, each has the time
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, r.timeout)
				defer cancel()
			}
			return ask(ctx, r, ids)
		},
	}
}

// checkIDs counts the ids and catches options behind them, which the flag parser takes for ids.
func checkIDs(c *cli.Context, want string, ids []string) error {
	for _, id := range ids {
		name, _, _ := strings.Cut(strings.TrimLeft(id, "-"), "=")
		for _, f := range c.Command.Flags {
			if strings.HasPrefix(id, "-") && slices.Contains(f.Names(), name) {
				return usagef("%s: option %s must stand before the ids", c.Command.Name, id)
			}
		}
	}
	switch {
	case want == "" && len(ids) > 0:
		return usagef("%s takes no argument %q", c.Command.Name, ids[0])
	case want != "" && len(ids) == 0:
		return usagef("%s needs a session: credproxy %s [options] %s", c.Command.Name, c.Command.Name, want)
	case want == "ID" && len(ids) > 1:
		return usagef("%s takes one session, not %d", c.Command.Name, len(ids))
	}
	return nil
}

// remote is a running proxy and where its answers are printed.
type remote struct {
	tls          bool
	client       *redis.Client
	addr         string
	json         bool
	width        int // of the terminal that out is; 0: it is none
	timeout      time.Duration
	in           io.Reader
	out          io.Writer
	log          io.Writer // progress, and what has failed
	yes          bool      // confirmed
	match, state string
	order        string
	count        int
}

func newRemote(c *cli.Context) (*remote, error) {
	secure, err := tlsConfig(c)
	if err != nil {
		return nil, err
	}
	network, addr := "tcp", c.String("addr")
	if path, ok := strings.CutPrefix(addr, "unix://"); ok {
		network, addr = "unix", path
	}
	timeout := c.Duration("timeout")
	return &remote{
		client: redis.NewClient(&redis.Options{
			Network: network, Addr: addr, Username: c.String("user"), Password: c.String("password"), TLSConfig: secure,
			Protocol:   2,  // flat arrays keep the order in which the proxy lists its numbers; maps would lose it
			MaxRetries: -1, // an EVICT is not repeated behind the operator's back
			PoolSize:   bulkWorkers, DialerRetries: 1, DialTimeout: min(timeout, 5*time.Second), ReadTimeout: timeout, WriteTimeout: timeout,
			ContextTimeoutEnabled: true, DisableIdentity: true,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		}),
		addr: addr, timeout: timeout, tls: secure != nil, json: c.Bool("json"), in: c.App.Reader, out: c.App.Writer, log: c.App.ErrWriter,
		yes: c.Bool("yes"), match: c.String("match"), state: c.String("state"), width: terminalWidth(c.App.Writer), order: c.String("order"), count: c.Int("count"),
	}, nil
}

// do sends CREDPROXY with arguments.
func (r *remote) do(ctx context.Context, args ...string) (any, error) {
	words := []any{"CREDPROXY"}
	for _, a := range args {
		words = append(words, a)
	}
	reply, err := r.client.Do(ctx, words...).Result()
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w", r.addr, strings.ToLower(args[0]), r.explain(err))
	}
	return reply, nil
}

// one is do for an answer that is one list of names and values.
func (r *remote) one(ctx context.Context, args ...string) (record, error) {
	reply, err := r.do(ctx, args...)
	if err != nil {
		return nil, err
	}
	return asRecord(reply)
}

// several is do for an answer that is a list of them.
func (r *remote) several(ctx context.Context, args ...string) ([]record, error) {
	reply, err := r.do(ctx, args...)
	if err != nil {
		return nil, err
	}
	return asRecords(reply)
}

// stats asks for the proxy's numbers, by name.
func (r *remote) stats(ctx context.Context) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	rec, err := r.one(ctx, "STATS")
	if err != nil {
		return nil, err
	}
	return rec.values(), nil
}

// refused reports whether an error is the proxy's answer, as opposed to one about the way to it.
func refused(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer)
}

// refusal is the proxy's answer alone.
func refusal(err error) string {
	var answer redis.Error
	errors.As(err, &answer)
	return strings.TrimPrefix(answer.Error(), "ERR ")
}

func askStats(ctx context.Context, r *remote, _ []string) error {
	return r.showRecord(ctx, "STATS")
}

// askSession shows all that is known of one session; why it would or would not be evicted is among it.
func askSession(ctx context.Context, r *remote, ids []string) error {
	return r.showRecord(ctx, "SESSION", ids[0])
}

func (r *remote) showRecord(ctx context.Context, args ...string) error {
	rec, err := r.one(ctx, args...)
	if err != nil {
		return err
	}
	if r.json {
		return writeJSON(r.out, rec)
	}
	return rec.table(r.out)
}

// askSessions checks its options itself: the proxy's own error would name RESP arguments, not options.
func askSessions(ctx context.Context, r *remote, _ []string) error {
	switch r.order {
	case "lru", "recent", "hits", "bytes":
	default:
		return usagef("sessions: order %q is unknown: lru, recent, hits or bytes", r.order)
	}
	switch r.state {
	case "", "resident", "evicted", "loading", "evicting", "unknown":
	default:
		return usagef("sessions: state %q is unknown: resident, evicted, loading, evicting or unknown", r.state)
	}
	if r.count < 1 {
		return usagef("sessions: count %d: 1 or more", r.count)
	}
	args := []string{"SESSIONS", "ORDER", r.order, "COUNT", fmt.Sprint(r.count)}
	if r.match != "" {
		args = append(args, "MATCH", r.match)
	}
	if r.state != "" {
		args = append(args, "STATE", r.state)
	}
	records, err := r.several(ctx, args...)
	if err != nil {
		return err
	}
	if r.json {
		return writeJSON(r.out, records)
	}
	return writeRows(r.out, records, r.width)
}

func (r *remote) showCount(what string, n int64) error {
	if r.json {
		return writeJSON(r.out, record{{what, n}})
	}
	_, err := fmt.Fprintf(r.out, "%s: %d\n", strings.ReplaceAll(what, "_", " "), n)
	return err
}

// simple makes the asker of a command that answers OK.
func simple(command string) asker {
	return func(ctx context.Context, r *remote, ids []string) error {
		if _, err := r.do(ctx, append([]string{command}, ids...)...); err != nil {
			return err
		}
		if r.json {
			return writeJSON(r.out, record{{"ok", true}})
		}
		_, err := fmt.Fprintln(r.out, "OK")
		return err
	}
}
