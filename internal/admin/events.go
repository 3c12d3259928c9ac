package admin

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"credproxy/proxy"
)

const (
	maxEvents    = 200
	maxEventText = 400 // bytes
)

// Event is one line of the dashboard's list.
type Event struct {
	ID    int64  `json:"id"` // rises
	At    int64  `json:"at"` // unix milliseconds
	Kind  string `json:"kind"`
	Level string `json:"level"` // info, warn or error
	Text  string `json:"text"`
}

// Events keeps the last events. It is a sink for the program's log: what is worth a line there from level info on is worth one
// on the dashboard.
type Events struct {
	mu   sync.Mutex // guards the rest
	ring [maxEvents]Event
	last int64 // id of the latest
}

// NewEvents makes an empty list.
func NewEvents() *Events { return &Events{} }

func (e *Events) addAll(now time.Time, list []Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range list {
		e.last++
		ev.ID, ev.At = e.last, now.UnixMilli()
		e.ring[e.last%maxEvents] = ev
	}
}

// after returns the events younger than id, the oldest first.
func (e *Events) after(id int64) []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	if id < 0 || id > e.last {
		id = 0 // of an earlier process
	}
	list := []Event{}
	for n := max(id, e.last-maxEvents) + 1; n <= e.last; n++ {
		list = append(list, e.ring[n%maxEvents])
	}
	return list
}

// Accept takes a log line; it is part of hclog.SinkAdapter.
func (e *Events) Accept(name string, level hclog.Level, msg string, args ...any) {
	if level < hclog.Info || strings.HasSuffix("."+name, "."+proxy.SlowLogger) { // the slow log has a list of its own
		return
	}
	var b strings.Builder
	b.WriteString(msg)
	for i := 0; i+1 < len(args); i += 2 {
		if name := fmt.Sprint(args[i]); name != "stack" {
			fmt.Fprintf(&b, "  %s=%s", name, shown(args[i+1]))
		}
	}
	text := b.String()
	if len(text) > maxEventText {
		text = strings.ToValidUTF8(text[:maxEventText], "") + "…"
	}
	e.addAll(time.Now(), []Event{{Kind: "log", Level: levelName(level), Text: text}})
}

// shown prints a value as the log does, as far as that fits on a line.
func shown(v any) string {
	if f, ok := v.(hclog.Format); ok && len(f) > 0 {
		return fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
	}
	return strings.ReplaceAll(fmt.Sprint(v), "\n", " ")
}

func levelName(l hclog.Level) string {
	switch {
	case l >= hclog.Error:
		return "error"
	case l == hclog.Warn:
		return "warn"
	}
	return "info"
}
