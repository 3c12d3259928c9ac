package config

import (
	"fmt"
	"net/url"
	"strings"
)

// hidden stands where a secret is set.
const hidden = "(set)"

// Render writes the effective configuration as HCL, with secrets replaced by "(set)".
func (c *Config) Render() []byte {
	p := &printer{}
	p.text("listen", c.Listen)
	if strings.HasPrefix(c.Listen, "unix:") {
		p.text("listen_mode", fmt.Sprintf("%04o", c.ListenMode))
	}
	p.boolean("protected_mode", c.ProtectedMode)
	p.number("maxclients", c.MaxClients)
	p.text("idle_timeout", FormatDuration(c.IdleTimeout))
	p.text("auth_timeout", FormatDuration(c.AuthTimeout))
	p.text("tcp_keepalive", FormatDuration(c.TCPKeepAlive))
	p.text("shutdown_timeout", FormatDuration(c.ShutdownTimeout))
	p.text("flush", c.Flush)
	p.list("deny", c.Deny)
	c.renderExposure(p)
	for _, spec := range c.Keyspaces {
		p.block("keyspace "+quote(spec.Name), func() {
			p.list("keys", spec.Patterns)
			if spec.DB >= 0 {
				p.number("db", spec.DB)
			}
			c.Memory.Keyspaces[spec.Name].render(p)
		})
	}
	p.block("memory", func() {
		if c.Memory.MaxUnset {
			p.set("# max", quote(FormatSize(c.Memory.Max))+" # not set: Redis's own maxmemory, this if it has none")
		} else {
			p.text("max", FormatSize(c.Memory.Max))
		}
		p.number("threshold", c.Memory.Threshold)
		p.number("target", c.Memory.Target)
		p.text("check_interval", FormatDuration(c.Memory.CheckInterval))
		p.text("inactivity_ttl", FormatDuration(c.Memory.InactivityTTL))
		p.text("min_idle", FormatDuration(c.Memory.MinIdle))
		p.text("policy", c.Memory.Policy)
	})
	p.block("restore", func() {
		p.text("postgres", RedactDSN(c.Restore.Postgres))
		p.text("sync", c.Restore.Sync)
		p.text("sync_interval", FormatDuration(c.Restore.SyncInterval))
		p.text("wait", FormatDuration(c.Restore.Wait))
		p.boolean("pooler", c.Restore.Pooler)
		c.Restore.Signing.render(p)
		if c.Restore.Source != "" {
			p.block("source", func() { p.text("query", c.Restore.Source) })
		}
	})
	p.block("admin", func() {
		p.text("listen", c.Admin.Listen)
		if c.Admin.Users != nil {
			p.list("users", c.Admin.Users)
		}
		switch {
		case c.Admin.TokenFile != "":
			p.text("token_file", c.Admin.TokenFile)
		case c.Admin.Token != "":
			p.text("token", hidden)
		}
	})
	p.block("log", func() {
		p.text("level", c.Log.Level)
		p.text("format", c.Log.Format)
		p.text("slow", FormatDuration(c.Log.Slow))
	})
	p.flush()
	return p.out
}

// renderExposure writes what stands on both sides of the proxy.
func (c *Config) renderExposure(p *printer) {
	if t := c.TLS; t != nil {
		p.block("tls", func() { p.texts("cert", t.Cert, "key", t.Key, "client_ca", t.ClientCA) })
	}
	if c.Auth != nil {
		p.block("auth", func() {
			for _, u := range c.Auth.Users {
				if u.Name == "default" {
					p.secret("password", u.Password, u.PasswordFile)
					continue
				}
				p.block("user "+quote(u.Name), func() { p.secret("password", u.Password, u.PasswordFile) })
			}
		})
	}
	p.block("upstream", func() {
		p.text("address", c.Upstream.Address)
		p.text("username", c.Upstream.Username)
		p.secret("password", c.Upstream.Password, c.Upstream.PasswordFile)
		if t := c.Upstream.TLS; t.On {
			p.block("tls", func() {
				p.texts("ca", t.CA, "cert", t.Cert, "key", t.Key, "server_name", t.ServerName)
				if t.Insecure {
					p.boolean("insecure", true)
				}
			})
		}
	})
}

// texts writes those of the settings that are not empty.
func (p *printer) texts(pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			p.text(pairs[i], pairs[i+1])
		}
	}
}

// secret says where a password or a secret comes from, or that there is one.
func (p *printer) secret(name, value, path string) {
	if path != "" {
		p.text(name+"_file", path)
		return
	}
	p.text(name, redact(value))
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
