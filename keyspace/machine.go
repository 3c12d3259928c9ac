package keyspace

// machine reads a key byte by byte and knows at its end whether the pattern matches, and on the way where the id starts and
// ends. It is deterministic, as matching is: a wild element ends at the first occurrence of the literal behind it, which a
// Knuth-Morris-Pratt search finds without going back.
type machine struct {
	p    *pattern
	fail [][]int // per literal: length of the longest border of each of its prefixes
}

// state is a state of a machine.
type state struct {
	wild int  // the wild element that the next byte may belong to; -1: still in the head
	k    int  // how much of the literal that follows has been seen
	pend bool // the element is {session} and has no byte yet
}

// event tells what a step has completed.
type event uint8

const (
	idStarts event = 1 << iota // the id starts with the next byte
	idEnded                    // the literal behind the id is complete
)

func newMachine(p *pattern) *machine {
	m := &machine{p: p}
	for _, lit := range p.lits {
		m.fail = append(m.fail, borders(lit))
	}
	return m
}

func borders(lit string) []int {
	fail := make([]int, len(lit))
	for i, k := 1, 0; i < len(lit); i++ {
		for k > 0 && lit[k] != lit[i] {
			k = fail[k-1]
		}
		if lit[k] == lit[i] {
			k++
		}
		fail[i] = k
	}
	return fail
}

func (m *machine) start() (state, event) {
	if m.p.head() == "" {
		return m.enter(0)
	}
	return state{wild: -1}, 0
}

// enter begins a wild element.
func (m *machine) enter(wild int) (state, event) {
	if wild == m.p.sess {
		return state{wild: wild, pend: true}, idStarts
	}
	return state{wild: wild}, 0
}

// step reads one byte. Not ok: no key that goes on like this matches.
func (m *machine) step(s state, c byte) (to state, e event, ok bool) {
	if s.wild < 0 {
		if m.p.head()[s.k] != c {
			return s, 0, false
		}
		if s.k++; s.k < len(m.p.head()) {
			return s, 0, true
		}
		to, e = m.enter(0)
		return to, e, true
	}
	if s.pend {
		s.pend = false // an id has a first byte, whatever it is
		return s, 0, true
	}
	s.k = m.advance(s.wild+1, s.k, c)
	if s.wild+2 == len(m.p.lits) || s.k < len(m.p.lits[s.wild+1]) {
		return s, 0, true
	}
	to, e = m.enter(s.wild + 1)
	if s.wild == m.p.sess {
		e |= idEnded
	}
	return to, e, true
}

func (m *machine) advance(lit, k int, c byte) int {
	text, fail := m.p.lits[lit], m.fail[lit]
	for k == len(text) || text[k] != c {
		if k == 0 {
			return 0
		}
		k = fail[k-1]
	}
	return k + 1
}

// accepts reports whether a key that ends here matches.
func (m *machine) accepts(s state) bool {
	return s.wild+2 == len(m.p.lits) && !s.pend && s.k == len(m.p.tail())
}

// behind is the length of the literal behind the id.
func (m *machine) behind() int { return len(m.p.lits[m.p.sess+1]) }

// ids compares the two ids of one key while both machines read it. A machine tells that its id ended only when the literal
// behind the id is complete, so ids end at the same place when these reports are as far apart as the literals differ in
// length. For an id that is the last wild element the report is the end of the key.
type ids struct {
	phase idPhase
	left  int  // idsWait: bytes until the other machine has to report
	other bool // idsWait: the other machine is the second one
}

type idPhase uint8

const (
	idsOpen   idPhase = iota // no difference so far, none has ended
	idsWait                  // one has ended
	idsSame                  // they are the same, whatever follows
	idsDiffer                // they differ, whatever follows
)

// next is the comparison after a step that completed ea in the first machine and eb in the second.
func (d ids) next(w *walk, ea, eb event) ids {
	switch d.phase {
	case idsOpen:
		if (ea^eb)&idStarts != 0 {
			return ids{phase: idsDiffer}
		}
		return d.ended(w, ea&idEnded != 0, eb&idEnded != 0)
	case idsWait:
		reports := ea
		if d.other {
			reports = eb
		}
		d.left--
		switch {
		case reports&idEnded != 0 && d.left == 0:
			return ids{phase: idsSame}
		case reports&idEnded != 0 || d.left < 0:
			return ids{phase: idsDiffer}
		}
	}
	return d
}

func (d ids) ended(w *walk, a, b bool) ids {
	switch longer := w.b.behind() - w.a.behind(); {
	case a && b && longer == 0:
		return ids{phase: idsSame}
	case a && b:
		return ids{phase: idsDiffer}
	case a && longer >= 0:
		return ids{phase: idsWait, left: longer, other: true}
	case b && longer <= 0:
		return ids{phase: idsWait, left: -longer}
	case a || b:
		return ids{phase: idsDiffer}
	}
	return d
}

// differ reports whether the ids of a key that ends here are different. Whichever has not been reported ends with the key.
func (d ids) differ(w *walk) bool {
	switch d.phase {
	case idsOpen:
		return w.a.behind() != w.b.behind()
	case idsWait:
		return d.left != 0
	}
	return d.phase == idsDiffer
}
