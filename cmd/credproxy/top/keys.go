package top

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Key is a key: a name (up, enter, ctrl-c ...), or the text that it types.
type Key struct{ Name, Text string }

func itoa(n int) string { return strconv.Itoa(n) }

func (m *Model) key(k Key) Effect {
	switch k.Name {
	case "ctrl-c":
		return Effect{Quit: true}
	case "ctrl-z":
		return Effect{Suspend: true}
	}
	switch m.mode {
	case filtering:
		return m.edit(k)
	case confirming:
		return m.confirm(k)
	case helping, inspecting:
		m.mode = browsing // any key closes what lies above the list
		return Effect{}
	}
	m.message = ""
	if m.move(k.Name + k.Text) {
		return Effect{}
	}
	return m.command(k)
}

// move moves the cursor and reports whether the key is one that does.
func (m *Model) move(key string) bool {
	page := max(m.rows()-1, 1)
	step, ok := map[string]int{"up": -1, "k": -1, "down": 1, "j": 1, "pgup": -page, "pgdn": page,
		"home": -most, "g": -most, "end": most, "G": most}[key]
	if !ok {
		return false
	}
	m.cursor += step
	m.follow()
	return true
}

// command carries out a key that is not about the cursor.
func (m *Model) command(k Key) Effect {
	switch k.Name + k.Text {
	case "q":
		return Effect{Quit: true}
	case "?", "h", "f1":
		m.mode = helping
	case "s":
		return m.sort(next(orders, m.query.Order))
	case "l", "L":
		return m.sort("lru")
	case "n", "N":
		return m.sort("recent")
	case "H":
		return m.sort("hits")
	case "b", "B":
		return m.sort("bytes")
	case "t":
		return m.choose(m.query.Match, next(states, m.query.State))
	case "/":
		m.mode, m.typed = filtering, m.query.Match
	case "esc":
		return m.choose("", "")
	case " ":
		return Effect{Poll: true}
	case "P":
		return m.pause()
	case "enter", "e", "r", "p":
		return m.act(k.Name + k.Text)
	}
	return Effect{}
}

// next is what follows in a list, the first after the last.
func next(list []string, now string) string { return list[(slices.Index(list, now)+1)%len(list)] }

func (m *Model) sort(order string) Effect {
	m.query.Order = order
	return m.restart()
}

func (m *Model) choose(match, state string) Effect {
	if match == m.query.Match && state == m.query.State {
		return Effect{}
	}
	m.query.Match, m.query.State = match, state
	return m.restart()
}

// restart begins another list at its first entry.
func (m *Model) restart() Effect {
	m.cursor, m.offset = 0, 0
	m.follow()
	return Effect{Poll: true}
}

func (m *Model) pause() Effect {
	if m.stats.n("paused") != 0 {
		return m.order(Order{Command: "RESUME"})
	}
	m.mode, m.ask = confirming, Order{Command: "PAUSE"}
	return Effect{}
}

// act is about the session at the cursor. What takes it out of Redis has to be confirmed.
func (m *Model) act(key string) Effect {
	s, ok := m.current()
	if !ok {
		m.say("there is no session here", true)
		return Effect{}
	}
	switch key {
	case "e":
		m.mode, m.ask = confirming, Order{"EVICT", s.Name}
		return Effect{}
	case "r":
		return m.order(Order{"RESTORE", s.Name})
	case "p":
		if s.Pinned {
			return m.order(Order{"UNPIN", s.Name})
		}
		return m.order(Order{"PIN", s.Name})
	}
	return m.order(Order{"SESSION", s.Name})
}

func (m *Model) order(o Order) Effect {
	if slices.Contains(m.underway, o) {
		return Effect{}
	}
	if len(m.underway) >= waiting {
		m.say("too much at once: wait for what is under way", true)
		return Effect{}
	}
	m.underway = append(m.underway, o)
	return Effect{Order: &o}
}

func (m *Model) confirm(k Key) Effect {
	m.mode = browsing
	if k.Text == "y" || k.Text == "Y" {
		return m.order(m.ask)
	}
	m.say("nothing was done", false)
	return Effect{}
}

// question is what has to be confirmed.
func (m *Model) question() string {
	if m.ask.Command == "PAUSE" {
		return "Pause eviction? Memory can then grow past the threshold."
	}
	return "Evict " + m.ask.Session + "?"
}

// edit changes the filter, which the list follows at once.
func (m *Model) edit(k Key) Effect {
	switch k.Name {
	case "enter":
		m.mode = browsing
		return Effect{}
	case "esc":
		m.mode, m.typed = browsing, ""
	case "backspace":
		_, n := utf8.DecodeLastRuneInString(m.typed)
		m.typed = m.typed[:len(m.typed)-n]
	case "ctrl-u":
		m.typed = ""
	default:
		if len(m.typed)+len(k.Text) <= longestFilter {
			m.typed += strings.TrimFunc(k.Text, func(r rune) bool { return r < ' ' })
		}
	}
	return m.choose(m.typed, m.query.State)
}

const (
	longestFilter = 200
	// waiting is how many orders may be under way or wait for their turn.
	waiting = 16
)
