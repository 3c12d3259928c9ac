package keyspace

import (
	"errors"
	"fmt"
	"strings"
)

// Limits on what can belong to a session, in bytes. Postgres indexes keys and ids, and cannot hold longer ones in an index.
// A longer key, or one with a longer id, matches no pattern: it passes through as a key of no session.
const (
	MaxKey = 2048
	MaxID  = 512
)

// maxPattern bounds, in bytes, what comparing two patterns can cost.
const maxPattern = 512

// placeholder stands for the session's id in a pattern.
const placeholder = "{session}"

// pattern is a parsed key pattern: len(lits)-1 wild elements, each between two literals. Only the first and the last
// literal may be empty.
type pattern struct {
	ks   int    // index of the keyspace
	db   int    // -1: any
	text string // as configured
	lits []string
	mids [][]byte // lits without the first and the last
	sess int      // which wild element is {session}; the others are '*'
}

func (p *pattern) head() string { return p.lits[0] }
func (p *pattern) tail() string { return p.lits[len(p.lits)-1] }
func (p *pattern) wild() bool   { return len(p.lits) > 2 }

// render fills the id into a pattern without '*'.
func (p *pattern) render(id string) string { return p.lits[0] + id + p.lits[1] }

// parser collects the elements of a pattern from left to right.
type parser struct {
	lits     []string
	lit      strings.Builder
	sessions int
	sess     int
}

// parse reads a pattern: literal text, exactly one {session}, any number of '*'; '\' in front of '*', '{', '}' and '\'
// makes them literal. Errors say what to write instead.
func parse(text string) (*pattern, error) {
	switch {
	case text == "":
		return nil, errors.New(`it is empty: write the whole key, with {session} where the id is, or remove it`)
	case len(text) > maxPattern:
		return nil, fmt.Errorf(`it is %d bytes long: at most %d; write '*' for a part of it`, len(text), maxPattern)
	}
	var p parser
	for rest := text; rest != ""; {
		n, err := p.element(rest)
		if err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	if p.sessions == 0 {
		return nil, errors.New(`it has no {session}: write {session} where the id is in the key`)
	}
	p.lits = append(p.lits, p.lit.String())
	if strings.HasPrefix(p.lits[0], OwnPrefix) {
		return nil, fmt.Errorf(`it starts with %q: such keys are the proxy's own; choose another prefix`, OwnPrefix)
	}
	parsed := &pattern{text: text, lits: p.lits, sess: p.sess}
	for _, lit := range p.lits[1 : len(p.lits)-1] {
		parsed.mids = append(parsed.mids, []byte(lit))
	}
	return parsed, nil
}

// element takes one element off the front of rest and returns its length.
func (p *parser) element(rest string) (int, error) {
	switch {
	case rest[0] == '*':
		return 1, p.wild(false)
	case strings.HasPrefix(rest, placeholder):
		return len(placeholder), p.wild(true)
	case rest[0] == '{':
		name := rest
		if end := strings.IndexByte(rest, '}'); end >= 0 {
			name = rest[:end+1]
		}
		return 0, fmt.Errorf(`%q is no placeholder, {session} is the only one: write "\{" for a literal brace`, name)
	case rest[0] == '\\':
		if len(rest) < 2 || !strings.Contains(`*{}\`, rest[1:2]) {
			return 0, errors.New(`a '\' stands before none of '*', '{', '}' and '\': write "\\" for a literal one`)
		}
		p.lit.WriteByte(rest[1])
		return 2, nil
	}
	p.lit.WriteByte(rest[0])
	return 1, nil
}

func (p *parser) wild(session bool) error {
	if len(p.lits) > 0 && p.lit.Len() == 0 {
		return errors.New(`two of '*' and {session} stand side by side, so that nothing says where the first ends: ` +
			`put literal text between them, or remove one`)
	}
	if session {
		if p.sessions++; p.sessions > 1 {
			return errors.New(`it has {session} twice: write '*' for one of them`)
		}
		p.sess = len(p.lits)
	}
	p.lits = append(p.lits, p.lit.String())
	p.lit.Reset()
	return nil
}
