package proxy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"credproxy/internal/resp"
	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// ownUsers gives the proxy users of its own.
func ownUsers(users map[string]string) func(*proxy.Config) {
	return func(cfg *proxy.Config) { cfg.Exposure.Passwords = users }
}

// With users of its own the proxy answers as a Redis with the same users, whatever the Redis behind it wants.
func TestOwnUsersAnswerAsRedisDoes(t *testing.T) {
	model := testenv.Redis(t, "--requirepass", "sesame")
	must(t, redisClient(t, model.Addr(), "sesame").ACLSetUser(context.Background(), "ops", "on", ">opspw", "~*", "&*", "+@all").Err())
	e := prepareEnv(t, ownUsers(map[string]string{"default": "sesame", "ops": "opspw"}), "--requirepass", "of redis")
	e.cfg.Upstream.Password = "of redis"
	e.start()
	for name, script := range map[string][]string{
		"nothing before AUTH": {"GET k", "SET k v", "MULTI", "EXEC", "DISCARD", "WATCH k", "SUBSCRIBE a", "CLIENT ID", "SELECT 1", "PING", "NOSUCH",
			"INFO", "CLIENT SETNAME x", "GET", "HELLO", "HELLO 3", "HELLO 4", "AUTH wrong", "GET k", "AUTH sesame", "GET k", "PING"},
		"wrong passwords": {"AUTH", "AUTH a b c", "AUTH default wrong", "AUTH nobody sesame", "AUTH ops sesame", "AUTH of", "HELLO 3 AUTH default wrong",
			"HELLO 3 AUTH default", "HELLO 3 AUTH", "GET k", "PING"},
		"with HELLO": {"HELLO 3 AUTH default sesame SETNAME n", "CLIENT GETNAME", "GET k", "HELLO 3 AUTH ops wrong", "GET k", "HELLO 2 AUTH ops opspw",
			"GET k", "ACL WHOAMI", "HELLO 3", "GET k"},
		"again and again": {"AUTH sesame", "AUTH wrong", "ACL WHOAMI", "AUTH ops opspw", "ACL WHOAMI", "AUTH ops wrong", "ACL WHOAMI", "MULTI", "ACL WHOAMI", "EXEC", "AUTH default sesame",
			"ACL WHOAMI", "RESET", "GET k", "ACL WHOAMI", "AUTH sesame", "GET k"},
		"while something is open": {"AUTH sesame", "WATCH k", "AUTH ops opspw", "MULTI", "SET k w", "EXEC", "GET k", "DEL k"},
		"reset ends it":           {"AUTH ops opspw", "SELECT 3", "HELLO 3", "RESET", "PING", "SELECT 3", "AUTH sesame", "GET k"},
		"quit":                    {"QUIT", "PING"},
	} {
		t.Run(name, func(t *testing.T) {
			want := replay(dialWire(t, model.Addr()), script)
			got := replay(e.wire(), script)
			for i, line := range script {
				if got[i] != want[i] {
					t.Errorf("%q: %q, want %q", line, got[i], want[i])
				}
			}
		})
	}
}

// A client that monitors is judged here too, in its turn, and what it gives is not shown to Redis.
func TestOwnUsersWhoMonitor(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t, func(cfg *proxy.Config) {
		cfg.Exposure.Passwords, cfg.Deny = map[string]string{"default": "sesame", "ops": "opspw"}, nil
	})
	must(t, e.direct.ConfigResetStat(ctx).Err())
	c := e.wire()
	c.want("+OK\r\n", "AUTH", "sesame")
	c.want("+OK\r\n", "MONITOR")
	const refused = "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
	var pipeline []byte
	for _, line := range []string{"ECHO 1", "AUTH wrong", "ECHO 2", "AUTH ops opspw", "ECHO 3", "HELLO 3 AUTH ops wrong", "HELLO 2 AUTH ops opspw SETNAME n", "HELLO 2 AUTH ops opspw NOSUCH", "ECHO 4", "AUTH a b c"} {
		pipeline = resp.AppendCommand(pipeline, strings.Fields(line)...)
	}
	c.write(string(pipeline))
	for _, want := range []string{"$1\r\n1", refused, "$1\r\n2", "+OK\r\n", "$1\r\n3", refused, "*14\r\n", "-ERR Syntax error in HELLO", "$1\r\n4", "-ERR syntax error"} {
		for {
			line := c.reply()
			if strings.HasPrefix(line, "+") && line != "+OK\r\n" { // monitored
				continue
			}
			if !strings.HasPrefix(line, want) {
				t.Fatalf("got %q, want %q", line, want)
			}
			break
		}
	}
	stats := e.direct.Info(ctx, "commandstats").Val()
	if strings.Contains(stats, "cmdstat_auth:") {
		t.Errorf("Redis was shown the credentials: %s", stats)
	}
}

