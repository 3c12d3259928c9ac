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
	through bool
}

const (
	allowed = 1
	denied  = 2
)

func newRules(t *keyspace.Table, cfg Config) *rules {
	r := &rules{deny: map[string]bool{}, verdict: make([]atomic.Uint32, t.Len()), flush: cfg.Flush, wait: cfg.Sync.Wait,
		through: cfg.Sync.Mode == SyncThrough}
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

func (r *rules) judge(c *keyspace.Command) uint32 {
	container, _, _ := strings.Cut(c.Name, "|")
	if r.deny[c.Name] || r.deny[container] {
		return denied
	}
	return allowed
}
