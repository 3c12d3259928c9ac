package proxy

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

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
		{"SESSIONS [ORDER lru|hits|bytes] [COUNT n]", "the first sessions in an order", 0, 4, false, (*client).adminSessions},
		{"SESSION id", "one session, and why it would or would not be evicted", 1, 1, false, (*client).adminSession},
		{"EVICT id...", "take sessions out of Redis now", 1, -1, true, (*client).adminEvict},
		{"RESTORE id...", "bring sessions into Redis now", 1, -1, true, (*client).adminRestore},
		{"CHECK", "sample memory and enforce the policy now", 0, 0, true, (*client).adminCheck},
		{"SYNC", "wait until everything is in Postgres", 0, 0, true, (*client).adminSync},
		{"TRACK id [bytes]", "count an access to a session", 1, 2, true, (*client).adminTrack},
		{"CLEAR", "reset the counters", 0, 0, true, (*client).adminClear},
		{"PIN id", "never evict a session", 1, 1, true, (*client).adminPin},
		{"UNPIN id", "let a session be evicted again", 1, 1, true, (*client).adminUnpin},
		{"PAUSE", "stop evicting", 0, 0, true, (*client).adminPause},
		{"RESUME", "evict again", 0, 0, true, (*client).adminResume},
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

func (s *Server) memoryPairs() []pair {
	m, cfg, _ := s.policy.snapshot()
	at := int64(0)
	if !m.at.IsZero() {
		at = m.at.UnixMilli()
	}
	return []pair{
		{"used_bytes", m.used}, {"max_bytes", cfg.Budget.Max}, {"percent_used", percentOf(m.used, cfg.Budget)},
		{"threshold", cfg.Budget.Threshold}, {"target", cfg.Budget.Target}, {"sampled_at", at},
	}
}

// adminMemory answers with a fresh sample; if none can be had, that is an error, never an old figure as if it were new.
func (c *client) adminMemory([]string) {
	ctx, cancel := context.WithTimeout(c.ctx, controlTimeout)
	defer cancel()
	if _, err := c.s.policy.sample(ctx); err != nil {
		c.emit(errorReply(nil, textUnavailable(err)))
		return
	}
	c.emit(appendPairs(nil, c.ident.Proto, c.s.memoryPairs()))
}

// statsPairs is what STATS, INFO and the metrics show.
func (s *Server) statsPairs() []pair {
	var pairs []pair
	for _, p := range s.memoryPairs() {
		pairs = append(pairs, pair{"memory_" + p.name, p.value})
	}
	out := s.countStates()
	p50, p99 := s.stats.percentiles()
	st := &s.stats
	return append(pairs,
		pair{"sessions_tracked", out[resident] + out[evicted] + out[unknown] + out[loading] + out[evicting]},
		pair{"sessions_resident", out[resident] + out[evicting]},
		pair{"sessions_evicted", out[evicted]},
		pair{"dirty_keys", s.saver.queue.keys.Load()},
		pair{"evictions", st.evictions.Load()},
		pair{"inactivity_evictions", st.inactivity.Load()},
		pair{"restores", st.restores.Load()},
		pair{"restore_errors", st.restoreErrors.Load()},
		pair{"hits", st.hits.Load()},
		pair{"misses", st.misses.Load()},
		pair{"restore_p50_us", p50.Microseconds()},
		pair{"restore_p99_us", p99.Microseconds()},
		pair{"sync_lag_ms", s.saver.lag()},
		pair{"saved_keys", s.saver.saved.Load()},
		pair{"clients", s.clients.count()},
		pair{"commands", st.commands.Load()},
		pair{"oom_rescues", st.rescues.Load()},
		pair{"adoption_pending", s.adopter.pending()},
		pair{"adoption_keys", s.adopter.keys.Load()},
		pair{"adoption_keys_total", s.adopter.all.Load()},
		pair{"paused", boolInt(s.policy.paused.Load())},
		pair{"enforcing", boolInt(s.enforcing())},
		pair{"uptime_seconds", int64(time.Since(s.started).Seconds())},
	)
}

func boolInt(v bool) int64 {
	if v {
		return 1
	}
	return 0
}

func (s *Server) countStates() [5]int64 {
	var n [5]int64
	s.sessions.table.Range(func(_ *shard, it *item) bool {
		n[it.Value.state]++
		return true
	})
	return n
}

func (c *client) adminStats([]string) {
	c.emit(appendPairs(nil, c.ident.Proto, c.s.statsPairs()))
}

// defaultSessions is how many sessions SESSIONS shows without COUNT, maxSessions the most that it shows.
const (
	defaultSessions = 100
	maxSessions     = 100_000
)

func (c *client) adminCheck([]string) {
	ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
	defer cancel()
	before := c.s.stats.inactivity.Load()
	c.s.policy.inactive(ctx)
	n, err := c.s.policy.enforce(ctx)
	if err != nil {
		c.emit(errorReply(nil, "ERR credproxy: "+err.Error()))
		return
	}
	c.emit(resp.AppendInt(nil, int64(n)+c.s.stats.inactivity.Load()-before))
}

func (c *client) adminSync([]string) {
	ctx, cancel := context.WithTimeout(c.ctx, c.rules.wait)
	defer cancel()
	n, err := c.s.saver.sync(ctx)
	if err != nil {
		c.emit(errorReply(nil, textTryAgain(fmt.Errorf("%d keys are not in Postgres yet: %w", c.s.saver.queue.keys.Load(), err))))
		return
	}
	c.emit(resp.AppendInt(nil, n))
}

func (c *client) adminClear([]string) {
	st := &c.s.stats
	for _, n := range []interface{ Store(int64) }{&st.evictions, &st.inactivity, &st.restores, &st.restoreErrors, &st.hits,
		&st.misses, &st.commands, &st.rescues} {
		n.Store(0)
	}
	st.mu.Lock()
	st.latency, st.next = nil, 0
	st.mu.Unlock()
	c.emit(replyOK)
}

func (c *client) adminPause([]string) {
	c.s.policy.paused.Store(true)
	c.s.log.Warn("eviction is paused")
	c.emit(replyOK)
}

func (c *client) adminResume([]string) {
	c.s.policy.paused.Store(false)
	c.s.policy.wake()
	c.s.log.Info("eviction is resumed")
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
