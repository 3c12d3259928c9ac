package proxy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// answeredHere are commands that the proxy answers without Redis, or may.
var answeredHere = []string{"CLIENT ID", "CLIENT GETNAME", "CLIENT SETNAME x", "CLIENT SETNAME \xff", "CLIENT INFO", "CLIENT NO-EVICT on", "CLIENT NO-EVICT maybe",
	"CLIENT GETREDIR", "CLIENT TRACKINGINFO", "CLIENT TRACKING off", "CLIENT CACHING yes", "CLIENT REPLY ON", "CLIENT LIST ID 99999", "CLIENT KILL ID 99999",
	"CLIENT UNBLOCK 99999", "CLIENT SETINFO lib-name x", "CLIENT NO-TOUCH on", "SELECT 1", "SELECT 0", "UNWATCH", "EXEC", "DISCARD", "WATCH k", "MULTI", "KEYS nothing", "SCAN 0 MATCH nothing",
	"DBSIZE", "RANDOMKEY", "INFO nosuch", "ACL WHOAMI", "SUBSCRIBE", "SCRIPT DEBUG no", "PING", "HELLO 3", "RESET"}

// What the proxy answers itself, Redis permits or refuses: a user with few permissions hears the same from both.
func TestPermissionsAreRedis(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Deny, cfg.Flush = nil, proxy.FlushAll })
	for i, rules := range []string{"+ping", "+@all", "+@all -client -select -acl", "+@all -client|id -client|setname -info", "+@connection", "+@all -@transaction", "+select|0 +client|id"} {
		user := fmt.Sprint("few", i) // what one user was permitted is not the next one's
		must(t, e.direct.ACLSetUser(ctx, user, append([]string{"on", ">pw", "~*", "&*"}, strings.Fields(rules)...)...).Err())
		var want []string
		for _, addr := range []string{e.redis.Addr(), e.server.Addr().String()} {
			w := dialWire(t, addr)
			w.want("+OK\r\n", "AUTH", user, "pw")
			for i, line := range answeredHere {
				got := w.ask(strings.Fields(line)...)
				if line == "CLIENT ID" || line == "CLIENT INFO" || line == "HELLO 3" {
					got = got[:min(len(got), 1)]
				}
				if line == "MULTI" && got[0] == '+' {
					got += w.ask("MULTI") + w.ask("WATCH", "k") + w.ask("CLIENT", "ID")[:1] + w.ask("DISCARD")
				}
				if len(want) <= i {
					want = append(want, got)
				} else if got != want[i] {
					t.Errorf("%s: %s\n  redis: %.200q\n  proxy: %.200q", rules, line, want[i], got)
				}
			}
		}
	}
	few := e.wire()
	few.want("+OK\r\n", "AUTH", "few0", "pw")
	few.wantPrefix("-NOPERM", "INFO", "credproxy")
}

// A change of a user is seen at once when it is made through the proxy, and soon otherwise.
func TestPermissionsChange(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Deny = nil })
	must(t, e.direct.ACLSetUser(ctx, "some", "on", ">pw", "~*", "+@all").Err())
	c, root := e.wire(), e.wire()
	c.want("+OK\r\n", "AUTH", "some", "pw")
	for range 20 {
		c.wantPrefix(":", "CLIENT", "ID")
		root.want("+OK\r\n", "ACL", "SETUSER", "some", "-client|id")
		c.wantPrefix("-NOPERM", "CLIENT", "ID")
		root.want("+OK\r\n", "ACL", "SETUSER", "some", "+client|id")
	}
	c.wantPrefix(":", "CLIENT", "ID")
	must(t, e.direct.ACLSetUser(ctx, "some", "-client|id").Err())
	testenv.Eventually(t, wirePatience, "the refusal is seen", func() bool { return strings.HasPrefix(c.ask("CLIENT", "ID"), "-NOPERM") })
	must(t, e.direct.ACLSetUser(ctx, "some", "+client|id").Err())
	c.wantPrefix(":", "CLIENT", "ID") // refusals are not remembered
}
