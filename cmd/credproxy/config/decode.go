package config

import (
	"fmt"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"credproxy/keyspace"
	"credproxy/lru"
)

// decode fills c from the file's body and then checks what was read. Checks that span several settings run only on a
// file whose settings could be read one by one: after a typo they would complain about defaults nobody chose.
func (r *reader) decode(c *Config, body *hclsyntax.Body) {
	top := r.open("", 0, body,
		[]string{"listen", "listen_mode", "protected_mode", "maxclients", "idle_timeout", "auth_timeout", "tcp_keepalive",
			"shutdown_timeout", "flush", "deny"},
		[]string{"upstream", "keyspace", "memory", "restore", "admin", "log", "tls", "auth"})
	top.text("listen", &c.Listen)
	parsed(top, "listen_mode", &c.ListenMode, socketMode)
	top.boolean("protected_mode", &c.ProtectedMode)
	top.number("maxclients", &c.MaxClients)
	top.duration("idle_timeout", &c.IdleTimeout)
	top.duration("auth_timeout", &c.AuthTimeout)
	top.duration("tcp_keepalive", &c.TCPKeepAlive)
	top.duration("shutdown_timeout", &c.ShutdownTimeout)
	top.oneOf("flush", &c.Flush, "deny", "all")
	top.denyList(&c.Deny)

	f := &file{reader: r, top: top}
	f.upstream = f.single("upstream", []string{"address", "username", "password", "password_file"}, []string{"tls"}, func(s *section) {
		f.decodeUpstream(c, s)
	})
	f.memory = f.single("memory", []string{"max", "threshold", "target", "check_interval", "inactivity_ttl", "min_idle", "policy"}, nil, func(s *section) {
		c.Memory.MaxUnset = s.body.Attributes["max"] == nil
		s.size("max", &c.Memory.Max)
		s.number("threshold", &c.Memory.Threshold)
		s.number("target", &c.Memory.Target)
		s.duration("check_interval", &c.Memory.CheckInterval)
		s.duration("inactivity_ttl", &c.Memory.InactivityTTL)
		s.duration("min_idle", &c.Memory.MinIdle)
		s.oneOf("policy", &c.Memory.Policy, policyNames()...)
	})
	f.restore = f.single("restore", restoreSettings, []string{"source"}, func(s *section) {
		f.decodeRestore(c, s)
	})
	f.admin = f.single("admin", []string{"listen", "users", "token", "token_file"}, nil, func(s *section) { s.decodeAdmin(&c.Admin) })
	f.single("auth", []string{"password", "password_file"}, []string{"user"}, func(s *section) { f.decodeAuth(c, s) })
	f.log = f.single("log", []string{"level", "format", "slow"}, nil, func(s *section) {
		s.oneOf("level", &c.Log.Level, "trace", "debug", "info", "warn", "error", "off")
		s.oneOf("format", &c.Log.Format, "text", "json")
		s.duration("slow", &c.Log.Slow)
	})
	f.tls = f.single("tls", []string{"cert", "key", "client_ca"}, nil, func(s *section) {
		c.TLS = &TLS{}
		s.text("cert", &c.TLS.Cert)
		s.text("key", &c.TLS.Key)
		s.text("client_ca", &c.TLS.ClientCA)
	})
	f.decodeKeyspaces(c)
	if len(r.problems) == 0 {
		f.validate(c)
	}
}

func policyNames() (names []string) {
	for _, p := range lru.Policies() {
		names = append(names, string(p))
	}
	return names
}

// file is a decoded file: its sections say on which line a setting stands. A block that is absent is an empty section.
type file struct {
	*reader
	top       *section
	upstream  *section
	keyspaces []*section // in the order of Config.Keyspaces
	memory    *section
	restore   *section
	log       *section
	source    *section // nil: none
	admin     *section
	tls       *section

	upstreamTLS *section // nil: none
}

// single opens a block that may stand once and hands it to read.
func (f *file) single(name string, settings, blocks []string, read func(*section)) *section {
	b := f.top.block(name)
	if b == nil {
		return &section{r: f.reader, label: name, body: &hclsyntax.Body{}, unset: map[string][]string{}}
	}
	s := f.open(name, f.line(b.TypeRange.Start.Line), b.Body, settings, blocks)
	read(s)
	return s
}

var restoreSettings = []string{"postgres", "sync", "sync_interval", "wait", "pooler",
	"secret", "secret_file", "previous_secrets", "previous_secret_files", "secret_accept_unsigned"}

// decodeRestore reads the block and the one inside it.
func (f *file) decodeRestore(c *Config, s *section) {
	s.text("postgres", &c.Restore.Postgres)
	s.oneOf("sync", &c.Restore.Sync, SyncBehind, SyncThrough, SyncOff)
	s.duration("sync_interval", &c.Restore.SyncInterval)
	s.duration("wait", &c.Restore.Wait)
	s.boolean("pooler", &c.Restore.Pooler)
	s.decodeSigning(&c.Restore.Signing)
	if b := s.block("source"); b != nil {
		f.source = f.open("restore: source", f.line(b.TypeRange.Start.Line), b.Body, []string{"query"}, nil)
		f.source.text("query", &c.Restore.Source)
	}
}

// decodeKeyspaces keeps the order of the file: with it the problems of two keyspaces that clash are always the same.
func (f *file) decodeKeyspaces(c *Config) {
	for _, b := range f.top.body.Blocks {
		if b.Type != "keyspace" {
			continue
		}
		line := f.line(b.TypeRange.Start.Line)
		if len(b.Labels) != 1 {
			f.report(line, "keyspace", `needs one name: write keyspace "baileys" { ... }`)
			continue
		}
		s := f.open(fmt.Sprintf("keyspace %q", b.Labels[0]), line, b.Body, []string{"keys", "db", "max", "inactivity_ttl", "min_idle"}, nil)
		spec := keyspace.Spec{Name: b.Labels[0], DB: -1}
		s.list("keys", &spec.Patterns)
		if s.number("db", &spec.DB); spec.DB < 0 && s.body.Attributes["db"] != nil {
			s.report("db", "db %d is no database: write 0 or more, or leave it out for any database", spec.DB)
		}
		s.decodeKeyspaceMemory(&c.Memory, spec.Name)
		c.Keyspaces = append(c.Keyspaces, spec)
		f.keyspaces = append(f.keyspaces, s)
	}
}

// denyList reads `deny` and brings its commands into one form: upper case, one space, no repeats.
func (s *section) denyList(dst *[]string) {
	s.list("deny", dst)
	if s.body.Attributes["deny"] == nil {
		return
	}
	seen := map[string]bool{}
	out := make([]string, 0, len(*dst))
	for _, entry := range *dst {
		words := strings.Fields(strings.ToUpper(strings.ReplaceAll(entry, "|", " ")))
		if len(words) == 0 || len(words) > 2 {
			s.report("deny", `deny %q is no command: write "NAME" or "NAME SUBCOMMAND"`, entry)
			continue
		}
		if name := strings.Join(words, " "); !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	*dst = out
}

// wanted names the unset variables that left a setting empty, for messages.
func (s *section) wanted(name string) string {
	vars := append([]string(nil), s.unset[name]...)
	sort.Strings(vars)
	return strings.Join(vars, ", ")
}
