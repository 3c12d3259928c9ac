package proxy

import (
	"strings"
	"sync/atomic"
	"time"

	"credproxy/keyspace"
)

// rules are the parts of the configuration that every command looks at; a reload replaces them as a whole.
type rules struct {
	deny    map[string]bool // command names as in the table; a container denies its subcommands
	verdict []atomic.Uint32 // by Command.Index: 0 not asked yet, 1 allowed, 2 denied
	flush   FlushPolicy
	wait    time.Duration
	slow    time.Duration // commands that wait this long for their session are in the slow log; 0: none are
	through bool
	own     passwords // nil: Redis judges AUTH
	admins  []string  // who may run the CREDPROXY commands that change something; nil: everyone
	open    bool      // clients of other machines are served also without a password
}

const (
	allowed = 1
	denied  = 2
)

func newRules(t *keyspace.Table, cfg Config) *rules {
	r := &rules{deny: map[string]bool{}, verdict: make([]atomic.Uint32, t.Len()), flush: cfg.Flush, wait: cfg.Sync.Wait, slow: cfg.SlowWait,
		through: cfg.Sync.Mode == SyncThrough, own: newPasswords(cfg.Exposure.Passwords), admins: cfg.Exposure.Admins,
		open: !cfg.Exposure.Protected}
	for _, name := range cfg.Deny {
		r.deny[strings.Join(strings.Fields(strings.ToUpper(name)), "|")] = true
	}
	return r
}

// denies reports whether clients are refused the command.
func (r *rules) denies(c *keyspace.Command) bool {
	if c.Index >= len(r.verdict) { // learned after these rules were made
		return r.judge(c) == denied
	}
	v := r.verdict[c.Index].Load()
	if v == 0 {
		v = r.judge(c)
		r.verdict[c.Index].Store(v)
	}
	return v == denied
}

// denied reports whether the client is refused a command, also one that the table does not know: a subcommand newer than the
// table is denied with its container.
func (c *client) denied(cmd *keyspace.Command, args [][]byte) bool {
	if cmd == nil {
		cmd = c.s.table.Lookup(args[:min(len(args), 1)])
	}
	return cmd != nil && c.rules.denies(cmd)
}

// nameOf is how messages call a command.
func nameOf(cmd *keyspace.Command, args [][]byte) string {
	if cmd != nil {
		return cmd.Name
	}
	return strings.ToUpper(string(args[0]))
}

func (r *rules) judge(c *keyspace.Command) uint32 {
	container, _, _ := strings.Cut(c.Name, "|")
	if r.deny[c.Name] || r.deny[container] {
		return denied
	}
	return allowed
}
