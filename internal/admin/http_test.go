package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"credproxy/internal/testenv"
)

// Who may see what, by rules A1 to A4.
func TestAccess(t *testing.T) {
	const remote, local = "192.0.2.7:4000", "127.0.0.1:4000"
	bearer := map[string]string{"Authorization": "Bearer " + testToken}
	for _, test := range []struct {
		name, from, host string
		header           map[string]string
		token            string
		read, act        int
	}{
		{name: "local, no token set", from: local, host: "127.0.0.1:9180", read: 0, act: 403},
		{name: "local IPv6", from: "[::1]:4000", host: "[::1]:9180", read: 0, act: 403},
		{name: "local, read-only", from: local, host: "localhost:9180", token: testToken, read: 0, act: 401},
		{name: "local with token", from: local, host: "localhost", token: testToken, header: bearer, read: 0, act: 0},
		{name: "remote, no token set", from: remote, host: "10.0.0.1:9180", read: 403, act: 403},
		{name: "remote without it", from: remote, host: "10.0.0.1:9180", token: testToken, read: 401, act: 401},
		{name: "remote with it", from: remote, host: "proxy.example:9180", token: testToken, header: bearer, read: 0, act: 0},
		{name: "a token that nobody asked for", from: local, host: "localhost", header: bearer, read: 401, act: 403},
		{name: "wrong token", from: local, host: "localhost", token: testToken, header: map[string]string{"Authorization": "Bearer x"}, read: 401, act: 401},
		{name: "empty token", from: local, host: "localhost", token: testToken, header: map[string]string{"Authorization": "Bearer "}, read: 401, act: 401},
		{name: "no scheme", from: local, host: "localhost", token: testToken, header: map[string]string{"Authorization": testToken}, read: 401, act: 401},
		{name: "rebound name", from: local, host: "evil.example:9180", read: 403, act: 403},
		{name: "name that looks local", from: local, host: "localhost.evil.example", read: 403, act: 403},
		{name: "no host", from: local, host: "", read: 403, act: 403},
		{name: "passed on", from: local, host: "localhost", header: map[string]string{"X-Forwarded-For": "192.0.2.7"}, read: 403, act: 403},
		{name: "another site's page", from: local, host: "localhost", header: map[string]string{"Sec-Fetch-Site": "cross-site"}, read: 403, act: 403},
	} {
		a := newAccess(test.token)
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.RemoteAddr, r.Host = test.from, test.host
		r.Header.Set("Content-Type", "application/json")
		for name, value := range test.header {
			r.Header.Set(name, value)
		}
		status := func(refused *refusal) int {
			if refused == nil {
				return 0
			}
			return refused.status
		}
		if read, act := status(a.read(r)), status(a.act(r)); read != test.read || act != test.act {
			t.Errorf("%s: read %d, act %d, want %d and %d", test.name, read, act, test.read, test.act)
		}
	}
}

// A form of another site can send text, but not JSON and no token.
func TestActionsTakeJSONOnly(t *testing.T) {
	e := newEnv(t, options{token: testToken})
	for kind, want := range map[string]int{"text/plain": 415, "application/x-www-form-urlencoded": 415, "": 415, "application/json; charset=utf-8": 200} {
		status, body := e.send(request{method: http.MethodPost, path: "/api/actions/pause", body: "{}",
			header: map[string]string{"Authorization": "Bearer " + testToken, "Content-Type": kind}})
		if status != want {
			t.Errorf("%q: status %d: %s", kind, status, body)
		}
	}
	if status, _ := e.get("/api/actions/pause"); status != http.StatusMethodNotAllowed {
		t.Errorf("GET of an action: status %d", status)
	}
}

func TestActions(t *testing.T) {
	e := newEnv(t, options{token: testToken})
	e.fill(5, 100)
	for _, step := range []struct {
		action, body string
		status       int
		answer       string
		stat, value  string
	}{
		{"evict", `{"sessions":["bots@0/bot-0001","bot-0002"]}`, 200, `{"done":2}`, "sessions_evicted", "2"},
		{"restore", `{"sessions":["bot-0001"]}`, 200, `{"done":1}`, "sessions_evicted", "1"},
		{"pin", `{"sessions":["bot-0003"]}`, 200, `{"done":1}`, "", ""},
		{"evict", `{"sessions":["bot-0003","bot-0004"]}`, 409, "pinned", "sessions_evicted", "2"},
		{"unpin", `{"sessions":["bot-0003"]}`, 200, `{"done":1}`, "", ""},
		{"evict", `{"sessions":["bot-0003"]}`, 200, `{"done":1}`, "command_evictions", "4"},
		{"pause", `{}`, 200, "", "paused", "1"},
		{"resume", `{}`, 200, "", "paused", "0"},
		{"check", `{}`, 200, `{"done":0}`, "", ""},
		{"sync", `{}`, 200, "", "dirty_keys", "0"},
		{"shutdown", `{}`, 404, "actions are", "", ""},
		{"evict", `nonsense`, 400, "send", "", ""},
	} {
		status, body := e.act(step.action, step.body)
		if status != step.status || !strings.Contains(body, step.answer) {
			t.Errorf("%s %s: status %d: %s", step.action, step.body, status, body)
		}
		if step.stat != "" && e.stats()[step.stat] != step.value {
			t.Errorf("after %s %s: %s is %s, want %s", step.action, step.body, step.stat, e.stats()[step.stat], step.value)
		}
	}
	var live struct{ Events []Event }
	e.json("/api/live", &live)
	if text := fmt.Sprint(live.Events); !strings.Contains(text, "eviction is paused") || !strings.Contains(text, "action=evict") {
		t.Errorf("events: %s", text)
	}
}

