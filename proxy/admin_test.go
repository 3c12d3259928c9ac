package proxy_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"credproxy/internal/resp"
	"credproxy/internal/testenv"
)

// field finds a name in a map reply, or in the flat array that stands for it in RESP2.
func field(v resp.Value, name string) *resp.Value {
	for i := 0; i+1 < len(v.Elems); i += 2 {
		if string(v.Elems[i].Str) == name {
			return &v.Elems[i+1]
		}
	}
	return nil
}

// contractFields are the names that programs rely on.
var contractFields = map[string][]string{
	"MEMORY": {"used_bytes", "max_bytes", "percent_used", "threshold", "target", "sampled_at"},
	"STATS": {"memory_used_bytes", "memory_max_bytes", "memory_percent_used", "memory_threshold", "memory_target",
		"memory_sampled_at", "sessions_tracked", "sessions_resident", "sessions_evicted", "dirty_keys", "evictions",
		"inactivity_evictions", "restores", "restore_errors", "hits", "misses", "restore_p50_us", "restore_p99_us",
		"sync_lag_ms", "clients", "commands"},
	"SESSION any/a": {"id", "keyspace", "db", "state", "last_access", "idle_ms", "hits", "bytes", "keys", "dirty", "pinned", "eviction"},
}

func TestAdminRepliesInBothProtocols(t *testing.T) {
	e := newEnv(t, nil)
	for proto, kind := range map[string]byte{"2": '*', "3": '%'} {
		c := e.wire()
		c.ask("HELLO", proto)
		c.want("+OK\r\n", "SET", "s:a:k", "v")
		for call, names := range contractFields {
			v := parseReply(t, c.ask(strings.Fields("CREDPROXY "+call)...))
			if v.Kind != kind || len(v.Elems)%2 != 0 {
				t.Errorf("RESP%s %s: kind %c, want %c", proto, call, v.Kind, kind)
			}
			for _, name := range names {
				if field(v, name) == nil {
					t.Errorf("RESP%s %s has no %s", proto, call, name)
				}
			}
		}
		list := parseReply(t, c.ask("CREDPROXY", "SESSIONS"))
		if list.Kind != '*' || len(list.Elems) != 1 || list.Elems[0].Kind != kind {
			t.Errorf("RESP%s SESSIONS: %+v", proto, list)
		}
		help := parseReply(t, c.ask("CREDPROXY", "HELP"))
		var lines []string
		for _, line := range help.Elems {
			lines = append(lines, string(line.Str))
		}
		for _, name := range []string{"MEMORY", "STATS", "SESSIONS", "SESSION", "EVICT", "RESTORE", "CHECK", "SYNC", "TRACK", "CLEAR", "PIN",
			"UNPIN", "PAUSE", "RESUME", "RELOAD"} {
			if !slices.ContainsFunc(lines, func(l string) bool { return l == name || strings.HasPrefix(l, name+" ") }) {
				t.Errorf("HELP does not tell about %s", name)
			}
		}
	}
}

func TestAdminErrors(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	c.want("+OK\r\n", "SET", "s:same:k", "v")
	c.want("+OK\r\n", "SET", "wa:auth:same:creds", "v")
	for _, test := range []struct{ call, reply string }{
		{"", "-ERR wrong number of arguments for 'credproxy' command\r\n"},
		{"NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try CREDPROXY HELP.\r\n"},
		{"EVICT", "-ERR wrong number of arguments: CREDPROXY EVICT id...\r\n"},
		{"STATS now", "-ERR wrong number of arguments: CREDPROXY STATS\r\n"},
		{"SESSIONS ORDER age", "-ERR ORDER must be lru, recent, hits or bytes\r\n"},
		{"SESSIONS STATE gone", "-ERR STATE must be unknown, loading, resident, evicting, evicted\r\n"},
		{"SESSIONS MATCH no-such-session", "*0\r\n"},
		{"SESSIONS COUNT x", "-ERR value is not an integer or out of range\r\n"},
		{"SESSIONS COUNT", "-ERR syntax error\r\n"},
		{"SESSION nobody", "-ERR session \"nobody\" is not known: name it keyspace/id\r\n"},
		{"SESSION same", "-ERR session \"same\" is in more than one keyspace or database: name it keyspace/id, or keyspace@db/id\r\n"},
		{"EVICT any/nobody", "-ERR 0 of 1 done; session \"any/nobody\": it is not known\r\n"},
		{"EVICT any/same any/nobody", "-ERR 1 of 2 done; session \"any/nobody\": it is not known\r\n"},
		{"TRACK any/same x", "-ERR value is not an integer or out of range\r\n"},
		{"RELOAD", "-ERR credproxy: there is no configuration file to read again\r\n"},
	} {
		c.want(test.reply, strings.Fields("credproxy "+test.call)...)
	}
	c.want("$1\r\nv\r\n", "GET", "s:same:k")
	c.want(":2\r\n", "CREDPROXY", "EVICT", "any/same", "wa/same")
	c.want(":2\r\n", "credproxy", "restore", "any/same", "wa/same")
	c.want(":1\r\n", "CREDPROXY", "EVICT", "any@0/same")
}

