package top

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"credproxy/internal/human"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.Local)

// someStats differ in every number, so that none can stand in another's place.
func someStats() Stats {
	return Stats{
		"memory_used_bytes": "851968000", "memory_max_bytes": "1073741824", "memory_percent_used": "79.3", "memory_threshold": "82",
		"memory_target": "71", "memory_sampled_at": fmt.Sprint(noon.Add(-7 * time.Second).UnixMilli()),
		"sessions_tracked": "12345", "sessions_resident": "5001", "sessions_evicted": "7302", "sessions_loading": "13",
		"sessions_unknown": "29", "dirty_keys": "341", "evictions": "1001", "memory_evictions": "902", "inactivity_evictions": "63",
		"rescue_evictions": "17", "command_evictions": "19", "restores": "857", "restore_errors": "3", "hits": "999100", "misses": "900",
		"restore_p50_us": "2130", "restore_p99_us": "14800", "sync_lag_ms": "123", "saved_keys": "4444", "clients": "1204",
		"commands": "1234567", "paused": "0", "enforcing": "1", "uptime_seconds": "11525", "not_saving_ms": "0", "memory_full": "0",
		"closing": "0", "maxclients": "10000", "adoption_pending": "0",
	}
}

// with is a copy with other values.
func (st Stats) with(pairs ...string) Stats {
	next := Stats{}
	for k, v := range st {
		next[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		next[pairs[i]] = pairs[i+1]
	}
	return next
}

func someSessions(n int) []Session {
	list := make([]Session, n)
	for i := range list {
		id := fmt.Sprintf("49151%07d@s.whatsapp.net", i)
		list[i] = Session{Name: "baileys@0/" + id, ID: id, Keyspace: "baileys", State: "resident", LastAccess: noon.UnixMilli(),
			Idle: time.Duration(n-i) * time.Second, Hits: int64(i * 7), Bytes: int64(i) << 12, Dirty: int64(i % 3), Pinned: i%5 == 4}
	}
	return list
}

// model has had two answers, so that there are rates.
func model(t *testing.T, w, h int) *Model {
	t.Helper()
	m := New("127.0.0.1:6380", time.Second)
	m.Clock = func() time.Time { return noon }
	m.Update(Resize{w, h})
	first := someStats().with("commands", "1222222", "evictions", "989", "restores", "848")
	for i, st := range []Stats{first, someStats()} {
		m.Update(Polled{Stats: st, Sessions: someSessions(60), Query: m.Query(), At: noon.Add(time.Duration(i-1) * time.Second)})
	}
	return m
}

func press(m *Model, keys ...string) (last Effect) {
	for _, k := range keys {
		if len(k) == 1 {
			last = m.Update(Key{Text: k})
		} else {
			last = m.Update(Key{Name: k})
		}
	}
	return last
}

func wantOnScreen(t *testing.T, m *Model, texts ...string) {
	t.Helper()
	screen := m.View().String()
	for _, text := range texts {
		if !strings.Contains(screen, text) {
			t.Errorf("%q is not on the screen:\n%s", text, screen)
		}
	}
}

func TestNumbersOnTheScreen(t *testing.T) {
	wantOnScreen(t, model(t, 80, 24), "79.3 %", "812.5 MB of 1.0 GB", "evicts above 82 % until under 71 %", "sampled 7s ago",
		"commands/s      12,345", "evictions/s         12", "restores/s           9", "restore p50     2.13ms", "restore p99     14.8ms",
		"save lag         123ms", "clients          1,204", "dirty keys         341", "1,234,567 commands, hits 99.9 %",
		"sessions: 12,345", "■ 5,001 in Redis ■ 7,302 in Postgres ■ 13 loading ■ 29 unknown", "up 3h12m", "12:00:00", "nothing to report")
	wantOnScreen(t, model(t, 200, 50), "1,001 evictions  902 memory  63 idle  17 rescue  19 by hand  857 restores, 3 failed",
		"commands/s, 12,345 now", "2026-03-04 12:00:00", "12,345 sessions: ■ 5,001")
	wantOnScreen(t, model(t, 60, 12), "79.3 %", "12,345 cmd/s", "12 out/s", "9 in/s", "14.8ms p99", "341 dirty", "■ 5,001 in Redis")
}

var figure = regexp.MustCompile(`\d[\d,.:]*`)

// What is not known is not shown as a number: without an answer there is none but the address's and the clock's.
func TestNoAnswerNoNumbers(t *testing.T) {
	m := New("proxy.example", time.Second)
	m.Clock = func() time.Time { return noon }
	m.Update(Resize{80, 24})
	m.Update(Polled{Err: errors.New("refused"), At: noon.Add(-5 * time.Second)})
	wantOnScreen(t, m, "No answer from proxy.example for 5s, asking again: refused")
	for _, n := range figure.FindAllString(m.View().String(), -1) {
		if n != "1" && n != "12:00:00" && n != "5" {
			t.Errorf("%s is on the screen:\n%s", n, m.View())
		}
	}
}

// Whatever the terminal's size and the mode: every line is as wide as the terminal, exactly.
func TestEverySizeFits(t *testing.T) {
	modes := map[string][]string{"browsing": nil, "filter": {"/", "a", "b"}, "confirm": {"e"}, "help": {"?"}, "end": {"end"}}
	for name, keys := range modes {
		for w := 0; w <= 220; w += 1 + w/6 {
			for h := 0; h <= 70; h += 1 + h/4 {
				m := model(t, w, h)
				m.sessions[1].ID = strings.Repeat("日本", 80)
				m.sessions[2].ID = "\x1b[2J\xff" + strings.Repeat("e\u0301", 30)
				press(m, keys...)
				m.lines = []string{strings.Repeat("word ", 60), strings.Repeat("x", 300)}
				if name == "end" {
					m.mode = inspecting
				}
				f := m.View()
				for y := range h {
					if got := human.Width(f.line(y)); got != w {
						t.Fatalf("%s, %dx%d: line %d has %d cells: %q", name, w, h, y, got, f.line(y))
					}
				}
			}
		}
	}
}

// Random events, and never anything outside the frame, nor a cursor that is on no session.
func TestRandomEvents(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	keys := []string{"up", "down", "pgup", "pgdn", "home", "end", "enter", "esc", "backspace", "ctrl-u", "e", "r", "p", "P", "y", "s", "t", "/", "?", "j", "k", "x", " ", "H"}
	m := model(t, 80, 24)
	for range 2_000 {
		switch rng.IntN(12) {
		case 0:
			m.Update(Resize{rng.IntN(240), rng.IntN(80)})
		case 1:
			m.Update(Polled{Stats: someStats().with("paused", fmt.Sprint(rng.IntN(2)), "enforcing", fmt.Sprint(rng.IntN(2)), "commands", fmt.Sprint(rng.IntN(1e9))),
				Sessions: someSessions(rng.IntN(300)), Query: m.Query(), At: noon})
		case 2:
			m.Update(Polled{Err: errors.New("away"), At: noon, Query: m.Query()})
		case 3:
			if len(m.underway) > 0 {
				m.Update(Done{Order: m.underway[0], Err: []error{nil, errors.New("no\nway")}[rng.IntN(2)], Lines: []string{"a"}})
			}
		default:
			press(m, keys[rng.IntN(len(keys))])
		}
		_ = m.View()
		if _, ok := m.current(); !ok && len(m.sessions) > 0 {
			t.Fatalf("cursor %d of %d sessions", m.cursor, len(m.sessions))
		}
		if rows := m.rows(); rows > 0 && (m.cursor < m.offset || m.cursor >= m.offset+rows) {
			t.Fatalf("cursor %d is not among the %d lines from %d", m.cursor, rows, m.offset)
		}
	}
}

func TestActions(t *testing.T) {
	m := model(t, 80, 24)
	press(m, "down", "down")
	name := m.sessions[2].Name
	if e := press(m, "e"); e.Order != nil {
		t.Fatal("evicted without asking")
	}
	wantOnScreen(t, m, "Evict baileys@0/491510000002@s.whatsapp.net?", "y: yes")
	if e := press(m, "n"); e.Order != nil {
		t.Fatal("evicted in spite of a no")
	}
	wantOnScreen(t, m, "nothing was done")
	if e := press(m, "e", "y"); e.Order == nil || *e.Order != (Order{"EVICT", name}) {
		t.Fatalf("effect %+v", e)
	}
	wantOnScreen(t, m, "evict "+name+" ...")
	if e := m.Update(Done{Order: Order{"EVICT", name}}); !e.Poll {
		t.Error("the list is not refreshed after an eviction")
	}
	wantOnScreen(t, m, "evicted "+name)
	m.Update(Done{Order: Order{"RESTORE", name}, Err: errors.New("ERR 0 of 1 done; it is busy")})
	wantOnScreen(t, m, "0 of 1 done; it is busy")
	for key, want := range map[string]Order{"r": {"RESTORE", name}, "p": {"PIN", name}, "enter": {"SESSION", name}} {
		if e := press(m, key); e.Order == nil || *e.Order != want {
			t.Errorf("%s: %+v, want %+v", key, e.Order, want)
		}
	}
	m.Update(Done{Order: Order{"SESSION", name}, Lines: []string{"id           abc", "eviction     " + strings.Repeat("because ", 20)}})
	wantOnScreen(t, m, "id           abc", "because because", "any key closes")
	if press(m, "q").Quit {
		t.Error("closing the box has quit")
	}
	press(m, "down", "down")
	if e := press(m, "p"); e.Order == nil || e.Order.Command != "UNPIN" {
		t.Errorf("a pinned session: %+v", e.Order)
	}
	if e := press(m, "P", "y"); e.Order == nil || e.Order.Command != "PAUSE" {
		t.Errorf("pause: %+v", e.Order)
	}
	m.stats = m.stats.with("paused", "1")
	wantOnScreen(t, m, "Eviction is paused by an operator")
	if e := press(m, "P"); e.Order == nil || e.Order.Command != "RESUME" {
		t.Errorf("resume: %+v", e.Order)
	}
	for _, k := range []string{"q", "ctrl-c"} {
		if !press(m, k).Quit {
			t.Errorf("%s does not quit", k)
		}
	}
}

func TestSortAndFilter(t *testing.T) {
	m := model(t, 80, 24)
	for _, want := range []string{"recent", "hits", "bytes", "lru"} {
		if e := press(m, "s"); !e.Poll || m.Query().Order != want {
			t.Errorf("order %s, want %s", m.Query().Order, want)
		}
		wantOnScreen(t, m, orderTitles[want])
	}
	if press(m, "H"); m.Query().Order != "hits" {
		t.Errorf("H sorts by %s", m.Query().Order)
	}
	wantOnScreen(t, m, "HITS▼")
	press(m, "/", "q", "e", "t")
	if q := m.Query(); q.Match != "qet" || m.mode != filtering {
		t.Errorf("typed %+v", q)
	}
	press(m, "backspace", "enter", "t")
	q := m.Query()
	if q.Match != "qe" || q.State != "resident" || strings.Join(q.args(), " ") != "SESSIONS ORDER hits COUNT 100 MATCH qe STATE resident" {
		t.Errorf("query %+v, %q", q, q.args())
	}
	m.Update(Polled{Stats: someStats(), Query: q, At: noon})
	wantOnScreen(t, m, "SESSION /qe resident (0)", "no session matches")
	if m.Update(Polled{Stats: someStats(), Sessions: someSessions(3), Query: Query{Order: "lru"}, At: noon}); len(m.sessions) != 0 {
		t.Error("an answer to an older query is listed")
	}
	press(m, "esc")
	if q := m.Query(); q.Match+q.State != "" {
		t.Errorf("after Esc: %+v", q)
	}
}

// The cursor stays on its session when the list is sorted anew by the proxy, and more is asked for when it comes near the end.
func TestCursorFollows(t *testing.T) {
	m := model(t, 80, 24)
	press(m, "down", "down", "down")
	list := someSessions(60)
	list[3], list[50] = list[50], list[3]
	m.Update(Polled{Stats: someStats(), Sessions: list, Query: m.Query(), At: noon})
	if s, _ := m.current(); m.cursor != 50 || s.ID != someSessions(60)[3].ID {
		t.Errorf("the cursor is at %d, on %s", m.cursor, s.ID)
	}
	wantOnScreen(t, m, someSessions(60)[3].ID[:8])
	m.Update(Polled{Stats: someStats(), Sessions: someSessions(100), Query: m.Query(), At: noon})
	if press(m, "end"); m.Query().Count <= 100 {
		t.Errorf("at the end of 100 sessions %d are asked for", m.Query().Count)
	}
}

func TestHealthInWords(t *testing.T) {
	for want, pairs := range map[string][]string{
		"Redis is away (for 12s): commands are answered with an error":               {"redis_away_ms", "12000"},
		"Postgres is away: nothing can be evicted":                                   {"not_saving_ms", "12000", "enforcing", "0"},
		"Postgres is away (for 7s): nothing can be":                                  {"postgres_away_ms", "7000"},
		"Thrashing: evicted sessions come back at once. memory.max 1.5 GB would do.": {"thrashing", "1", "advised_max_bytes", "1610612736"},
		"Thrashing: evicted sessions come back at once. Raise their keyspace's max.": {"thrashing", "1"},
		"341 keys wait to be saved":                                                  {"not_saving_ms", "12000", "enforcing", "0"},
		"Saving has failed for 12s":                                                  {"not_saving_ms", "12000"},
		"The lock on the memory policy":                                              {"enforcing", "0"},
		"Redis will refuse writes":                                                   {"memory_full", "1"},
		"Eviction is paused":                                                         {"paused", "1"},
		"1,200 of about 5,000 keys looked at":                                        {"adoption_pending", "1", "adoption_keys", "1200", "adoption_keys_total", "5000"},
		"shutting down":                                                              {"closing", "1"},
		"No more clients":                                                            {"clients", "10000"},
	} {
		m := model(t, 200, 50)
		m.Update(Polled{Stats: someStats().with(pairs...), Query: m.Query(), At: noon})
		wantOnScreen(t, m, want)
	}
	small := model(t, 80, 24) // what to do about it must not be cut off there
	small.Update(Polled{Stats: someStats().with("thrashing", "1", "advised_max_bytes", "107374182400"), Query: small.Query(), At: noon})
	wantOnScreen(t, small, "memory.max 100.0 GB would do.")
	m := model(t, 200, 50)
	m.Update(Polled{Err: errors.New("dial tcp: connection refused"), At: noon.Add(-90 * time.Second)})
	m.Update(Polled{Err: errors.New("dial tcp: connection refused"), At: noon.Add(-89 * time.Second)})
	wantOnScreen(t, m, "No answer from 127.0.0.1:6380 for 1m30s, asking again (numbers of 12:00:00): dial tcp: connection refused", "12,345 sessions")
	m.Update(Polled{Stats: someStats(), Query: m.Query(), At: noon})
	wantOnScreen(t, m, "nothing to report")
}

// A counter that falls belongs to a new proxy, and the time while nobody answered has no rate.
func TestRates(t *testing.T) {
	var h history
	at := noon
	for i, c := range []struct {
		commands string
		want     float64
	}{{"100", math.NaN()}, {"300", 100}, {"50", math.NaN()}, {"50", 0}, {"", math.NaN()}, {"9000", math.NaN()}, {"9010", 5}} {
		at = at.Add(2 * time.Second)
		if c.commands == "" {
			h.gap()
		} else {
			h.add(Stats{"commands": c.commands}, at)
		}
		if got := h.now("commands"); got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("poll %d: %v, want %v", i, got, c.want)
		}
	}
	for range 2 * remembered {
		h.add(Stats{"commands": "1"}, at)
	}
	if n := len(h.series["commands"]); n != remembered {
		t.Errorf("%d values are kept, want %d", n, remembered)
	}
}

func TestCharts(t *testing.T) {
	if got := sparkline([]float64{0, 1, 4, 8, math.NaN()}, 6); got != " ▁▁▄█ " {
		t.Errorf("sparkline %q", got)
	}
	if got := strings.Join(chart([]float64{0, 50, 100}, 3, 2, 100), "|"); got != "  █|▁██" {
		t.Errorf("chart %q", got)
	}
	for percent, want := range map[float64]string{0: "·······┊┃·", 45: "████▌··┊┃·", 100: "██████████", 140: "██████████", -3: "·······┊┃·"} {
		f := newFrame(10, 1)
		gauge(f.all().row(0), percent, 70, 80)
		if f.line(0) != want {
			t.Errorf("%v %%: %s, want %s", percent, f.line(0), want)
		}
	}
}
