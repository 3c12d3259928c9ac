package main

import (
	"fmt"
	"strconv"
)

// Exactly once: an INCR or RPUSH whose reply the client has got took effect once, one whose reply was lost at most once. The
// histories show that too; here it is shown by plain arithmetic, without a checker in between.

// once counts what became of the increments of a counter or the pushes on a list.
type once struct {
	answered, unanswered int64
	late                 int64 // unanswered, and took effect all the same
	twice, lost          int64
}

// countOnce judges a round's counters and lists and adds them to the tally.
func (r *round) countOnce(parts map[string][]*op, final map[string]any) (bad []string) {
	for part, ops := range parts {
		var o once
		what := "INCR"
		switch kindOf(part) {
		case kindCounter:
			o = increments(ops, r.stateAt(part).(int64), final[part].(int64))
		case kindList:
			what = "RPUSH"
			o = pushes(ops)
		default:
			continue
		}
		for name, n := range map[string]int64{"answered": o.answered, "with its reply lost": o.unanswered,
			"with its reply lost, took effect": o.late, "applied twice": o.twice, "answered and lost": o.lost} {
			r.tally.add(fmt.Sprintf("once: %s %s", what, name), n)
		}
		if o.twice+o.lost > 0 {
			bad = append(bad, fmt.Sprintf("round %d: %s %s: %d applied twice, %d answered and lost", r.n, what, part, o.twice, o.lost))
		}
	}
	return bad
}

// increments compares how often a counter was increased with how far it has come. Nothing ever resets it.
func increments(ops []*op, begin, end int64) (o once) {
	for _, op := range ops {
		switch {
		case op.verb != vIncr || op.fate == refused:
		case op.fate == unknown:
			o.unanswered++
		default:
			o.answered++
		}
	}
	o.late = end - begin - o.answered
	if o.late > o.unanswered {
		o.late, o.twice = o.unanswered, o.late-o.unanswered
	}
	if o.late < 0 {
		o.late, o.lost = 0, -o.late
	}
	return o
}

// pushes looks for each element in every reading. Whether an answered one is missing from a reading is left to the histories: the
// list may have been deleted.
func pushes(ops []*op) (o once) {
	most := map[string]int{} // how often an element stands in one reading, at most
	for _, op := range ops {
		if op.verb != vRange {
			continue
		}
		here := map[string]int{}
		for _, e := range elements(op.list) {
			here[e]++
			most[e] = max(most[e], here[e])
		}
	}
	for _, op := range ops {
		if op.verb != vPush || op.fate == refused {
			continue
		}
		seen := most[strconv.FormatInt(op.arg, 10)]
		switch {
		case op.fate != unknown:
			o.answered++
		case seen > 0:
			o.late++
			fallthrough
		default:
			o.unanswered++
		}
		if seen > 1 {
			o.twice++
		}
	}
	return o
}
