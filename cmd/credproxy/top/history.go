package top

import (
	"math"
	"time"
)

// remembered is how many polls are kept: more than the widest screen has columns.
const remembered = 512

// rates are counters of STATS that are shown by the second.
var rates = []string{"commands", "evictions", "restores", "saved_keys"}

// levels are numbers of STATS that are shown as they are.
var levels = []string{"memory_percent_used", "restore_p50_us", "restore_p99_us", "sync_lag_ms", "dirty_keys", "clients"}

// history is what the charts show: the last values of every rate and level, the newest last.
type history struct {
	series map[string][]float64
	last   Stats
	at     time.Time
}

// add takes the next poll. Counters that fell were reset, by CREDPROXY CLEAR or by a new proxy: nobody knows that poll's rate.
func (h *history) add(st Stats, at time.Time) {
	if h.series == nil {
		h.series = map[string][]float64{}
	}
	for _, name := range rates {
		rate := math.NaN()
		if seconds := at.Sub(h.at).Seconds(); h.last != nil && seconds > 0 && st.n(name) >= h.last.n(name) {
			rate = (st.n(name) - h.last.n(name)) / seconds
		}
		h.push(name, rate)
	}
	for _, name := range levels {
		h.push(name, st.n(name))
	}
	h.last, h.at = st, at
}

// gap notes a poll that got no answer. The rate after it would be an average over the time away, so there is none.
func (h *history) gap() {
	if h.last == nil {
		return
	}
	for _, name := range append(append([]string{}, rates...), levels...) {
		h.push(name, math.NaN())
	}
	h.last = nil
}

func (h *history) push(name string, v float64) {
	s := append(h.series[name], v)
	h.series[name] = s[max(len(s)-remembered, 0):]
}

// now is the newest value, NaN when it is not known.
func (h *history) now(name string) float64 {
	s := h.series[name]
	if len(s) == 0 {
		return math.NaN()
	}
	return s[len(s)-1]
}
