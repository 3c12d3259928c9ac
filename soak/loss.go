package main

import (
	"fmt"
	"slices"
	"strings"
)

// loss finds out what the death of Redis has cost one partition.
//
// Nothing may be there that nobody wrote, nothing that an acknowledged removal followed, and nothing past its deadline. What had
// been there at the round's beginning came from Postgres and must still be there if nothing replaced or removed it. Writes of
// the round may be lost: lost holds them. A removal that was answered with an error may have been committed in Postgres before
// Redis died: it counts as one whose outcome is unknown.
type loss struct {
	part         string
	begin, final any
	clock        clock
	audited      int64 // when the final state was read, at the earliest

	writes, removals, others []*op // not refused
	lost                     []*op
}

func (l *loss) sort(ops []*op) {
	for _, o := range ops {
		removes := o.verb == vDel || o.verb == vGetDel
		switch {
		case o.fate == refused && removes && !o.dialled:
			half := *o
			half.fate, half.ret = unknown, forever
			l.removals = append(l.removals, &half)
		case o.fate == refused:
		case o.verb == vSet || o.verb == vSetPX || o.verb == vPush || o.verb == vIncr:
			l.writes = append(l.writes, o)
		case removes:
			l.removals = append(l.removals, o)
		case o.verb == vExpire:
			l.others = append(l.others, o)
		}
	}
}

func (l *loss) judge() string {
	switch begin := l.begin.(type) {
	case string:
		return l.judgeList(elements(begin), elements(l.final.(string)))
	case lease:
		return l.judgeLease(begin, l.final.(lease))
	case int64:
		if kindOf(l.part) == kindCounter {
			return l.judgeCounter(begin, l.final.(int64))
		}
		return l.judgeValue(begin, l.final.(int64))
	}
	return fmt.Sprintf("the state %v makes no sense", l.begin)
}

func elements(list string) []string {
	return strings.FieldsFunc(list, func(c rune) bool { return c == ',' })
}

// origin finds the write of a value; the round's beginning counts as one that returned before everything.
func (l *loss) origin(val, begin int64) *op {
	if val == begin {
		return &op{call: -1, ret: -1}
	}
	for _, o := range l.writes {
		if o.arg == val {
			return o
		}
	}
	return nil
}

// removedAfter reports whether an acknowledged removal came after an operation had returned: what that wrote must not be there.
func (l *loss) removedAfter(o *op) *op {
	for _, d := range l.removals {
		if d.fate == done && d.call > o.ret {
			return d
		}
	}
	return nil
}

// mayBeRemoved reports whether some removal may have come after an operation.
func (l *loss) mayBeRemoved(o *op) bool {
	return slices.ContainsFunc(l.removals, func(d *op) bool { return d.ret > o.call })
}

func (l *loss) judgeValue(begin, val int64) string {
	if val == 0 {
		for _, o := range l.writes {
			if o.fate == done && !l.mayBeRemoved(o) {
				l.lost = append(l.lost, o)
			}
		}
		if begin != 0 && len(l.removals) == 0 {
			return "what Postgres held is gone"
		}
		return ""
	}
	w := l.origin(val, begin)
	if w == nil {
		return "it ends with a value that nobody wrote"
	}
	if d := l.removedAfter(w); d != nil {
		return "a removed value is back; removed by " + d.String()
	}
	for _, o := range l.writes {
		if o.fate == done && o.call > w.ret {
			l.lost = append(l.lost, o)
		}
	}
	return ""
}

func (l *loss) judgeLease(begin, end lease) string {
	if end.val == 0 || len(l.others) > 0 { // it may have expired; deadlines that moved are left to the histories
		return ""
	}
	why := l.judgeValue(begin.val, end.val)
	deadline := begin.hi
	if end.val != begin.val {
		if w := l.origin(end.val, begin.val); w != nil {
			deadline = l.clock.milli(w.ret) + w.ttl
		}
	}
	if why == "" && l.clock.milli(l.audited) > deadline+slack {
		return "an expired value is back"
	}
	return why
}

func (l *loss) judgeCounter(begin, n int64) string {
	for _, o := range l.writes {
		if o.fate == done && o.out > n {
			l.lost = append(l.lost, o)
		}
	}
	switch {
	case n < begin:
		return "it counts less than Postgres held"
	case n > begin+int64(len(l.writes)):
		return "it counts more than there were increments"
	}
	return ""
}

func (l *loss) judgeList(begin, list []string) string {
	for _, e := range list {
		w := &op{call: -1, ret: -1}
		if !slices.Contains(begin, e) {
			w = l.push(e)
		}
		if w == nil {
			return "it ends with an element that nobody pushed: " + e
		}
		if d := l.removedAfter(w); d != nil {
			return "a removed element is back: " + e + "; removed by " + d.String()
		}
	}
	for _, e := range begin {
		if !slices.Contains(list, e) && len(l.removals) == 0 {
			return "an element that Postgres held is gone: " + e
		}
	}
	for _, o := range l.writes {
		if o.fate == done && !slices.Contains(list, fmt.Sprint(o.arg)) && !l.mayBeRemoved(o) {
			l.lost = append(l.lost, o)
		}
	}
	return ""
}

func (l *loss) push(element string) *op {
	for _, o := range l.writes {
		if fmt.Sprint(o.arg) == element {
			return o
		}
	}
	return nil
}
