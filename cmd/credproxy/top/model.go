package top

import (
	"slices"
	"strings"
	"time"
)

// Model is everything that the screen depends on.
type Model struct {
	Addr     string
	Interval time.Duration
	Clock    func() time.Time

	w, h     int
	stats    Stats // nil: no answer yet
	past     history
	trouble  string // why stats is old; "" when it is not
	since    time.Time
	lines    []string // of CREDPROXY SESSION, while it is shown
	sessions []Session

	query    Query
	cursor   int    // of sessions
	chosen   string // name of the session at the cursor
	offset   int    // of the first session on the screen
	mode     mode
	typed    string // the filter that is being typed
	ask      Order  // what is to be confirmed
	message  string
	failed   bool // message is about an error
	underway []Order
}

// mode is what keys are for at the moment.
type mode uint8

const (
	browsing mode = iota
	filtering
	confirming
	helping
	inspecting
)

// Query is which sessions are wanted.
type Query struct {
	Order string // lru, recent, hits or bytes
	Match string
	State string
	Count int
}

// args are the arguments of CREDPROXY.
func (q Query) args() []string {
	args := []string{"SESSIONS", "ORDER", q.Order, "COUNT", itoa(q.Count)}
	if q.Match != "" {
		args = append(args, "MATCH", q.Match)
	}
	if q.State != "" {
		args = append(args, "STATE", q.State)
	}
	return args
}

// Order is something for the proxy to do.
type Order struct {
	Command string // EVICT, RESTORE, PIN, UNPIN, PAUSE, RESUME or SESSION
	Session string // "" for PAUSE and RESUME
}

func (o Order) args() []string {
	if o.Session == "" {
		return []string{o.Command}
	}
	return []string{o.Command, o.Session}
}

var (
	orders = []string{"lru", "recent", "hits", "bytes"}
	states = []string{"", "resident", "evicted", "loading", "evicting", "unknown"}
)

// orderTitles say what stands first.
var orderTitles = map[string]string{"lru": "least recently used first", "recent": "most recently used first",
	"hits": "most hits first", "bytes": "biggest first"}

// most is how many sessions are asked for at most: enough to scroll, and cheap to send every second.
const most = 1000

// New is a model before the first answer.
func New(addr string, interval time.Duration) *Model {
	return &Model{Addr: addr, Interval: interval, Clock: time.Now, query: Query{Order: "lru", Count: 100}}
}

// Events of the model, besides Key.
type (
	// Resize tells the size of the terminal.
	Resize struct{ W, H int }
	// Polled is an answer of the proxy, or why there is none.
	Polled struct {
		Stats    Stats
		Sessions []Session
		Query    Query
		At       time.Time
		Err      error
	}
	// Done tells how an order went. Lines are what SESSION has answered.
	Done struct {
		Order Order
		Lines []string
		Err   error
	}
)

// Effect is what Run has to do after an event.
type Effect struct {
	Quit    bool
	Suspend bool
	Poll    bool   // now, as another query is wanted
	Order   *Order // to carry out
}

// Query is what to ask for at the next poll.
func (m *Model) Query() Query { return m.query }

// Update takes an event. Nothing in it takes time.
func (m *Model) Update(event any) Effect {
	switch e := event.(type) {
	case Resize:
		m.w, m.h = e.W, e.H
		m.follow()
	case Polled:
		m.polled(e)
	case Done:
		return m.done(e)
	case Key:
		return m.key(e)
	}
	return Effect{}
}

func (m *Model) polled(p Polled) {
	if p.Err != nil {
		if m.trouble == "" {
			m.since = p.At
		}
		m.trouble = p.Err.Error()
		m.past.gap()
		m.follow() // what is wrong takes lines from the list
		return
	}
	m.trouble = ""
	m.stats = p.Stats
	m.past.add(p.Stats, p.At)
	if p.Query.Order != m.query.Order || p.Query.Match != m.query.Match || p.Query.State != m.query.State {
		m.follow()
		return // an answer to what is no longer asked; the next one is on its way
	}
	m.sessions = p.Sessions
	// The cursor stays on its session, wherever that has moved; if it has gone, on its place.
	if i := slices.IndexFunc(m.sessions, func(s Session) bool { return s.Name == m.chosen }); i >= 0 && m.chosen != "" && m.cursor > 0 {
		m.cursor = i
	}
	m.follow()
}

// done shows how an order went.
func (m *Model) done(d Done) Effect {
	if i := slices.Index(m.underway, d.Order); i >= 0 {
		m.underway = slices.Delete(m.underway, i, i+1)
	}
	switch {
	case d.Err != nil:
		m.say(d.Err.Error(), true)
	case d.Order.Command == "SESSION":
		m.mode, m.lines = inspecting, d.Lines
	default:
		m.say(d.Order.past(), false)
	}
	return Effect{Poll: d.Order.Command != "SESSION"}
}

func (m *Model) say(text string, failed bool) {
	m.message, m.failed = text, failed
}

var pastTense = map[string]string{"EVICT": "evicted", "RESTORE": "restored", "PIN": "pinned", "UNPIN": "unpinned",
	"PAUSE": "eviction is paused", "RESUME": "eviction goes on"}

// past says that an order was carried out.
func (o Order) past() string {
	if o.Session == "" {
		return pastTense[o.Command]
	}
	return pastTense[o.Command] + " " + o.Session
}

// present says that an order is being carried out.
func (o Order) present() string {
	return strings.TrimSpace(strings.ToLower(o.Command) + " " + o.Session)
}

// follow keeps the cursor on a session, and that session on the screen, and asks for as many as can be scrolled to.
func (m *Model) follow() {
	m.cursor = min(max(m.cursor, 0), max(len(m.sessions)-1, 0))
	m.chosen = ""
	if m.cursor < len(m.sessions) {
		m.chosen = m.sessions[m.cursor].Name
	}
	rows := max(m.rows(), 1)
	m.offset = min(m.offset, m.cursor, max(len(m.sessions)-rows, 0))
	m.offset = max(m.offset, m.cursor-rows+1, 0)
	m.query.Count = min(max(100, (m.offset+2*rows+99)/100*100), most)
}

// current is the session at the cursor.
func (m *Model) current() (Session, bool) {
	if m.cursor >= len(m.sessions) {
		return Session{}, false
	}
	return m.sessions[m.cursor], true
}
