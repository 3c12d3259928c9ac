package config

import "net/url"

// hidden stands where a secret is set.
const hidden = "(set)"

// Render writes the effective configuration as HCL, with secrets replaced by "(set)".
func (c *Config) Render() []byte {
	p := &printer{}
	p.text("listen", c.Listen)
	p.number("maxclients", c.MaxClients)
	p.text("shutdown_timeout", FormatDuration(c.ShutdownTimeout))
	p.text("flush", c.Flush)
	p.list("deny", c.Deny)
	p.block("upstream", func() {
		p.text("address", c.Upstream.Address)
		p.text("username", c.Upstream.Username)
		p.text("password", redact(c.Upstream.Password))
	})
	for _, spec := range c.Keyspaces {
		p.block("keyspace "+quote(spec.Name), func() {
			p.list("keys", spec.Patterns)
			if spec.DB >= 0 {
				p.number("db", spec.DB)
			}
		})
	}
	p.block("memory", func() {
		p.text("max", FormatSize(c.Memory.Max))
		p.number("threshold", c.Memory.Threshold)
		p.number("target", c.Memory.Target)
		p.text("check_interval", FormatDuration(c.Memory.CheckInterval))
		p.text("inactivity_ttl", FormatDuration(c.Memory.InactivityTTL))
	})
	p.block("restore", func() {
		p.text("postgres", RedactDSN(c.Restore.Postgres))
		p.text("sync", c.Restore.Sync)
		p.text("sync_interval", FormatDuration(c.Restore.SyncInterval))
		p.text("wait", FormatDuration(c.Restore.Wait))
		if c.Restore.Source != "" {
			p.block("source", func() { p.text("query", c.Restore.Source) })
		}
	})
	p.block("admin", func() { p.text("listen", c.Admin.Listen) })
	p.block("log", func() {
		p.text("level", c.Log.Level)
		p.text("format", c.Log.Format)
	})
	p.flush()
	return p.out
}

func redact(secret string) string {
	if secret == "" {
		return ""
	}
	return hidden
}

// RedactDSN keeps of a URL what says which server it is: user, host, database. Query parameters may hold a password,
// and the key=value form is not taken apart, so both are hidden whole.
func RedactDSN(dsn string) string {
	u, _ := parseURL(dsn)
	if u == nil {
		return redact(dsn)
	}
	show := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	shown := show.String()
	if u.User != nil {
		user := u.User.Username()
		if _, has := u.User.Password(); has {
			user += ":" + hidden
		}
		shown = u.Scheme + "://" + user + "@" + u.Host + u.Path
	}
	if u.RawQuery != "" {
		shown += "?" + hidden
	}
	return shown
}
