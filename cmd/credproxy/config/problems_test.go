package config

import (
	"errors"
	"strings"
	"testing"
)

// Each case is appended to the minimal file, so that its first line is line 8; the wanted text is the whole message.
func TestProblems(t *testing.T) {
	cases := []struct{ name, src, want string }{
		{"unknown setting", "lisen = 1\n", `proxy.hcl:8: unknown name "lisen": known here are admin, auth, auth_timeout, deny, flush, idle_timeout, keyspace, listen, listen_mode, log, maxclients, memory, protected_mode, restore, shutdown_timeout, tcp_keepalive, tls, upstream`},
		{"unknown setting in a block", "memory {\n  maxx = 1\n}\n", `proxy.hcl:9: memory: unknown name "maxx": known here are check_interval, inactivity_ttl, max, min_idle, policy, target, threshold`},
		{"unknown block", "redis {}\n", `proxy.hcl:8: unknown block "redis": known here are admin, auth, auth_timeout, deny, flush, idle_timeout, keyspace, listen, listen_mode, log, maxclients, memory, protected_mode, restore, shutdown_timeout, tcp_keepalive, tls, upstream`},
		{"block as setting", "memory = 5\n", `proxy.hcl:8: memory is a block: write memory { ... } without "="`},
		{"setting as block", "listen {}\n", `proxy.hcl:8: listen is a setting: write listen = ...`},
		{"second block", "memory {}\nmemory {}\n", "proxy.hcl:9: a second memory block: merge it into the one on line 8"},
		{"labelled block", "memory \"x\" {}\n", "proxy.hcl:8: memory takes no name: write memory { ... }"},
		{"keyspace without name", "keyspace {\n}\n", `proxy.hcl:8: keyspace: needs one name: write keyspace "baileys" { ... }`},
		{"keyspace twice", "keyspace \"baileys\" {\n  keys = [\"a:{session}\"]\n}\n", `proxy.hcl:8: keyspace "baileys": declared a second time: give it another name than the one on line 2`},
		{"negative db", "keyspace \"b\" {\n  keys = [\"b:{session}\"]\n  db = -1\n}\n", `proxy.hcl:10: keyspace "b": db -1 is no database: write 0 or more, or leave it out for any database`},

		{"bad size", "memory {\n  max = \"1XB\"\n}\n", `proxy.hcl:9: memory: max "1XB" is not a size: write "512MB", "1GB" or a number of bytes`},
		{"no unit", "memory {\n  check_interval = 5\n}\n", `proxy.hcl:9: memory: check_interval "5" has no unit: write "5ms", "5s" or "5m"`},
		{"bad duration", "memory {\n  check_interval = \"soon\"\n}\n", `proxy.hcl:9: memory: check_interval "soon" is not a duration: write "200ms", "30s", "5m", "168h" or "7d"`},
		{"wrong type", "maxclients = \"many\"\n", "proxy.hcl:8: maxclients has the wrong type: write a whole number without quotes"},
		{"fraction", "maxclients = 1.5\n", "proxy.hcl:8: maxclients is not a whole number: write one"},
		{"list for text", "listen = [\"a\"]\n", `proxy.hcl:8: listen has the wrong type: write text in "quotes"`},
		{"text for list", "deny = \"SHUTDOWN\"\n", `proxy.hcl:8: deny has the wrong type: write a list, ["one", "two"]`},
		{"null", "listen = null\n", "proxy.hcl:8: listen is null: give it a value or leave the line out for the default"},
		{"null in list", "deny = [null]\n", "proxy.hcl:8: deny has a null element: remove it"},
		{"unknown word", "flush = \"maybe\"\n", `proxy.hcl:8: flush "maybe" is unknown: write one of deny, all`},
		{"unknown level", "log {\n  level = \"loud\"\n}\n", `proxy.hcl:9: log: level "loud" is unknown: write one of trace, debug, info, warn, error, off`},
		{"negative slow", "log {\n  slow = \"-1s\"\n}\n", `proxy.hcl:9: log: slow is negative: write for instance "100ms", or "0s" for none`},
		{"bad deny", "deny = [\"CONFIG SET x\"]\n", `proxy.hcl:8: deny "CONFIG SET x" is no command: write "NAME" or "NAME SUBCOMMAND"`},

		{"bad address", "listen = \"6380\"\n", `proxy.hcl:8: listen "6380" is no address: write "127.0.0.1:6380" or "unix:///run/credproxy.sock"`},
		{"bad port", "upstream {\n  address = \"h:99999\"\n}\n", `proxy.hcl:9: upstream: address "h:99999" has no valid port: write a number from 1 to 65535`},
		{"relative socket", "listen = \"unix://x.sock\"\n", `proxy.hcl:8: listen "unix://x.sock" has no absolute path: write "unix:///run/credproxy.sock"`},
		{"own tail", "upstream {\n  address = \"127.0.0.1:6380\"\n}\n", "proxy.hcl:9: upstream: address 127.0.0.1:6380 is the proxy's own listen address: give Redis and the proxy different ports"},
		{"admin on listen", "admin {\n  listen = \"127.0.0.1:6380\"\n}\n", "proxy.hcl:9: admin: listen 127.0.0.1:6380 is taken by the proxy itself: give the admin pages a port of their own"},
		{"admin socket", "admin {\n  listen = \"unix:///x\"\n}\n", `proxy.hcl:9: admin: listen "unix:///x" is no TCP address: write "127.0.0.1:9180", or "" for none`},
		{"no clients", "maxclients = 0\n", "proxy.hcl:8: maxclients is 0: write 1 or more"},
		{"no shutdown", "shutdown_timeout = \"0s\"\n", `proxy.hcl:8: shutdown_timeout must be positive: write for instance "30s"`},

		{"contradiction", "memory {\n  threshold = 60\n}\n", "proxy.hcl:9: memory: threshold 60 is below target 70: set target under threshold"},
		{"equal", "memory {\n  threshold = 70\n}\n", "proxy.hcl:9: memory: threshold and target are both 70: set target under threshold"},
		{"threshold range", "memory {\n  threshold = 101\n}\n", "proxy.hcl:9: memory: threshold 101 is out of range: write a percentage from 1 to 100"},
		{"target range", "memory {\n  target = 0\n}\n", "proxy.hcl:9: memory: target 0 is out of range: write a percentage from 1 to 100, under threshold"},
		{"tiny", "memory {\n  max = \"64KB\"\n}\n", "proxy.hcl:9: memory: max 64KB is below 1MB: Redis itself needs that much, write more"},
		{"no interval", "memory {\n  check_interval = \"0s\"\n}\n", `proxy.hcl:9: memory: check_interval must be positive: write for instance "5m"`},
		{"unknown policy", "memory {\n  policy = \"mru\"\n}\n", `proxy.hcl:9: memory: policy "mru" is unknown: write one of lru, slru, s3fifo, gdsf`},
		{"negative ttl", "memory {\n  inactivity_ttl = \"-1h\"\n}\n", `proxy.hcl:9: memory: inactivity_ttl is negative: write for instance "168h", or "0s" for never`},

		{"one line, two settings", "log { level = \"info\"  format = \"xml\" }\n", `proxy.hcl:8: log: format "xml" is unknown: write one of text, json`},
		{"behind a one-liner", "log { level = \"info\"  format = \"text\" }\nmaxclients = 0\n", "proxy.hcl:9: maxclients is 0: write 1 or more"},
		{"unknown function", "listen = file(\"x\")\n", `proxy.hcl:8: listen: Call to unknown function: There is no function named "file"`},
		{"syntax", "memory {\n", "proxy.hcl:8: Unclosed configuration block"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { expectProblem(t, minimal+c.src, c.want) })
	}
}

