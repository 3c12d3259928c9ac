package keyspace

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// checkPair reports two patterns that would give one key to two sessions.
func checkPair(specs []Spec, p, q *pattern) error {
	if p.db != q.db && p.db != -1 && q.db != -1 {
		return nil
	}
	a, b := specs[p.ks].Name, specs[q.ks].Name
	if p.ks == q.ks && slices.Equal(p.lits, q.lits) && p.sess == q.sess {
		return fmt.Errorf("keyspace %q, pattern %q: it is there twice: remove one", a, q.text)
	}
	key, ok := sharedKey(p, q)
	if !ok {
		return nil
	}
	if p.ks == q.ks {
		return fmt.Errorf("keyspace %q, patterns %q and %q: both match the key %q, but take the id from different "+
			"places, so that it would belong to two sessions: make them differ in literal text, or keep one", a, p.text, q.text, key)
	}
	return fmt.Errorf("keyspace %q, pattern %q and keyspace %q, pattern %q: both match the key %q, so that it would belong "+
		"to two sessions: make them differ in literal text, or limit each keyspace to a database of its own", a, p.text, b, q.text, key)
}

// sharedKey finds a shortest key that both patterns match: for patterns of one keyspace one from which they take the id
// at different places. It walks the product of two deterministic machines breadth first, so its answer is exact but for MaxKey and MaxID,
// which it does not know.
func sharedKey(p, q *pattern) (key string, ok bool) {
	if apart(p, q) {
		return "", false
	}
	w := walk{a: newMachine(p), b: newMachine(q), ids: p.ks == q.ks}
	bytes := alphabet(p, q)
	seen := map[pair]bool{}
	w.start()
	for i := 0; i < len(w.steps); i++ {
		from := w.steps[i].to
		if w.done(from) {
			return w.key(i), true
		}
		for _, c := range bytes {
			if to, ok := w.step(from, c); ok && !seen[to] {
				seen[to] = true
				w.steps = append(w.steps, step{to, i, c})
			}
		}
	}
	return "", false
}

// apart is a cheap test that most pairs pass: their beginnings, or their ends, contradict.
func apart(p, q *pattern) bool {
	a, b := p.head(), q.head()
	if !strings.HasPrefix(a, b) && !strings.HasPrefix(b, a) {
		return true
	}
	a, b = p.tail(), q.tail()
	return !strings.HasSuffix(a, b) && !strings.HasSuffix(b, a)
}

// alphabet returns the bytes that can make a difference: those of the literals and, first, one that stands for all others.
func alphabet(p, q *pattern) []byte {
	literal := []byte(strings.Join(p.lits, "") + strings.Join(q.lits, ""))
	slices.Sort(literal)
	literal = slices.Compact(literal)
	for _, c := range []byte("123456789abfghijklmnqstuvwz") { // none of OwnPrefix
		if bytes.IndexByte(literal, c) < 0 {
			return append([]byte{c}, literal...)
		}
	}
	for c := range 256 {
		if other := byte(c); bytes.IndexByte(literal, other) < 0 && strings.IndexByte(OwnPrefix, other) < 0 {
			return append([]byte{other}, literal...)
		}
	}
	return literal
}

// pair is a state of the product: one state of each machine, how much of OwnPrefix the key is so far (-1: it is another
// key), and how the ids compare so far.
type pair struct {
	a, b state
	own  int
	ids  ids
}

type step struct {
	to   pair
	from int // index of the step before
	by   byte
}

type walk struct {
	a, b  *machine
	ids   bool // look for different ids
	steps []step
}

func (w *walk) start() {
	a, ea := w.a.start()
	b, eb := w.b.start()
	first := pair{a: a, b: b}
	if w.ids {
		first.ids = first.ids.next(w, ea, eb)
	}
	w.steps = append(w.steps, step{to: first, from: -1})
}

func (w *walk) step(from pair, c byte) (to pair, ok bool) {
	a, ea, ok := w.a.step(from.a, c)
	if !ok {
		return to, false
	}
	b, eb, ok := w.b.step(from.b, c)
	if !ok {
		return to, false
	}
	to = pair{a: a, b: b, own: -1}
	if from.own >= 0 && OwnPrefix[from.own] == c {
		to.own = from.own + 1
	}
	if w.ids {
		to.ids = from.ids.next(w, ea, eb)
	}
	return to, to.own < len(OwnPrefix) && to.ids.phase != idsSame
}

// done reports whether the key may end here: both patterns match it, with different ids where that matters.
func (w *walk) done(s pair) bool {
	return w.a.accepts(s.a) && w.b.accepts(s.b) && (!w.ids || s.ids.differ(w))
}

func (w *walk) key(i int) string {
	var key []byte
	for ; w.steps[i].from >= 0; i = w.steps[i].from {
		key = append(key, w.steps[i].by)
	}
	slices.Reverse(key)
	return string(key)
}
