package config

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"credproxy/internal/certs"
	"credproxy/proxy"
)

// This file reads and checks who may reach the proxy and how: sockets, TLS, passwords, admins.

// maxKeepAlive is the most that Linux takes for TCP_KEEPIDLE.
const maxKeepAlive = 32767 * time.Second

// maxSocketPath is how long the path of a Unix socket may be on Linux, in bytes.
const maxSocketPath = 107

func (f *file) decodeUpstream(c *Config, s *section) {
	u := &c.Upstream
	s.text("address", &u.Address)
	s.text("username", &u.Username)
	s.secret("password", &u.Password, &u.PasswordFile)
	if b := s.block("tls"); b != nil {
		u.TLS.On = true
		f.upstreamTLS = f.open("upstream: tls", f.line(b.TypeRange.Start.Line), b.Body,
			[]string{"ca", "cert", "key", "server_name", "insecure"}, nil)
		f.upstreamTLS.text("ca", &u.TLS.CA)
		f.upstreamTLS.text("cert", &u.TLS.Cert)
		f.upstreamTLS.text("key", &u.TLS.Key)
		f.upstreamTLS.text("server_name", &u.TLS.ServerName)
		f.upstreamTLS.boolean("insecure", &u.TLS.Insecure)
	}
}

// decodeAuth reads the users of the proxy's own: the one without a name, and those in blocks.
func (f *file) decodeAuth(c *Config, s *section) {
	c.Auth = &Auth{}
	if s.body.Attributes["password"] != nil || s.body.Attributes["password_file"] != nil {
		f.addUser(c.Auth, s, "default")
	}
	for _, b := range s.body.Blocks {
		if b.Type != "user" {
			continue
		}
		line := f.line(b.TypeRange.Start.Line)
		if len(b.Labels) != 1 || b.Labels[0] == "" {
			f.report(line, "auth", `a user needs one name: write user "ops" { ... }`)
			continue
		}
		user := f.open(fmt.Sprintf("auth: user %q", b.Labels[0]), line, b.Body, []string{"password", "password_file"}, nil)
		f.addUser(c.Auth, user, b.Labels[0])
	}
	if c.Auth.Users == nil && len(s.body.Blocks) == 0 {
		s.report("password", `no password: write password = env("CREDPROXY_PASSWORD"), password_file = "/path", or a user block`)
	}
	if f.top.body.Attributes["deny"] == nil {
		c.Deny = append(c.Deny, proxy.OwnUsersDeny()...)
	}
}

func (f *file) addUser(a *Auth, s *section, name string) {
	if slices.ContainsFunc(a.Users, func(u User) bool { return u.Name == name }) {
		s.report("", "user %q stands here a second time: remove one", name)
	}
	u := User{Name: name}
	s.secret("password", &u.Password, &u.PasswordFile)
	a.Users = append(a.Users, u)
	if u.Password != "" {
		return
	}
	switch missing := s.wanted("password"); {
	case s.body.Attributes["password_file"] != nil: // what is wrong with it has been reported
	case missing != "":
		s.report("password", "password is empty: set %s in the environment", missing)
	default:
		s.report("password", `password is empty: write password = env("CREDPROXY_PASSWORD") or password_file = "/path"`)
	}
}

// secret reads a password or a secret, or the file that it is in: name_file.
func (s *section) secret(name string, value, path *string) {
	inFile := name + "_file"
	s.text(name, value)
	if s.text(inFile, path); s.body.Attributes[inFile] == nil {
		return
	}
	if s.body.Attributes[name] != nil {
		s.report(inFile, "%s and %s are both set: remove one", name, inFile)
		return
	}
	*value = s.secretFrom(inFile, name, *path)
}