// expectProblem wants exactly one problem, one line, that begins with text (HCL's own texts are longer).
func expectProblem(t *testing.T, src, text string) {
	t.Helper()
	_, err := Parse("proxy.hcl", []byte(src))
	if err == nil {
		t.Fatalf("no problem found, want %q", text)
	}
	got := err.Error()
	if strings.Contains(got, "\n") || !strings.HasPrefix(got, text) {
		t.Errorf("got  %s\nwant %s", got, text)
	}
}

const space = "keyspace \"a\" { keys = [\"a:{session}\"] }\n"

func TestRestoreProblems(t *testing.T) {
	for _, c := range []struct{ name, src, want string }{
		{"absent", space, `proxy.hcl: restore: postgres is missing: write postgres = "postgres://user:password@host:5432/database" or env("DATABASE_URL")`},
		{"empty", space + "restore {\n postgres = \"\"\n}\n", "proxy.hcl:3: restore: postgres is missing"},
		{"unset", space + "restore {\n postgres = env(\"TEST_UNSET_DSN\")\n}\n", "proxy.hcl:3: restore: postgres is empty: set TEST_UNSET_DSN in the environment"},
		{"not a dsn", space + "restore {\n postgres = \"mysql://u:s3cret@h/d\"\n}\n", "proxy.hcl:3: restore: postgres is no connection string (not shown"},
		{"unescaped", space + "restore {\n postgres = \"postgres://u:s3c/ret@h/d\"\n}\n", "proxy.hcl:3: restore: postgres is no connection string (not shown"},
		{"wait", space + "restore {\n postgres = \"host=x\"\n wait = \"0s\"\n}\n", "proxy.hcl:4: restore: wait must be positive"},
		{"interval", space + "restore {\n postgres = \"host=x\"\n sync_interval = \"-1s\"\n}\n", "proxy.hcl:4: restore: sync_interval must be positive"},
		{"off", space + "restore {\n postgres = \"host=x\"\n sync = \"off\"\n}\n", `proxy.hcl:4: restore: sync = "off" needs a source, the query that reads the application's own tables: write source {`},
		{"off, empty", space + "restore {\n postgres = \"host=x\"\n sync = \"off\"\n source {\n  query = \" \"\n }\n}\n", `proxy.hcl:4: restore: sync = "off" needs a source`},
	} {
		t.Run(c.name, func(t *testing.T) {
			expectProblem(t, c.src, c.want)
			if _, err := Parse("proxy.hcl", []byte(c.src)); strings.Contains(err.Error(), "s3c") {
				t.Errorf("a secret is shown: %v", err)
			}
		})
	}
}

