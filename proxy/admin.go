package proxy

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"credproxy/internal/resp"
)

// adminCommand is one subcommand of CREDPROXY.
type adminCommand struct {
	usage   string
	help    string
	min     int  // arguments after the subcommand
	max     int  // -1: any number
	changes bool // not for everyone, where the configuration names admins
	run     func(c *client, args []string)
}

// adminTable lists the subcommands in the order of HELP.
func adminTable() []adminCommand {
	return []adminCommand{
		{"MEMORY", "memory used by Redis against the budget", 0, 0, false, (*client).adminMemory},
		{"STATS", "counters of the proxy", 0, 0, false, (*client).adminStats},
		{"SESSIONS [ORDER lru|recent|hits|bytes] [COUNT n] [MATCH text] [STATE name]", "the first sessions in an order", 0, 8, false, (*client).adminSessions},
		{"SESSION id", "one session, and why it would or would not be evicted", 1, 1, false, (*client).adminSession},
		{"EVICT id...", "take sessions out of Redis now", 1, -1, true, (*client).adminEvict},
		{"RESTORE id...", "bring sessions into Redis now", 1, -1, true, (*client).adminRestore},
		{"SLOWLOG [GET [n]|LEN|RESET]", "commands that waited long for their session", 0, 2, false, (*client).adminSlowLog},
		{"CHECK", "sample memory and enforce the policy now", 0, 0, true, (*client).adminCheck},
		{"SYNC", "wait until everything is in Postgres", 0, 0, true, (*client).adminSync},
		{"TRACK id [bytes]", "count an access to a session", 1, 2, true, (*client).adminTrack},
		{"CLEAR", "reset the counters", 0, 0, true, (*client).adminClear},
		{"PIN id", "never evict a session", 1, 1, true, (*client).adminPin},
		{"UNPIN id", "let a session be evicted again", 1, 1, true, (*client).adminUnpin},
		{"PAUSE", "stop evicting", 0, 0, true, (*client).adminPause},
		{"RESUME", "evict again", 0, 0, true, (*client).adminResume},
		{"RECORD START|READ|STOP", "record which sessions are used when, for credproxy simulate", 1, 1, true, (*client).adminRecord},
		{"RELOAD", "read the configuration again", 0, 0, true, (*client).adminReload},
		{"HELP", "this text", 0, 0, false, (*client).adminHelp},
	}
}

func (c *client) admin(args [][]byte) {
	if !c.authed {
		c.emit(errorReply(nil, textNoAuth))
		return
	}
	if len(args) < 2 {
		c.emit(errorReply(nil, textArity("credproxy")))
		return
	}
	var rest []string
	for _, a := range args[2:] {
		rest = append(rest, string(a))
	}
	for _, sub := range adminTable() {
		name, _, _ := strings.Cut(sub.usage, " ")
		if !strings.EqualFold(name, string(args[1])) {
			continue
		}
		if len(rest) < sub.min || (sub.max >= 0 && len(rest) > sub.max) {
			c.emit(errorReply(nil, fmt.Sprintf("ERR wrong number of arguments: CREDPROXY %s", sub.usage)))
			return
		}
		if sub.changes && !c.mayAdminister() {
			c.emit(errorReply(nil, textNotAdmin(name)))
			return
		}
		sub.run(c, rest)
		return
	}
	c.emit(errorReply(nil, textUnknownSub("credproxy", args[1])))
}

func (c *client) adminHelp([]string) {
	lines := []string{"CREDPROXY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"}
	for _, sub := range adminTable() {
		lines = append(lines, sub.usage, "    "+sub.help)
	}
	b := resp.AppendArray(nil, len(lines))
	for _, l := range lines {
		b = resp.AppendSimple(b, l)
	}
	c.emit(b)
}

// pair is one line of a map reply: an int64, a float64, a bool or a string.
type pair struct {
	name  string
	value any
}

func appendPairs(b []byte, proto int, pairs []pair) []byte {
	b = resp.AppendMap(b, proto, len(pairs))
	for _, p := range pairs {
		b = resp.AppendBulkString(b, p.name)
		switch v := p.value.(type) {
		case int64:
			b = resp.AppendInt(b, v)
		case int:
			b = resp.AppendInt(b, int64(v))
		case float64:
			b = resp.AppendBulkString(b, strconv.FormatFloat(v, 'f', 1, 64))
		case bool:
			b = resp.AppendBool(b, proto, v)
		case string:
			b = resp.AppendBulkString(b, v)
		}
	}
	return b
}

// adminMemory answers with a fresh sample; if none can be had, that is an error, never an old figure as if it were new.
func (c *client) adminMemory([]string) {
	ctx, cancel := context.WithTimeout(c.ctx, controlTimeout)
	defer cancel()
	if _, err := c.s.policy.sample(ctx); err != nil {
		c.emit(errorReply(nil, textUnavailable(err)))
		return
	}
	st := c.s.Stats()
	c.emit(appendPairs(nil, c.ident.Proto, st.memoryPairs()))
}

func boolInt(v bool) int64 {
	if v {
		return 1
	}
	return 0
}

func (c *client) adminStats([]string) {
	st := c.s.Stats()
	c.emit(appendPairs(nil, c.ident.Proto, st.pairs()))
}

// defaultSessions is how many sessions SESSIONS shows without COUNT, maxSessions the most that it shows.
const (
	defaultSessions = 100
	maxSessions     = 100_000
)

func (c *client) adminCheck([]string) {
	n, err := c.s.Check(c.ctx)
	if err != nil {
		c.emit(errorReply(nil, "ERR credproxy: "+err.Error()))
		return
	}
	c.emit(resp.AppendInt(nil, n))
}

func (c *client) adminSync([]string) {
	ctx, cancel := context.WithTimeout(c.ctx, c.rules.wait)
	defer cancel()
	n, err := c.s.Sync(ctx)
	if err != nil {
		c.emit(errorReply(nil, textTryAgain(err)))
		return
	}
	c.emit(resp.AppendInt(nil, n))
}

func (c *client) adminClear([]string) {
	c.s.stats.reset()
	c.s.thrash.reset()
	c.emit(replyOK)
}

func (c *client) adminPause([]string) {
	c.s.Pause()
	c.emit(replyOK)
}

func (c *client) adminResume([]string) {
	c.s.Resume()
	c.emit(replyOK)
}

// adminReload asks the program to read its configuration again.
func (c *client) adminReload([]string) {
	if c.s.cfg.ReadConfig == nil {
		c.emit(errorReply(nil, "ERR credproxy: there is no configuration file to read again"))
		return
	}
	cfg, err := c.s.cfg.ReadConfig()
	if err != nil {
		c.emit(errorReply(nil, "ERR credproxy: "+err.Error()))
		return
	}
	ignored, err := c.s.Reload(cfg)
	if err != nil {
		c.emit(errorReply(nil, "ERR credproxy: "+err.Error()))
		return
	}
	if len(ignored) > 0 {
		c.s.log.Warn("settings that need a restart were left as they are", "settings", strings.Join(ignored, ", "))
	}
	c.emit(replyOK)
}
