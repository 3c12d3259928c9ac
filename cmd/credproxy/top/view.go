package top

import (
	"fmt"
	"math"
	"time"

	"credproxy/internal/human"
)

// View draws the model. Whatever the size of the terminal, nothing is drawn outside it.
func (m *Model) View() *frame {
	f := newFrame(max(m.w, 0), max(m.h, 0))
	all := f.all()
	if m.h < 3 || m.w < 10 {
		all.row(0).put(warn, "too small")
		return f
	}
	p := m.plan()
	title, rest := all.top(1)
	upper, rest := rest.top(p.upper)
	health, rest := rest.top(p.health)
	list, footer := rest.top(rest.h - 1)
	m.title(title)
	m.upper(upper, p.size)
	m.health(health)
	m.list(list)
	m.footer(footer)
	switch m.mode {
	case helping:
		overlay(all, "keys", helpLines)
	case inspecting:
		overlay(all, "session", m.lines)
	}
	return f
}

// title is the first line: which proxy this is and how old the picture.
func (m *Model) title(a area) {
	a.f.fill(a.x, a.y, a.w, bar)
	right := fmt.Sprintf("every %s  %s ", m.Interval, m.Clock().Format("15:04:05"))
	p := a.row(0).put(bar, " credproxy top  "+m.Addr)
	if m.stats != nil {
		p.put(bar, "  up "+human.Age(time.Duration(m.stats.n("uptime_seconds"))*time.Second))
	}
	if p.room() > len(right)+2 {
		p.to(a.w-len(right)).put(bar, right)
	}
}

func (m *Model) upper(a area, s size) {
	switch {
	case m.stats == nil:
	case s == tall:
		left, right := a.left(a.w / 2)
		m.memoryBox(left.box("memory", m.budget()))
		m.activityBox(right.box("activity", m.totals()))
	case s == normal:
		m.numbersBox(a)
	case s == small:
		m.summary(a)
	}
}

// summary is all numbers in three lines.
func (m *Model) summary(a area) {
	p := a.row(0)
	p.put(heading, "mem ").put(m.memoryStyle(), percent(m.stats.n("memory_percent_used"))).put(plain, " ")
	gauge(p, m.stats.n("memory_percent_used"), int(m.stats.n("memory_target")), int(m.stats.n("memory_threshold")))
	a.row(1).put(strong, m.rate("commands")).put(faint, " cmd/s ").put(strong, m.rate("evictions")).put(faint, " out/s ").
		put(strong, m.rate("restores")).put(faint, " in/s ").put(strong, m.stats.micros("restore_p99_us")).put(faint, " p99 ").
		put(strong, m.stats.count("dirty_keys")).put(faint, " dirty ").put(strong, m.stats.count("clients")).put(faint, " clients")
	m.stateLine(a.row(2))
}

// numbersBox is the upper part of a screen of 80x24.
func (m *Model) numbersBox(a area) {
	in := a.box("memory", m.budget())
	gauge(in.row(0), m.stats.n("memory_percent_used"), int(m.stats.n("memory_target")), int(m.stats.n("memory_threshold")))
	m.memoryLine(in.row(1))
	a.divide(3, "activity", m.totals())
	_, meters := in.top(3)
	m.meters(area{meters.f, meters.x, meters.y, meters.w, 4})
	a.divide(8, "sessions: "+m.stats.count("sessions_tracked"), m.listed())
	m.stateLine(in.row(8))
}

// memoryBox is the left upper part of a large screen.
func (m *Model) memoryBox(a area) {
	gauge(a.row(0), m.stats.n("memory_percent_used"), int(m.stats.n("memory_target")), int(m.stats.n("memory_threshold")))
	m.memoryLine(a.row(1))
	a.row(2).put(faint, "used, percent of the budget")
	for i, line := range chart(m.past.series["memory_percent_used"], a.w, 4, 100) {
		a.row(3+i).put(m.memoryStyle(), line)
	}
	m.stateBar(a.row(8))
	m.stateLine(a.row(9).put(strong, m.stats.count("sessions_tracked")).put(faint, " sessions: "))
}

// activityBox is the right upper part of a large screen.
func (m *Model) activityBox(a area) {
	p := a.row(0).put(faint, "commands/s, ")
	p.put(strong, m.rate("commands"))
	most := peak(m.past.series["commands"], a.w)
	p.put(faint, " now, ").put(strong, human.Count(int64(most))).put(faint, " at most")
	for i, line := range chart(m.past.series["commands"], a.w, 4, most) {
		a.row(1+i).put(graph, line)
	}
	_, meters := a.top(5)
	m.meters(area{meters.f, meters.x, meters.y, meters.w, 4})
	m.reasons(a.row(9))
}

// memoryStyle is the color of the gauge's end.
func (m *Model) memoryStyle() style {
	switch used := m.stats.n("memory_percent_used"); {
	case used >= m.stats.n("memory_threshold"):
		return bad
	case used >= m.stats.n("memory_target"):
		return warn
	}
	return good
}

func (m *Model) memoryLine(p *pen) {
	st := m.stats
	p.put(m.memoryStyle(), percent(st.n("memory_percent_used"))).put(plain, "  ").
		put(strong, st.size("memory_used_bytes")).put(faint, " of ").put(strong, st.size("memory_max_bytes"))
	sampled := "not sampled yet"
	if at := st.n("memory_sampled_at"); at > 0 {
		sampled = "sampled " + human.Age(m.Clock().Sub(time.UnixMilli(int64(at)))) + " ago"
	}
	if p.room() > len(sampled)+2 {
		p.right(faint, sampled, p.room())
	}
}

// budget says when eviction begins and where it ends.
func (m *Model) budget() string {
	return fmt.Sprintf("evicts above %s %% until under %s %%", m.stats["memory_threshold"], m.stats["memory_target"])
}

func (m *Model) totals() string {
	return fmt.Sprintf("%s commands, hits %s", m.stats.count("commands"), percent(m.stats.hitRatio()))
}

// rate is how often something happened in a second, "-" before that is known.
func (m *Model) rate(name string) string {
	r := m.past.now(name)
	switch {
	case math.IsNaN(r):
		return "-"
	case r < 10 && r != math.Trunc(r):
		return fmt.Sprintf("%.1f", r)
	}
	return human.Count(int64(math.Round(r)))
}

// meter is a number with its last values.
type meter struct{ label, value, series string }

// meters shows the numbers that change, in two columns.
func (m *Model) meters(a area) {
	st := m.stats
	clients := st.count("clients")
	left, right := a.left((a.w + 1) / 2)
	_, right = right.left(1)
	for i, row := range [][2]meter{
		{{"commands/s", m.rate("commands"), "commands"}, {"restore p50", st.micros("restore_p50_us"), "restore_p50_us"}},
		{{"evictions/s", m.rate("evictions"), "evictions"}, {"restore p99", st.micros("restore_p99_us"), "restore_p99_us"}},
		{{"restores/s", m.rate("restores"), "restores"}, {"save lag", st.millis("sync_lag_ms"), "sync_lag_ms"}},
		{{"clients", clients, "clients"}, {"dirty keys", st.count("dirty_keys"), "dirty_keys"}},
	} {
		m.meter(left.row(i), row[0])
		m.meter(right.row(i), row[1])
	}
}

func (m *Model) meter(p *pen, one meter) {
	p.padded(faint, one.label, 12).right(strong, one.value, 10).put(plain, " ")
	p.put(graph, sparkline(m.past.series[one.series], p.room()))
}
