package main

import (
	"context"
	"fmt"
	"io"
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
			&cli.StringFlag{Name: "order", Value: "lru", Usage: "lru, hits or bytes"},
			&cli.IntFlag{Name: "count", Value: 20, Usage: "how many at most"}),
		adminCommand("session", "one session, and why it would or would not be evicted", "ID", askSession),
		adminCommand("evict", "move sessions out of Redis now", "ID...", counting("EVICT", "evicted")),
		adminCommand("restore", "bring sessions back into Redis now", "ID...", counting("RESTORE", "restored")),
		adminCommand("sync", "wait until Postgres holds everything", "", askSync),
		adminCommand("pin", "never evict a session", "ID", simple("PIN")),
		adminCommand("unpin", "undo pin", "ID", simple("UNPIN")),
	}
}

// asker sends one command and shows its reply.
type asker func(ctx context.Context, r *remote, ids []string) error

func adminCommand(name, usage, args string, ask asker, more ...cli.Flag) *cli.Command {
	flags := append([]cli.Flag{
		&cli.StringFlag{Name: "addr", Value: "127.0.0.1:6380", Usage: "the proxy's `HOST:PORT` or unix:///path"},
		&cli.StringFlag{Name: "user", Usage: "Redis user `NAME`"},
		&cli.StringFlag{Name: "password", EnvVars: []string{"REDISCLI_AUTH"}, Usage: "Redis `PASSWORD`; the environment keeps it out of ps"},
		&cli.BoolFlag{Name: "json", Usage: "print JSON, for programs"},
		&cli.DurationFlag{Name: "timeout", Value: time.Minute, Usage: "give up after `TIME`"},
	}, append(tlsFlags(), more...)...)
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: args, Flags: flags,
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
			ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
			defer cancel()
			return ask(ctx, r, ids)
		},
	}
}

// checkIDs counts the ids and catches options behind them, which the flag parser takes for ids.
func checkIDs(c *cli.Context, want string, ids []string) error {
	for _, id := range ids {
		for _, f := range c.Command.Flags {
			name, _, _ := strings.Cut(strings.TrimLeft(id, "-"), "=")
			if strings.HasPrefix(id, "-") && name == f.Names()[0] {
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
	client *redis.Client
	addr   string
	json   bool
	out    io.Writer
	order  string
	count  int
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
			PoolSize:   1, DialerRetries: 1, DialTimeout: min(timeout, 5*time.Second), ReadTimeout: timeout, WriteTimeout: timeout,
			ContextTimeoutEnabled: true, DisableIdentity: true,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		}),
		addr: addr, json: c.Bool("json"), out: c.App.Writer, order: c.String("order"), count: c.Int("count"),
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
		return nil, fmt.Errorf("ask %s for %s: %w", r.addr, strings.ToLower(args[0]), err)
	}
	return reply, nil
}

func askStats(ctx context.Context, r *remote, _ []string) error {
	return r.showRecord(ctx, "STATS")
}

// askSession shows all that is known of one session; why it would or would not be evicted is among it.
func askSession(ctx context.Context, r *remote, ids []string) error {
	return r.showRecord(ctx, "SESSION", ids[0])
}

func (r *remote) showRecord(ctx context.Context, args ...string) error {
	reply, err := r.do(ctx, args...)
	if err != nil {
		return err
	}
	rec, err := asRecord(reply)
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
	case "lru", "hits", "bytes":
	default:
		return usagef("sessions: order %q is unknown: lru, hits or bytes", r.order)
	}
	if r.count < 1 {
		return usagef("sessions: count %d: 1 or more", r.count)
	}
	reply, err := r.do(ctx, "SESSIONS", "ORDER", r.order, "COUNT", fmt.Sprint(r.count))
	if err != nil {
		return err
	}
	rows, ok := reply.([]any)
	if !ok {
		return fmt.Errorf("read sessions: the proxy answered with %T", reply)
	}
	records := make([]record, len(rows))
	for i, row := range rows {
		if records[i], err = asRecord(row); err != nil {
			return err
		}
	}
	if r.json {
		return writeJSON(r.out, records)
	}
	return writeRows(r.out, records)
}

// counting makes the asker of a command that takes ids and answers with a number.
func counting(command, what string) asker {
	return func(ctx context.Context, r *remote, ids []string) error {
		reply, err := r.do(ctx, append([]string{command}, ids...)...)
		if err != nil {
			return err
		}
		return r.showCount(what, reply)
	}
}

// askSync returns when everything that was changed before it is in Postgres, or when --timeout is over.
func askSync(ctx context.Context, r *remote, _ []string) error {
	reply, err := r.do(ctx, "SYNC")
	if err != nil {
		return err
	}
	return r.showCount("saved_keys", reply)
}

func (r *remote) showCount(what string, reply any) error {
	n, ok := reply.(int64)
	if !ok {
		return fmt.Errorf("read reply: the proxy answered with %T, not a number", reply)
	}
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