// In one write: what follows an AUTH is judged after it, with the limits that hold then.
func TestOwnUsersInAPipeline(t *testing.T) {
	model := testenv.Redis(t, "--requirepass", "sesame")
	e := newEnv(t, ownUsers(map[string]string{"default": "sesame"}))
	large := strings.Repeat("x", 20_000) // more than an unauthenticated client may send in one argument
	for _, pipeline := range [][][]string{
		{{"GET", "k"}, {"AUTH", "sesame"}, {"SET", "k", large}, {"GET", "k"}, {"PING"}},
		{{"AUTH", "wrong"}, {"GET", "k"}, {"AUTH", "sesame"}, {"RESET"}, {"GET", "k"}, {"AUTH", "sesame"}, {"PING"}},
		{{"HELLO", "3", "AUTH", "default", "sesame"}, {"MGET", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k2"}, {"PING"}},
		{{"AUTH", "wrong"}, {"SET", "k", large}},
		{{"MGET", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k2"}, {"PING"}},
	} {
		var req []byte
		for _, args := range pipeline {
			req = resp.AppendCommand(req, args...)
		}
		answers := func(w *wire) (all []string) {
			w.write(string(req))
			for range pipeline {
				frame, err := w.frame()
				if err != nil {
					return append(all, "connection closed")
				}
				all = append(all, withoutID(frame))
			}
			return all
		}
		want, got := answers(dialWire(t, model.Addr())), answers(e.wire())
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%.60q: %.300q, want %.300q", pipeline, got, want)
		}
	}
}

// A reload changes passwords for who comes next; users of the proxy's own need a restart to come or go.
func TestPasswordsAreReloaded(t *testing.T) {
	e := newEnv(t, ownUsers(map[string]string{"default": "old"}))
	before := e.wire()
	before.want("+OK\r\n", "AUTH", "old")
	next := e.cfg
	next.Exposure.Passwords = map[string]string{"default": "new"}
	if ignored, err := e.server.Reload(next); err != nil || len(ignored) > 0 {
		t.Fatalf("reload: %v, ignored %v", err, ignored)
	}
	before.want("$-1\r\n", "GET", "k")
	c := e.wire()
	c.want("-WRONGPASS invalid username-password pair or user is disabled.\r\n", "AUTH", "old")
	c.want("+OK\r\n", "AUTH", "new")
	next.Exposure.Passwords = nil
	if ignored, err := e.server.Reload(next); err != nil || fmt.Sprint(ignored) != "[auth]" {
		t.Fatalf("reload without auth: %v, ignored %v", err, ignored)
	}
	e.wire().want("-NOAUTH Authentication required.\r\n", "GET", "k")
}

// Commands of CREDPROXY that change something are for the users named, whoever judged them; the others are for everyone.
func TestAdmins(t *testing.T) {
	changing := []string{"EVICT any/a", "RESTORE any/a", "CHECK", "SYNC", "TRACK any/a", "CLEAR", "PIN any/a", "UNPIN any/a", "PAUSE", "RESUME", "RELOAD"}
	reading := []string{"HELP", "MEMORY", "STATS", "SESSIONS", "SESSION any/a"}
	check := func(t *testing.T, e *env, login string, admin bool) {
		t.Helper()
		c := e.wire()
		c.wantPrefix("-NOAUTH", "CREDPROXY", "STATS")
		c.want("+OK\r\n", strings.Fields(login)...)
		c.want("+OK\r\n", "SET", "s:a:k", "v")
		for _, line := range changing {
			reply := c.ask(append([]string{"CREDPROXY"}, strings.Fields(line)...)...)
			if refused := strings.HasPrefix(reply, "-NOPERM credproxy: CREDPROXY "); refused == admin {
				t.Errorf("%s, %s: %q", login, line, reply)
			}
		}
		for _, line := range reading {
			if reply := c.ask(append([]string{"CREDPROXY"}, strings.Fields(line)...)...); strings.HasPrefix(reply, "-") {
				t.Errorf("%s, %s: %q", login, line, reply)
			}
		}
	}
	t.Run("own users", func(t *testing.T) {
		e := newEnv(t, func(cfg *proxy.Config) {
			cfg.Exposure.Passwords = map[string]string{"default": "botpw", "ops": "opspw"}
			cfg.Exposure.Admins = []string{"ops"}
		})
		check(t, e, "AUTH botpw", false)
		check(t, e, "AUTH ops opspw", true)
	})
	t.Run("users of Redis", func(t *testing.T) {
		e := newEnv(t, func(cfg *proxy.Config) {
			cfg.Upstream.Password = "secret"
			cfg.Exposure.Admins = []string{"ops"}
		}, "--requirepass", "secret")
		must(t, e.direct.ACLSetUser(context.Background(), "ops", "on", ">opspw", "~*", "&*", "+@all").Err())
		check(t, e, "AUTH secret", false)
		check(t, e, "AUTH ops opspw", true)
		c := e.wire()
		c.want("+OK\r\n", "AUTH", "ops", "opspw")
		c.wantPrefix("-WRONGPASS", "AUTH", "wrong") // which leaves the client who it was
		c.want("+OK\r\n", "CREDPROXY", "PAUSE")
		c.want("+RESET\r\n", "RESET")
		c.want("+OK\r\n", "AUTH", "secret")
		c.wantPrefix("-NOPERM", "CREDPROXY", "RESUME")
	})
	t.Run("nobody", func(t *testing.T) {
		e := newEnv(t, func(cfg *proxy.Config) { cfg.Exposure.Admins = []string{} })
		e.wire().wantPrefix("-NOPERM", "CREDPROXY", "EVICT", "any/a")
	})
}

// A container that is denied takes along the subcommands that the command table does not know.
func TestDeniedContainers(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Deny = []string{"config", "Client Pause", "get"} })
	c := e.wire()
	for _, call := range []string{"CONFIG", "config get maxmemory", "CONFIG RESETSTAT", "CONFIG NOSUCH", "CONFIG HELP", "CLIENT PAUSE 1", "client pause 1", "GET k"} {
		c.wantPrefix("-NOPERM credproxy: ", strings.Fields(call)...)
	}
	c.want("+OK\r\n", "MULTI")
	c.wantPrefix("-NOPERM credproxy: CONFIG", "CONFIG", "NOSUCH")
	c.wantPrefix("-NOPERM credproxy: GET", "GET", "k")
	c.wantPrefix("-EXECABORT", "EXEC")
	c.want(":1\r\n", "CLIENT", "ID")
}

// A client that monitors is refused what others are refused.
func TestDeniedToMonitors(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Deny = []string{"SHUTDOWN", "CONFIG SET"} })
	c := e.wire()
	c.want("+OK\r\n", "MONITOR")
	c.send("CONFIG", "SET", "hz", "11")
	for {
		if line := c.reply(); strings.HasPrefix(line, "-") {
			if !strings.HasPrefix(line, "-NOPERM credproxy: CONFIG SET") {
				t.Errorf("got %q", line)
			}
			return
		}
	}
}

