package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	// checkTimeout bounds the search in one partition's history; one that takes longer is counted as undecided.
	checkTimeout = 10 * time.Second
	// maxShown bounds the lines of a history that are printed, maxViolations how many violations are.
	maxShown      = 80
	maxViolations = 8
)

// histories collects the round's operations by partition, in the order of their calls.
func (r *round) histories() map[string][]*op {
	parts := map[string][]*op{}
	for _, w := range r.workers {
		for i := range w.log {
			o := &w.log[i]
			parts[o.part] = append(parts[o.part], o)
		}
	}
	for _, ops := range parts {
		slices.SortFunc(ops, func(a, b *op) int { return int(a.call - b.call) })
	}
	return parts
}

// check judges every partition's history up to a time (nanoseconds of the run): what returned later is open.
func (r *round) check(parts map[string][]*op, until int64) (bad []string) {
	for _, w := range r.workers {
		bad = append(bad, w.odd...)
		for word, n := range w.refuse {
			r.tally.add("answer "+word, int64(n))
		}
	}
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		r.tally.add("operations", int64(len(parts[part])))
		if len(bad) > maxViolations {
			break
		}
		if text := r.judge(part, parts[part], until); text != "" {
			bad = append(bad, text)
		}
	}
	return bad
}

// stateAt is the partition's state at the beginning of the round.
func (r *round) stateAt(part string) any {
	if state, ok := r.begin[part]; ok {
		return state
	}
	return blank(part)
}

// judge checks one partition; "" is legal.
func (r *round) judge(part string, ops []*op, until int64) string {
	begin := r.stateAt(part)
	switch porcupine.CheckOperationsTimeout(modelOf(part, begin, r.clock), operations(ops, until), checkTimeout) {
	case porcupine.Ok:
		r.tally.add("histories legal", 1)
		return ""
	case porcupine.Unknown:
		r.tally.add("histories undecided", 1)
		return ""
	}
	r.tally.add("histories illegal", 1)
	return fmt.Sprintf("round %d: the history of %s is illegal; it began with %v\n%s", r.n, part, begin, render(ops))
}

// operations turns a history into porcupine's. Refused operations are left out: they must not have run.
func operations(ops []*op, until int64) (history []porcupine.Operation) {
	for _, o := range ops {
		if o.fate == refused {
			continue
		}
		if o.fate == done && o.ret > until {
			if o.verb.reads() {
				continue
			}
			late := *o
			late.fate, late.ret = unknown, forever
			o = &late
		}
		history = append(history, porcupine.Operation{ClientId: o.client, Input: o, Call: o.call, Return: o.ret})
	}
	return history
}

func render(ops []*op) string {
	var b strings.Builder
	if n := len(ops) - maxShown; n > 0 {
		fmt.Fprintf(&b, "  (%d earlier operations are not shown)\n", n)
		ops = ops[n:]
	}
	for _, o := range ops {
		b.WriteString("  " + o.String() + "\n")
	}
	return b.String()
}
