package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"credproxy/keyspace"
)

const minMemory = 1 << 20 // a Redis without any key uses about that much

func (f *file) validate(c *Config) {
	f.validateAddresses(c)
	if c.MaxClients < 1 {
		f.top.report("maxclients", "maxclients is %d: write 1 or more", c.MaxClients)
	}
	if c.ShutdownTimeout <= 0 {
		f.top.report("shutdown_timeout", `shutdown_timeout must be positive: write for instance "30s"`)
	}
	f.validateExposure(c)
	f.validateToken(&c.Admin)
	f.validateMemory(&c.Memory)
	f.validateRestore(&c.Restore)
	if c.Log.Slow < 0 {
		f.log.report("slow", `slow is negative: write for instance "100ms", or "0s" for none`)
	}
	f.validateKeyspaces(c.Keyspaces)
	f.validateIdle(c)
}

// validateAddresses looks for addresses that cannot work together: each by itself would be found out at start.
func (f *file) validateAddresses(c *Config) {
	check := func(s *section, name, addr string) {
		if err := checkAddress(addr); err != nil {
			s.report(name, "%s %v", name, err)
		}
	}
	check(f.top, "listen", c.Listen)
	check(f.upstream, "address", c.Upstream.Address)
	if c.Listen == c.Upstream.Address {
		f.upstream.report("address", "address %s is the proxy's own listen address: give Redis and the proxy different ports", c.Listen)
	}
	if c.Admin.Listen == "" {
		return
	}
	if strings.HasPrefix(c.Admin.Listen, "unix:") {
		f.admin.report("listen", `listen %q is no TCP address: write "127.0.0.1:9180", or "" for none`, c.Admin.Listen)
		return
	}
	check(f.admin, "listen", c.Admin.Listen)
	if c.Admin.Listen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
		f.admin.report("listen", "listen %s is taken by the proxy itself: give the admin pages a port of their own", c.Listen)
	}
}

// checkAddress accepts "host:port" and "unix:///path".
func checkAddress(addr string) error {
	if path, ok := strings.CutPrefix(addr, "unix://"); ok {
		if !filepath.IsAbs(path) {
			return fmt.Errorf(`%q has no absolute path: write "unix:///run/credproxy.sock"`, addr)
		}
		return checkSocket(path)
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf(`%q is no address: write "127.0.0.1:6380" or "unix:///run/credproxy.sock"`, addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q has no valid port: write a number from 1 to 65535", addr)
	}
	return nil
}

// validateMemory reports one thing about the two percentages, the first that is wrong: the others follow from it.
func (f *file) validateMemory(m *Memory) {
	if m.Max < minMemory {
		f.memory.report("max", "max %s is below 1MB: Redis itself needs that much, write more", FormatSize(m.Max))
	}
	switch {
	case m.Threshold < 1 || m.Threshold > 100:
		f.memory.report("threshold", "threshold %d is out of range: write a percentage from 1 to 100", m.Threshold)
	case m.Target < 1 || m.Target > 100:
		f.memory.report("target", "target %d is out of range: write a percentage from 1 to 100, under threshold", m.Target)
	case m.Threshold < m.Target:
		f.memory.report("threshold", "threshold %d is below target %d: set target under threshold", m.Threshold, m.Target)
	case m.Threshold == m.Target:
		f.memory.report("threshold", "threshold and target are both %d: set target under threshold", m.Target)
	}
	if m.CheckInterval <= 0 {
		f.memory.report("check_interval", `check_interval must be positive: write for instance "5m"`)
	}
}

func (f *file) validateRestore(r *Restore) {
	f.validateDSN(r.Postgres)
	if r.SyncInterval <= 0 {
		f.restore.report("sync_interval", `sync_interval must be positive: write for instance "200ms"`)
	}
	if r.Wait <= 0 {
		f.restore.report("wait", `wait must be positive: write for instance "30s"`)
	}
	if r.Sync == SyncOff && strings.TrimSpace(r.Source) == "" {
		f.restore.report("sync", `sync = "off" needs a source, the query that reads the application's own tables: write `+
			`source { query = "SELECT ... WHERE session_id = $1" }, or sync = "behind" to have every write saved`)
	}
}

// validateDSN looks at the form only; that the server can be reached is found out at start. No part of a DSN is ever
// repeated in a message, because a password with odd characters can end up in any part of a badly read one.
func (f *file) validateDSN(dsn string) {
	switch missing := f.restore.wanted("postgres"); {
	case strings.TrimSpace(dsn) == "" && missing != "":
		f.restore.report("postgres", "postgres is empty: set %s in the environment", missing)
	case strings.TrimSpace(dsn) == "":
		f.restore.report("postgres", `postgres is missing: write postgres = "postgres://user:password@host:5432/database" or env("DATABASE_URL")`)
	case !wellFormedDSN(dsn):
		f.restore.report("postgres", "postgres is no connection string (not shown, it may hold a password): "+
			"write postgres://user:password@host:5432/database, special characters percent-encoded")
	}
}

// wellFormedDSN accepts both forms that libpq has.
func wellFormedDSN(dsn string) bool {
	if u, isURL := parseURL(dsn); isURL {
		return u != nil
	}
	// The other form: key=value pairs, of which the first shows what it is.
	key, _, found := strings.Cut(strings.TrimSpace(dsn), "=")
	return found && key != "" && !strings.ContainsAny(key, " :/@")
}

// parseURL returns the DSN as a URL: isURL says that it has the form of one, u is nil when it is a bad one.
func parseURL(dsn string) (u *url.URL, isURL bool) {
	if !strings.Contains(dsn, "://") {
		return nil, false
	}
	u, err := url.Parse(strings.TrimSpace(dsn))
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return nil, true
	}
	return u, true
}

// validateKeyspaces reports each keyspace's own mistakes at its own line, and what is between two keyspaces (a pattern
// that can match the other's keys) only when each is right by itself.
func (f *file) validateKeyspaces(specs []keyspace.Spec) {
	if len(specs) == 0 {
		f.top.report("keyspace", `no keyspace: write keyspace "baileys" { keys = ["wa:auth:{session}:creds"] }`)
		return
	}
	before := len(f.problems)
	first := map[string]int{}
	for i, spec := range specs {
		if at, again := first[spec.Name]; again {
			f.keyspaces[i].report("", "declared a second time: give it another name than the one on line %d", at)
			continue
		}
		first[spec.Name] = f.keyspaces[i].at
		f.compile(specs[i:i+1], func(error) *section { return f.keyspaces[i] })
	}
	if len(f.problems) == before && len(specs) > 1 {
		f.compile(specs, func(err error) *section { return f.blamed(specs, err) })
	}
}

func (f *file) compile(specs []keyspace.Spec, blame func(error) *section) {
	_, err := keyspace.Compile(specs)
	eachError(err, func(e error) {
		s := blame(e)
		// The message names its keyspace first, and so does the line that it becomes part of.
		text := strings.TrimLeft(strings.TrimPrefix(e.Error(), s.label), ":, ")
		s.report("keys", "%s", text)
	})
}

// blamed finds the last keyspace that an error names: of two that clash, the later one is the addition.
func (f *file) blamed(specs []keyspace.Spec, err error) *section {
	for i := len(specs) - 1; i > 0; i-- {
		if strings.Contains(err.Error(), strconv.Quote(specs[i].Name)) {
			return f.keyspaces[i]
		}
	}
	return f.keyspaces[0]
}
