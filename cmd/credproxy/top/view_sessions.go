package top

import (
	"fmt"
	"strings"

	"credproxy/internal/human"
)

// stateShare is a number of sessions in a state.
type stateShare struct {
	name, label string
	style       style
}

var shares = []stateShare{
	{"sessions_resident", "in Redis", good}, {"sessions_evicted", "in Postgres", graph},
	{"sessions_loading", "loading", warn}, {"sessions_unknown", "unknown", faint},
}

func (m *Model) stateLine(p *pen) {
	for i, s := range shares {
		if i > 0 {
			p.put(faint, " ")
		}
		p.put(s.style, "■ ").put(strong, m.stats.count(s.name)).put(faint, " "+s.label)
	}
}

// stateBar shows the same as parts of a line.
func (m *Model) stateBar(p *pen) {
	all := m.stats.n("sessions_tracked")
	if all == 0 {
		p.put(faint, "no sessions yet")
		return
	}
	width, sum, drawn := p.room(), 0.0, 0
	for _, s := range shares {
		sum += m.stats.n(s.name)
		for until := int(sum/all*float64(width) + 0.5); drawn < until; drawn++ {
			p.put(s.style, "▆")
		}
	}
}

// reasons are the evictions since the start by what caused them, and what went wrong with restores.
func (m *Model) reasons(p *pen) {
	st := m.stats
	p.put(strong, st.count("evictions")).put(faint, " evictions  ")
	for _, r := range []struct{ name, label string }{
		{"memory_evictions", "memory"}, {"inactivity_evictions", "idle"}, {"rescue_evictions", "rescue"}, {"keyspace_evictions", "keyspace's max"}, {"command_evictions", "by hand"},
	} {
		if st.n(r.name) > 0 {
			p.put(strong, st.count(r.name)).put(faint, " "+r.label+"  ")
		}
	}
	p.put(strong, st.count("restores")).put(faint, " restores, ")
	failed := strong
	if st.n("restore_errors") > 0 {
		failed = bad
	}
	p.put(failed, st.count("restore_errors")).put(faint, " failed")
}

// listed says which sessions are listed, and how.
func (m *Model) listed() string { return orderTitles[m.query.Order] }

func (m *Model) health(a area) {
	list := m.findings()
	switch {
	case m.stats == nil && m.trouble == "":
		a.row(0).put(faint, " asking "+m.Addr)
	case len(list) == 0:
		a.row(0).put(good, " ● ").put(faint, "nothing to report")
	}
	for i, f := range list {
		a.row(i).put(f.style, " ● "+f.text)
	}
}

// column is one of the list.
type column struct {
	title string
	width int
	from  int // the narrowest terminal that has it
	left  bool
	sorts string // the orders that sort by it
	value func(*Session) (style, string)
}

var columns = []column{
	{"KEYSPACE", 12, 96, true, "", func(s *Session) (style, string) { return faint, human.Shorten(human.Printable(s.Keyspace), 12) }},
	{"STATE", 8, 30, true, "", func(s *Session) (style, string) { return stateStyle(s.State), s.State }},
	{"IDLE", 7, 24, false, "lru recent", func(s *Session) (style, string) { return plain, s.idleText() }},
	{"LAST USED", 19, 130, false, "", func(s *Session) (style, string) { return faint, human.Time(float64(s.LastAccess)) }},
	{"HITS", 10, 50, false, "hits", func(s *Session) (style, string) { return plain, human.Count(s.Hits) }},
	{"BYTES", 9, 40, false, "bytes", func(s *Session) (style, string) { return plain, human.Size(float64(s.Bytes)) }},
	{"DIRTY", 6, 60, false, "", dirtyValue},
	{"PIN", 3, 36, true, "", func(s *Session) (style, string) { return warn, map[bool]string{true: "pin"}[s.Pinned] }},
}

func dirtyValue(s *Session) (style, string) {
	if s.Dirty == 0 {
		return faint, "0"
	}
	return warn, human.Count(s.Dirty)
}

func stateStyle(state string) style {
	switch state {
	case "resident":
		return good
	case "evicted":
		return graph
	case "unknown":
		return faint
	}
	return warn
}