// secretFrom reads a file with one secret, which setting names.
func (s *section) secretFrom(setting, what, path string) string {
	data, err := certs.ReadFile(path)
	if err != nil {
		s.report(setting, "%s: %v", setting, err)
		return ""
	}
	// Editors and `echo` end the file with a line end, which belongs to no password.
	value := strings.TrimRight(string(data), "\r\n")
	if value == "" {
		s.report(setting, "%s: %s is empty: write the %s into it", setting, path, what)
	}
	return value
}

// socketMode reads permission bits as chmod takes them.
func socketMode(text string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o777 || n&0o600 != 0o600 {
		return 0, fmt.Errorf(`%q are no permissions of a socket: write for instance "0660", the owner's included`, text)
	}
	return fs.FileMode(n), nil
}

func (f *file) validateExposure(c *Config) {
	if f.top.body.Attributes["listen_mode"] != nil && !strings.HasPrefix(c.Listen, "unix:") {
		f.top.report("listen_mode", "listen_mode is for a Unix socket and listen is %s: remove it", c.Listen)
	}
	f.validateTimeouts(c)
	f.validateTLS(c)
	f.validateUpstreamTLS(&c.Upstream)
	if c.Auth == nil {
		return
	}
	for _, name := range c.Admin.Users {
		if !slices.ContainsFunc(c.Auth.Users, func(u User) bool { return u.Name == name }) {
			f.admin.report("users", "users names %q, who is not in auth: add the user or remove the name", name)
		}
	}
}

// validateTimeouts refuses what would cut off honest clients, and what the kernel cannot keep: it counts in seconds.
func (f *file) validateTimeouts(c *Config) {
	for _, d := range []struct {
		name string
		set  time.Duration
	}{{"idle_timeout", c.IdleTimeout}, {"auth_timeout", c.AuthTimeout}, {"tcp_keepalive", c.TCPKeepAlive}} {
		if d.set != 0 && d.set < time.Second {
			f.top.report(d.name, `%s is %s: write "1s" or more, or "0s" for none`, d.name, FormatDuration(d.set))
		}
	}
	if c.TCPKeepAlive%time.Second != 0 || c.TCPKeepAlive > maxKeepAlive {
		f.top.report("tcp_keepalive", `tcp_keepalive is %s: write whole seconds, "32767s" at most`, FormatDuration(c.TCPKeepAlive))
	}
}

func (f *file) validateTLS(c *Config) {
	switch {
	case c.TLS == nil:
	case strings.HasPrefix(c.Listen, "unix:"):
		f.tls.report("", "listen is a Unix socket, which no stranger can read along: remove the block")
	case c.TLS.Cert == "" || c.TLS.Key == "":
		f.tls.report("", "cert and key are both needed: name two PEM files")
	default:
		f.checkCerts(f.tls, certs.Files{Cert: c.TLS.Cert, Key: c.TLS.Key, CA: c.TLS.ClientCA})
	}
}

func (f *file) validateUpstreamTLS(u *Upstream) {
	switch t := u.TLS; {
	case !t.On:
	case strings.HasPrefix(u.Address, "unix:"):
		f.upstreamTLS.report("", "address is a Unix socket, on which Redis speaks no TLS: remove the block")
	case (t.Cert == "") != (t.Key == ""):
		f.upstreamTLS.report("", "cert and key go together: write both or none")
	case t.Insecure && t.CA != "":
		f.upstreamTLS.report("insecure", "insecure believes any certificate, ca only those of its own: remove one")
	default:
		f.checkCerts(f.upstreamTLS, certs.Files{Cert: t.Cert, Key: t.Key, CA: t.CA})
	}
}

func (f *file) checkCerts(s *section, files certs.Files) {
	if _, err := certs.Open(files, nil); err != nil {
		s.report("", "%v: name PEM files that the proxy may read", err)
	}
}

// checkSocket accepts the absolute path of a Unix socket.
func checkSocket(path string) error {
	if len(path) > maxSocketPath {
		return errors.New("has a path of more than 107 bytes, which no socket can have: write a shorter one")
	}
	return nil
}