func TestBusySessionsAreNotEvicted(t *testing.T) {
	e := newEnv(t, nil)
	for _, test := range []struct {
		id         string
		begin, end [][]string
		why        string
	}{
		{"pinned", [][]string{{"CREDPROXY", "PIN", "any/pinned"}}, [][]string{{"CREDPROXY", "UNPIN", "any/pinned"}}, "it is pinned"},
		{"watched", [][]string{{"WATCH", "s:watched:k"}}, [][]string{{"UNWATCH"}}, "it is in use: 1 key watched (WATCH)"},
		{"queued", [][]string{{"MULTI"}, {"GET", "s:queued:k"}}, [][]string{{"EXEC"}}, "it is in use: 1 command in an open transaction (MULTI)"},
		{"discarded", [][]string{{"MULTI"}, {"SET", "s:discarded:k", "x"}}, [][]string{{"DISCARD"}}, "it is in use: 1 command in an open transaction (MULTI)"},
	} {
		t.Run(test.id, func(t *testing.T) {
			t.Parallel()
			addr := e.server.Addr().String()
			c, admin := dialWire(t, addr), dialWire(t, addr)
			id, key := "any/"+test.id, "s:"+test.id+":k"
			c.want("+OK\r\n", "SET", key, "v")
			for _, args := range test.begin {
				c.ask(args...)
			}
			got := admin.ask("CREDPROXY", "EVICT", id)
			if !strings.HasPrefix(got, fmt.Sprintf("-ERR 0 of 1 done; session %q: ", id)) || !strings.Contains(got, test.why) {
				t.Errorf("EVICT: %q, want %q", got, test.why)
			}
			if why := field(parseReply(t, admin.ask("CREDPROXY", "SESSION", id)), "eviction"); !strings.Contains(string(why.Str), test.why) {
				t.Errorf("SESSION says %q", why.Str)
			}
			if e.direct.Exists(context.Background(), key).Val() != 1 {
				t.Error("the key is gone from Redis")
			}
			for _, args := range test.end {
				c.ask(args...)
			}
			admin.want(":1\r\n", "CREDPROXY", "EVICT", id)
			c.want("$1\r\nv\r\n", "GET", key)
		})
	}
}

// A client that waits in BLPOP keeps its session; when it has hung up the session may go.
func TestBlockedClientKeepsItsSession(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	c.want("+OK\r\n", "SET", "s:b:k", "v")
	blocked := e.wire()
	blocked.send("BLPOP", "s:b:list", "0")
	testenv.Eventually(t, wirePatience, "session in use", func() bool {
		return strings.Contains(fmt.Sprint(e.sessionInfo("any/b", "eviction")), "it is in use: 1 command that blocks")
	})
	c.wantPrefix("-ERR 0 of 1 done; session \"any/b\": ", "CREDPROXY", "EVICT", "any/b")
	must(t, blocked.nc.Close())
	testenv.Eventually(t, wirePatience, "session free", func() bool { return c.ask("CREDPROXY", "EVICT", "any/b") == ":1\r\n" })
}

func TestSessionsOrders(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	for i, id := range []string{"one", "two", "three"} {
		c.want("+OK\r\n", "SET", "s:"+id+":k", strings.Repeat("x", 100<<(2*i)))
	}
	nextTick(t)
	for range 5 {
		c.ask("GET", "s:two:k")
	}
	nextTick(t)
	c.ask("GET", "s:one:k")
	nextTick(t)
	e.settled()
	c.want("+OK\r\n", "CREDPROXY", "TRACK", "any/big", "1000000")
	for _, test := range []struct {
		order string
		want  []string
	}{
		{"lru", []string{"three", "two", "one", "big"}},
		{"hits", []string{"two"}},
		{"bytes", []string{"big"}},
	} {
		var got []string
		for _, s := range e.listed(test.order) {
			got = append(got, s["id"].(string))
		}
		if len(got) != 4 || !slices.Equal(got[:len(test.want)], test.want) {
			t.Errorf("ORDER %s: %v, want it to begin with %v", test.order, got, test.want)
		}
	}
	if v := parseReply(t, c.ask("CREDPROXY", "SESSIONS", "ORDER", "LRU", "COUNT", "2")); len(v.Elems) != 2 {
		t.Errorf("COUNT 2: %d sessions", len(v.Elems))
	}
	nextTick(t)
	hits := e.sessionInfo("any/three", "hits").(int64)
	c.want("+OK\r\n", "CREDPROXY", "TRACK", "any/three")
	if got := e.sessionInfo("any/three", "hits"); got != hits+1 {
		t.Errorf("TRACK: %v hits, want %d", got, hits+1)
	}
	if order := e.order(); order[len(order)-1] != "three" {
		t.Errorf("the tracked session is not the most recent one: %v", order)
	}
	c.want("+OK\r\n", "CREDPROXY", "CLEAR")
	if n := e.stat("hits") + e.stat("misses") + e.stat("restores"); n != 0 {
		t.Errorf("%d left after CLEAR", n)
	}
}

func TestInfoSection(t *testing.T) {
	e := newEnv(t, nil)
	for _, proto := range []string{"2", "3"} {
		c := e.wire()
		c.ask("HELLO", proto)
		text := func(args ...string) string { return string(parseReply(t, c.ask(args...)).Str) }
		for _, args := range [][]string{{"INFO"}, {"INFO", "all"}, {"INFO", "everything"}, {"INFO", "server", "credproxy"}} {
			got := text(args...)
			if !strings.Contains(got, "# Server\r\n") || strings.Count(got, "\r\n\r\n# Credproxy\r\n") != 1 {
				t.Errorf("RESP%s %q lacks a section", proto, args)
			}
		}
		own := text("INFO", "CredProxy")
		if !strings.HasPrefix(own, "# Credproxy\r\ncredproxy_version:test\r\n") || strings.Count(own, "# ") != 1 ||
			!strings.Contains(own, "\r\ncredproxy_sessions_resident:") {
			t.Errorf("RESP%s INFO credproxy: %q", proto, own)
		}
		if got := text("INFO", "server"); strings.Contains(got, "Credproxy") || !strings.Contains(got, "# Server") {
			t.Errorf("RESP%s INFO server: %q", proto, got)
		}
	}
}
