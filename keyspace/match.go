package keyspace

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// OwnPrefix starts every key that the proxy keeps for itself in Redis. Such keys belong to no session.
const OwnPrefix = "credproxy:"

// Own reports whether the key is one of the proxy's own.
func Own(key []byte) bool {
	return len(key) >= len(OwnPrefix) && string(key[:len(OwnPrefix)]) == OwnPrefix
}

// Spec is one keyspace as configured.
type Spec struct {
	Name     string   // letters, digits, '_', '-' and '.'
	Patterns []string // see Compile
	DB       int      // the only database it is about; -1: any
}

// Matcher maps keys to sessions. It is immutable.
type Matcher struct {
	specs []Spec
	byKS  [][]*pattern
	root  node
}

// Compile checks the keyspaces and builds their Matcher.
//
// A pattern is literal text with exactly one {session}, which stands for one or more bytes of any kind, the session's id,
// and with any number of '*', each standing for any bytes or none. '\' before '*', '{', '}' or '\' makes them literal.
//
// A key is matched from left to right: every {session} and '*' is as short as the literal text that follows it allows, up
// to the first occurrence of that text; the last literal text is the end of the key. So the id of "wa:{session}:creds" may
// hold ':', and that of "{session}:*" ends at the first ':'. What stands for {session} must end somewhere, so a '*' may not
// stand next to it.
//
// A key belongs to one session. Two patterns that match the same key of the same database are an error, except in one
// keyspace when they take the id from the same place of every such key.
//
// The error joins every problem found, in the order of specs; each names the keyspace and the pattern, and a remedy.
func Compile(specs []Spec) (*Matcher, error) {
	m := &Matcher{specs: slices.Clone(specs), byKS: make([][]*pattern, len(specs))}
	var errs []error
	var all []*pattern
	for ks, s := range specs {
		errs = append(errs, checkSpec(specs, ks)...)
		for _, text := range s.Patterns {
			p, err := parse(text)
			if err != nil {
				errs = append(errs, fmt.Errorf("keyspace %q, pattern %q: %w", s.Name, text, err))
				continue
			}
			p.ks, p.db = ks, s.DB
			m.byKS[ks] = append(m.byKS[ks], p)
			all = append(all, p)
		}
		m.specs[ks].Patterns = slices.Clone(s.Patterns)
	}
	for i, p := range all {
		for _, q := range all[i+1:] {
			errs = append(errs, checkPair(specs, p, q))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, p := range all {
		m.root.add(p, p.head())
	}
	return m, nil
}

// checkSpec checks all of specs[ks] but its patterns.
func checkSpec(specs []Spec, ks int) (errs []error) {
	s := specs[ks]
	bad := strings.Trim(s.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
	switch {
	case s.Name == "":
		errs = append(errs, fmt.Errorf("keyspace number %d has no name: give it one", ks+1))
	case bad != "":
		errs = append(errs, fmt.Errorf("keyspace %q: the name holds %q: use letters, digits, '_', '-' and '.'", s.Name, bad[:1]))
	case slices.ContainsFunc(specs[:ks], func(o Spec) bool { return o.Name == s.Name }):
		errs = append(errs, fmt.Errorf("keyspace %q: the name is used twice: rename one, or put its patterns into the other", s.Name))
	}
	if s.DB < -1 {
		errs = append(errs, fmt.Errorf("keyspace %q: database %d does not exist: use 0 and up, or leave it out", s.Name, s.DB))
	}
	if len(s.Patterns) == 0 {
		errs = append(errs, fmt.Errorf("keyspace %q: it has no pattern: add at least one key pattern with {session}", s.Name))
	}
	return errs
}

// Len returns the number of keyspaces.
func (m *Matcher) Len() int { return len(m.specs) }

// Spec returns a keyspace as it was configured. The caller must not change its patterns.
func (m *Matcher) Spec(ks int) Spec { return m.specs[ks] }

// Wild reports whether some pattern of the keyspace holds a '*', so that not every key of a session can be told from its id.
func (m *Matcher) Wild(ks int) bool { return slices.ContainsFunc(m.byKS[ks], (*pattern).wild) }

// Literals returns the keys of a session that its id alone tells: those of the patterns without '*'.
func (m *Matcher) Literals(ks int, id string) []string {
	var keys []string
	for _, p := range m.byKS[ks] {
		if p.wild() || id == "" || len(id) > MaxID {
			continue
		}
		if key := p.render(id); !strings.HasPrefix(key, OwnPrefix) { // its length is below MaxKey, see maxPattern
			keys = append(keys, key)
		}
	}
	return keys
}

// Match tells the session of a key in a database: the index of the keyspace in the specs, and the id, which is a part of
// key and valid as long as key is. It does not allocate.
func (m *Matcher) Match(db int, key []byte) (ks int, id []byte, ok bool) {
	if len(key) > MaxKey || Own(key) {
		return 0, nil, false
	}
	for n, rest := &m.root, key; ; {
		for _, p := range n.here {
			if p.db != db && p.db != -1 {
				continue
			}
			if id, ok := p.match(rest); ok {
				return p.ks, id, true
			}
		}
		if n = n.next(rest); n == nil {
			return 0, nil, false
		}
		rest = rest[len(n.edge):]
	}
}

// match matches what follows the head of the pattern.
func (p *pattern) match(rest []byte) (id []byte, ok bool) {
	tail := p.tail()
	end := len(rest) - len(tail)
	if end < 0 || string(rest[end:]) != tail {
		return nil, false
	}
	rest = rest[:end]
	if len(p.mids) == 0 { // most patterns: nothing wild but the id
		return rest, len(rest) > 0 && len(rest) <= MaxID
	}
	for w, lit := range p.mids {
		least := 0
		if w == p.sess {
			least = 1
		}
		at := -1
		if len(rest) > least {
			at = bytes.Index(rest[least:], lit)
		}
		if at < 0 {
			return nil, false
		}
		if w == p.sess {
			id = rest[:least+at]
		}
		rest = rest[least+at+len(lit):]
	}
	if p.sess == len(p.mids) {
		id = rest
	}
	return id, len(id) > 0 && len(id) <= MaxID
}