func TestKeyspaceProblems(t *testing.T) {
	const restore = "restore { postgres = \"host=x\" }\n"
	for _, c := range []struct{ name, src, want string }{
		{"none", restore, `proxy.hcl: no keyspace: write keyspace "baileys" { keys = ["wa:auth:{session}:creds"] }`},
		{"no keys", restore + "keyspace \"a\" {\n}\n", `proxy.hcl:2: keyspace "a": `},
		{"no session", restore + "keyspace \"a\" {\n  keys = [\"a:b\"]\n}\n", `proxy.hcl:3: keyspace "a": `},
		{"overlap", restore + space + "keyspace \"b\" {\n  keys = [\"a:{session}:x\"]\n}\n", `proxy.hcl:4: keyspace "b": `},
	} {
		t.Run(c.name, func(t *testing.T) { expectProblem(t, c.src, c.want) })
	}
}

// All problems come in one run, in the order of the file.
func TestAllAtOnce(t *testing.T) {
	_, err := Parse("proxy.hcl", []byte(minimal+"memory {\n  max = \"x\"\n  target = \"y\"\n}\nlisen = 1\n"))
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 3 {
		t.Fatalf("want three problems, got %v", err)
	}
	for i, line := range []int{9, 10, 12} {
		if problems[i].Line != line {
			t.Errorf("problem %d is at line %d, want %d: %s", i, problems[i].Line, line, problems[i])
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(minimal)
	f.Add("log { level = \"info\"  format = \"text\" }")
	f.Add("a { b = 1 c { d = 2 e = 3 } }")
	f.Fuzz(func(t *testing.T, src string) {
		c, err := Parse("proxy.hcl", []byte(src))
		if err == nil {
			c.Render()
			return
		}
		for _, line := range strings.Split(err.Error(), "\n") {
			if !strings.HasPrefix(line, "proxy.hcl:") {
				t.Errorf("a line without its place: %q", line)
			}
		}
	})
}