// What the page is allowed to do is as little as it needs.
func TestHeaders(t *testing.T) {
	e := newEnv(t, options{})
	for path, kind := range map[string]string{"/": "text/html", "/assets/app.js": "text/javascript", "/assets/style.css": "text/css", "/api/live": "application/json",
		"/metrics": "text/plain", "/healthz": "application/json", "/readyz": "application/json", "/debug/pprof/": "text/html", "/debug/pprof/heap": ""} {
		resp, err := http.Get(e.url + path)
		must(t, err)
		resp.Body.Close()
		h := resp.Header
		if resp.StatusCode != 200 || !strings.HasPrefix(h.Get("Content-Type"), kind) || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: status %d, %v", path, resp.StatusCode, h)
		}
	}
	for _, path := range []string{"/nothing", "/assets/", "/assets/../admin.go", "/api/"} {
		if status, _ := e.get(path); status == http.StatusOK && path != "/assets/" {
			t.Errorf("%s: status %d", path, status)
		}
	}
}

func TestReadyWithPostgresAway(t *testing.T) {
	pg := testenv.Postgres(t)
	e := newEnv(t, options{dsn: pg.DSN()})
	testenv.Eventually(t, 10*time.Second, "ready", func() bool { status, _ := e.get("/readyz"); return status == http.StatusOK })
	e.fill(3, 100)
	must(t, pg.Kill())
	must(t, e.client.Set(context.Background(), "wa:bot-0001:creds", "changed", 0).Err())
	var body string
	testenv.Eventually(t, 20*time.Second, "not ready", func() bool {
		var status int
		status, body = e.get("/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "postgres_away") && strings.Contains(body, "1 key waits to be saved")
	})
	if strings.Contains(body, fmt.Sprint(pg.Port())) {
		t.Errorf("not ready because of %s", body)
	}
	if status, _ := e.get("/healthz"); status != http.StatusOK {
		t.Errorf("healthz: status %d", status)
	}
	testenv.RestartPostgres(t, pg)
	testenv.Eventually(t, 20*time.Second, "ready again", func() bool { status, _ := e.get("/readyz"); return status == http.StatusOK })
}

// A listing finds what it is asked for among many, in order.
func TestSessions(t *testing.T) {
	e := newEnv(t, options{})
	e.fill(1200, 10)
	e.credproxy("EVICT", "bot-0500")
	var list struct {
		Matching int
		Sessions []struct{ ID, State, Name string }
	}
	ask := func(query string, matching int, first, last string) {
		t.Helper()
		list.Sessions = nil
		e.json("/api/sessions?"+query, &list)
		if n := len(list.Sessions); list.Matching != matching || n == 0 || list.Sessions[0].ID != first || list.Sessions[n-1].ID != last {
			t.Errorf("%s: %d match, first %v", query, list.Matching, list.Sessions[:min(n, 2)])
		}
	}
	ask("order=id&limit=200", 1200, "bot-0000", "bot-0199")
	ask("order=id&search=T-11&limit=50", 100, "bot-1100", "bot-1149")
	ask("state=evicted&limit=9", 1, "bot-0500", "bot-0500")
	var one struct{ ID, Eviction string }
	e.json("/api/session?name=bots%400/bot-0500", &one)
	if one.ID != "bot-0500" || !strings.HasPrefix(one.Eviction, "evicted") {
		t.Errorf("session: %+v", one)
	}
	for path, want := range map[string]int{"/api/session?name=bots/nobody": 404, "/api/sessions?search=" + strings.Repeat("x", 300): 400} {
		if status, body := e.get(path); status != want {
			t.Errorf("%.40s: status %d: %s", path, status, body)
		}
	}
}