// The proxy's work needs none of Redis's dangerous commands but INFO and RESTORE: its user, whom all clients are where the proxy
// judges AUTH, can go without the others, and then scripts cannot call them either.
func TestProxyUserWithoutDangerousCommands(t *testing.T) {
	e := prepareEnv(t, ownUsers(map[string]string{"default": "sesame"}))
	ctx := context.Background()
	must(t, e.direct.ACLSetUser(ctx, "proxy", "on", ">pw", "~*", "&*", "+@all", "-@dangerous", "+info", "+restore").Err())
	must(t, e.direct.ACLSetUser(ctx, "default", "off").Err())
	e.cfg.Upstream.Username, e.cfg.Upstream.Password = "proxy", "pw"
	e.start()
	e.client = redisClient(t, e.server.Addr().String(), "sesame")
	c := e.wire()
	c.want("+OK\r\n", "AUTH", "sesame")
	c.want("+OK\r\n", "SET", "s:a:string", "v", "EX", "1000")
	c.want(":2\r\n", "HSET", "s:a:hash", "f", "1", "g", strings.Repeat("x", 300_000))
	c.want(":2\r\n", "ZADD", "s:a:zset", "1", "one", "2", "two")
	c.want(":1\r\n", "RPUSH", "s:a:list", "element")
	e.admin("SYNC")
	e.evict("any/a")
	c.want(":2\r\n", "ZCARD", "s:a:zset")
	c.want("$1\r\n1\r\n", "HGET", "s:a:hash", "f")
	c.want(":1\r\n", "DEL", "s:a:list")
	c.want(":3\r\n", "DBSIZE")
	e.evict("any/a")
	c.want("$1\r\nv\r\n", "GET", "s:a:string")
	c.wantPrefix("-NOPERM", "KEYS", "*")
	c.wantPrefix("-ERR", "EVAL", "return redis.call('FLUSHALL')", "0")
	c.want("$1\r\nv\r\n", "GET", "s:a:string")
}
