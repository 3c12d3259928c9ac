package proxy

import (
	"time"

	"github.com/hashicorp/go-hclog"
)

// repeats are log lines of one kind that clients or data can cause as often as they like. So many go out a minute; of the
// others the log says how many there were, when the minute is over or at the end.
type repeats struct {
	began time.Time // of the minute
	said  int
	left  int // left out
	log   hclog.Logger
	level hclog.Level // of the last one left out, and text
	text  string
}

// event logs one of many that may be alike: at most `most` a minute of that kind.
func (a *alarms) event(kind string, most int, level hclog.Level, text string, args ...any) {
	a.eventOf(a.log, kind, most, level, text, args...)
}

func (a *alarms) eventOf(log hclog.Logger, kind string, most int, level hclog.Level, text string, args ...any) {
	if a.admits(log, kind, most, level, text) {
		log.Log(level, text, args...)
	}
}

// admits reports whether an event is logged now, and else counts it.
func (a *alarms) admits(log hclog.Logger, kind string, most int, level hclog.Level, text string) bool {
	now := time.Now()
	a.mu.Lock()
	r := a.repeats[kind]
	if r == nil {
		r = &repeats{began: now}
		a.repeats[kind] = r
	}
	var over repeats
	if now.Sub(r.began) >= alarmEvery {
		over, *r = *r, repeats{began: now}
	}
	ok := r.said < most
	if ok {
		r.said++
	} else {
		r.left, r.log, r.level, r.text = r.left+1, log, level, text
	}
	a.mu.Unlock()
	a.tellOf(over)
	return ok
}

// tellLeftOut logs how many events were left out in minutes that are over; at the end, in those that are not, too.
func (a *alarms) tellLeftOut(end bool) {
	now := time.Now()
	var over []repeats
	a.mu.Lock()
	for kind, r := range a.repeats {
		if end || now.Sub(r.began) >= alarmEvery {
			over = append(over, *r)
			delete(a.repeats, kind)
		}
	}
	a.mu.Unlock()
	for _, r := range over {
		a.tellOf(r)
	}
}

func (a *alarms) tellOf(r repeats) {
	if r.left > 0 {
		r.log.Log(r.level, r.text, "left_out", r.left, "within", time.Since(r.began).Round(time.Second).String())
	}
}