// list shows the sessions around the cursor.
func (m *Model) list(a area) {
	if a.h < 1 {
		return
	}
	shown, width := shownColumns(a.w)
	head := a.row(0)
	head.put(heading, " ").padded(heading, m.listTitle(width), width)
	for _, c := range shown {
		head.put(heading, " ")
		c.put(head, heading, c.title+m.arrow(c))
	}
	if head.room() > 8 {
		head.put(heading, "  SIZE")
	}
	biggest := int64(1)
	for i := range m.sessions {
		biggest = max(biggest, m.sessions[i].Bytes)
	}
	_, rows := a.top(1)
	for i := 0; i < rows.h && m.offset+i < len(m.sessions); i++ {
		s := &m.sessions[m.offset+i]
		p := m.session(rows, i, s, shown, width, m.offset+i == m.cursor)
		if room := p.room() - 3; room > 0 {
			p.put(plain, "  ").put(faint, strings.Repeat("▪", int(int64(room)*s.Bytes/biggest)))
		}
	}
	if len(m.sessions) == 0 && m.stats != nil {
		rows.row(0).put(faint, " "+m.nothing())
	}
}

// shownColumns are those that fit, and how wide the id may be.
func shownColumns(w int) (shown []column, id int) {
	id = w - 2 // an empty cell at both ends
	for _, c := range columns {
		if w >= c.from {
			shown = append(shown, c)
			id -= c.width + 1
		}
	}
	return shown, min(max(id, 1), widestID)
}

// widestID is what the column of ids takes at most; what a wide terminal has left shows sizes as bars.
const widestID = 60

func (c column) put(p *pen, st style, text string) {
	if c.left {
		p.padded(st, text, c.width)
		return
	}
	p.right(st, text, c.width)
}

// arrow marks the column that sorts: down for the highest first.
func (m *Model) arrow(c column) string {
	switch {
	case m.query.Order == "recent" && c.sorts == "lru recent":
		return "▲"
	case m.query.Order != "recent" && c.sorts != "" && c.sorts[:3] == m.query.Order[:3]:
		return "▼"
	}
	return ""
}

// listTitle names the column of ids, and says which are listed.
func (m *Model) listTitle(width int) string {
	text := "SESSION"
	if m.query.Match != "" {
		text += " /" + human.Printable(m.query.Match)
	}
	if m.query.State != "" {
		text += " " + m.query.State
	}
	if n := len(m.sessions); m.query.Match+m.query.State != "" && m.stats != nil {
		text += fmt.Sprintf(" (%s%s)", human.Count(int64(n)), map[bool]string{true: "+"}[n >= m.query.Count])
	}
	return human.Shorten(text, width)
}

func (m *Model) nothing() string {
	if m.query.Match+m.query.State != "" {
		return "no session matches: Esc shows all"
	}
	return "no sessions yet: they appear when a client uses one"
}

func (m *Model) session(a area, i int, s *Session, shown []column, width int, current bool) *pen {
	p := a.row(i)
	look := func(st style) style {
		if current {
			return selected
		}
		return st
	}
	if current {
		a.f.fill(a.x, a.y+i, a.w, selected)
	}
	p.put(look(plain), " ").padded(look(plain), human.Shorten(human.Printable(s.ID), width), width)
	for _, c := range shown {
		st, text := c.value(s)
		p.put(look(plain), " ")
		c.put(p, look(st), text)
	}
	return p
}

// footer is the last line: what is asked, what has happened, or the keys.
func (m *Model) footer(a area) {
	a.f.fill(a.x, a.y, a.w, bar)
	p := a.row(0).put(bar, " ")
	switch {
	case m.mode == filtering:
		p.put(bar, "Filter: "+human.Printable(m.typed)).put(selected, " ").put(bar, "  Enter keeps it, Esc clears it")
	case m.mode == confirming:
		answer := "  y: yes, any other key: no "
		p.put(bad, human.Shorten(human.Printable(m.question()), max(p.room()-len(answer), 10))).put(bar, answer)
	case m.message != "" && m.failed:
		p.put(bad, human.Shorten(human.Printable(firstLine(m.message)), p.room()))
	case m.message != "":
		p.put(bar, human.Shorten(human.Printable(m.message), p.room()))
	case len(m.underway) > 0:
		p.put(warn, human.Shorten(human.Printable(m.underway[0].present()), max(p.room()-12, 1))).put(bar, more(len(m.underway)-1)+" ...")
	default:
		keyBar(p)
	}
}

func more(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}

// keyBar names the keys, those first that are needed first.
func keyBar(p *pen) {
	for _, k := range [][2]string{{"?", "help"}, {"q", "quit"}, {"s", "sort"}, {"/", "filter"}, {"t", "state"}, {"e", "evict"},
		{"r", "restore"}, {"p", "pin"}, {"Enter", "why"}, {"P", "pause"}} {
		if p.room() < len(k[0])+len(k[1])+3 {
			return
		}
		p.put(keycap, " "+k[0]+" ").put(bar, k[1]+" ")
	}
}
