package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"

	"credproxy/keyspace"
	"credproxy/proxy"
)

const (
	maxListed = 200             // sessions in one answer
	maxNamed  = 1000            // sessions in one action
	maxSearch = 200             // bytes
	slowShown = 25              // commands of the slow log
	waitMore  = 5 * time.Second // beyond restore.wait, for an action's answer
	// actionTime bounds the answer of an action whatever restore.wait is.
	actionTime = 10 * time.Minute
)

// pulseJSON is a store's health as the dashboard gets it.
type pulseJSON struct {
	Up        bool   `json:"up"`
	Known     bool   `json:"known"`
	SinceMS   int64  `json:"since"` // unix milliseconds
	LatencyUS int64  `json:"latency_us"`
	Error     string `json:"error,omitempty"`
}

func describePulse(p proxy.Pulse) pulseJSON {
	return pulseJSON{p.Up, p.Known, p.Since.UnixMilli(), p.Latency.Microseconds(), p.Error}
}

// serveLive is everything that the page shows but for the sessions. The page asks again and again: unlike a stream that asks
// nothing of the server while nobody looks, survives proxies in between, and tells at once when the server is away.
func (s *Site) serveLive(w http.ResponseWriter, r *http.Request) {
	st := s.proxy.Stats()
	stats, families := map[string]any{}, map[string]int64{}
	for name, v := range st.Values() {
		stats[name] = v
	}
	for i, n := range st.Families {
		families[keyspace.FamilyNames[i]] = n
	}
	list, ready := s.judge(&st)
	known, _ := s.access.token(r)
	answer(w, http.StatusOK, map[string]any{
		"now": time.Now().UnixMilli(), "version": st.Version, "stats": stats, "families": families, "max_clients": st.MaxClients,
		"redis_maxmemory": st.RedisMaxMemory, "redis_policy": st.RedisPolicy, "ready": ready, "findings": list,
		"redis": describePulse(st.Redis), "postgres": describePulse(st.Postgres),
		"actions": s.access.on, "unlocked": known,
		"history": s.history.since(number(r, "history")), "events": s.events.after(number(r, "events")),
		"keyspaces": describeKeyspaces(st.Keyspaces),
		"slow":      describeSlow(s.proxy.SlowLog(slowShown)), "slow_us": s.proxy.SlowThreshold().Microseconds(),
	})
}

func number(r *http.Request, name string) int64 {
	n, err := strconv.ParseInt(r.FormValue(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// sessionJSON is a session as the dashboard gets it.
type sessionJSON struct {
	// Name is what actions take; "" for an id that is no text and so cannot be named in JSON.
	Name       string `json:"name"`
	ID         string `json:"id"`
	Keyspace   string `json:"keyspace"`
	DB         int    `json:"db"`
	State      string `json:"state"`
	LastAccess int64  `json:"last_access"`
	IdleMS     int64  `json:"idle_ms"`
	Hits       int64  `json:"hits"`
	Bytes      int64  `json:"bytes"`
	Dirty      int    `json:"dirty"`
	Pinned     bool   `json:"pinned"`
	Keys       int64  `json:"keys"`
	Eviction   string `json:"eviction,omitempty"`
}

func describe(i *proxy.SessionInfo) sessionJSON {
	j := sessionJSON{"", i.ID, i.Keyspace, i.DB, i.State, i.LastAccess, i.IdleMS, i.Hits, i.Bytes, i.Dirty, i.Pinned, i.Keys, i.Eviction}
	if utf8.ValidString(i.ID) {
		j.Name = i.Name()
	}
	return j
}

func (s *Site) serveSessions(w http.ResponseWriter, r *http.Request) {
	search := r.FormValue("search")
	if len(search) > maxSearch {
		answer(w, http.StatusBadRequest, map[string]any{"error": fmt.Sprintf("search for at most %d bytes", maxSearch)})
		return
	}
	list, matching := s.proxy.Sessions(proxy.SessionQuery{Search: search, State: r.FormValue("state"), Order: r.FormValue("order"),
		Limit: int(min(max(number(r, "limit"), 1), maxListed))})
	sessions := []sessionJSON{}
	for i := range list {
		sessions = append(sessions, describe(&list[i]))
	}
	answer(w, http.StatusOK, map[string]any{"matching": matching, "sessions": sessions})
}

func (s *Site) serveSession(w http.ResponseWriter, r *http.Request) {
	info, err := s.proxy.Session(r.Context(), r.FormValue("name"))
	if err != nil {
		answer(w, http.StatusNotFound, map[string]any{"error": err.Error()})
		return
	}
	answer(w, http.StatusOK, describe(&info))
}

// serveAction does what an operator has asked for, and logs who did.
func (s *Site) serveAction(w http.ResponseWriter, r *http.Request) {
	var order struct {
		Sessions []string `json:"sessions"`
	}
	if err := json.NewDecoder(r.Body).Decode(&order); err != nil || len(order.Sessions) > maxNamed {
		answer(w, http.StatusBadRequest, map[string]any{"error": fmt.Sprintf("send {\"sessions\": [...]}, at most %d of them", maxNamed)})
		return
	}
	name := r.PathValue("action")
	run, known := s.action(name, order.Sessions)
	if !known {
		answer(w, http.StatusNotFound, map[string]any{"error": "actions are evict, restore, pin, unpin, check, sync, pause and resume"})
		return
	}
	s.log.Info("an operator acts on the dashboard", "action", name, "sessions", len(order.Sessions), "from", r.RemoteAddr)
	ctx, cancel := context.WithTimeout(r.Context(), s.proxy.WaitLimit()+waitMore)
	defer cancel()
	n, err := run(ctx)
	if err != nil {
		answer(w, http.StatusConflict, map[string]any{"done": n, "error": err.Error()})
		return
	}
	answer(w, http.StatusOK, map[string]any{"done": n})
}

// action finds what a name stands for.
func (s *Site) action(name string, sessions []string) (run func(context.Context) (int64, error), known bool) {
	switch p := s.proxy; name {
	case "evict":
		return func(ctx context.Context) (int64, error) { return p.Evict(ctx, sessions) }, true
	case "restore":
		return func(ctx context.Context) (int64, error) { return p.Restore(ctx, sessions) }, true
	case "pin", "unpin":
		return func(context.Context) (int64, error) { return s.pin(sessions, name == "pin") }, true
	case "check":
		return p.Check, true
	case "sync":
		return p.Sync, true
	case "pause":
		return func(context.Context) (int64, error) { p.Pause(); return 0, nil }, true
	case "resume":
		return func(context.Context) (int64, error) { p.Resume(); return 0, nil }, true
	}
	return nil, false
}

func (s *Site) pin(sessions []string, on bool) (n int64, err error) {
	for _, name := range sessions {
		if err := s.proxy.Pin(name, on); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// refusedTokens logs wrong tokens, at most one a minute, and how many there were since the one before.
type refusedTokens struct{ said, left atomic.Int64 }

func (t *refusedTokens) say(log hclog.Logger, from string) {
	last, now := t.said.Load(), time.Now().Unix()
	if now-last >= 60 && t.said.CompareAndSwap(last, now) {
		log.Warn("a wrong token was given on the admin pages", "from", from, "left_out", t.left.Swap(0))
		return
	}
	t.left.Add(1)
}
