package keyspace

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzLookup: no arguments make Lookup, AppendKeys and the rest panic, or point outside of the arguments.
func FuzzLookup(f *testing.F) {
	for _, call := range movableCalls {
		f.Add([]byte(call))
	}
	for _, call := range []string{"get k", "hgetdel k fields 1 f", "copy a b db 1", "debug object k", "object freq k", "bitfield k get u8 0", "expire k 0", ""} {
		f.Add([]byte(call))
	}
	table := NewTable()
	f.Fuzz(func(t *testing.T, line []byte) {
		args := bytes.Split(line, []byte(" "))
		c := table.Lookup(args)
		if c == nil {
			return
		}
		keys, err := c.AppendKeys(nil, args)
		for _, k := range keys {
			if k.Index < 1 || k.Index >= len(args) {
				t.Errorf("%q: key at %d", args, k.Index)
			}
		}
		if len(keys) > 0 && c.Has(NoKeys) || len(keys) == 0 && err == nil && !c.Has(NoKeys) && !mayNameNoKey(c) {
			t.Errorf("%q: keys %v, %v", args, keys, err)
		}
		if first, last, step, ok := c.Fields(args); ok && (first < 2 || last >= len(args) || last < first || step < 1) {
			t.Errorf("%q: fields %d to %d by %d", args, first, last, step)
		}
		if db, ok := c.TargetDB(args); db < 0 || !ok && db != 0 {
			t.Errorf("%q: database %d, %v", args, db, ok)
		}
		c.Blocks(args)
	})
}

// mayNameNoKey: a number of keys may be 0, DEBUG mostly has none, MIGRATE may have none behind KEYS.
func mayNameNoKey(c *Command) bool {
	return c.keys.find == findNumbered || c.keys.find == findDebug || c.keys.find == findMigrate
}

// FuzzMatch: patterns never make Compile or Match panic; an id is a part of its key; two patterns that compile together
// never disagree about a key.
func FuzzMatch(f *testing.F) {
	f.Add("wa:auth:{session}:creds", "wa:auth:{session}:keys", "wa:auth:x:creds")
	f.Add("{session}:*", "*:{session}", "a:b")
	f.Add(`\{{session}\}`, "a*b{session}c", "{id}")
	f.Add("a:{session}:*", "a:{session}:*:c", "a:b:c:c")
	f.Add("credproxy{session}", "{session}:", "credproxy:")
	f.Fuzz(func(t *testing.T, p, q, key string) {
		if len(p) > 40 || len(q) > 40 {
			return // the decision takes time proportional to the product
		}
		p, q = expand(p), expand(q)
		alone := make([]string, 2)
		for i, text := range []string{p, q} {
			m, err := Compile([]Spec{{Name: "ks", Patterns: []string{text}}})
			if err != nil {
				return
			}
			if _, id, ok := m.Match(0, []byte(key)); ok {
				if alone[i] = string(id); id == nil || !strings.Contains(key, alone[i]) {
					t.Errorf("%q, key %q: id %q", text, key, id)
				}
			}
		}
		if _, err := Compile([]Spec{{Name: "a", Patterns: []string{p}}, {Name: "b", Patterns: []string{q}}}); err == nil && alone[0] != "" && alone[1] != "" {
			t.Errorf("%q and %q both match %q", p, q, key)
		}
		_, err := Compile([]Spec{{Name: "a", Patterns: []string{p, q}}})
		if err == nil && alone[0] != "" && alone[1] != "" && alone[0] != alone[1] {
			t.Errorf("%q and %q give %q two ids: %q", p, q, key, alone)
		}
	})
}

// expand makes a pattern of anything that has no {session}, so that most inputs get past the parser.
func expand(text string) string {
	if strings.Contains(text, placeholder) {
		return text
	}
	var b strings.Builder
	for i := range len(text) {
		b.WriteString([]string{"a", ":", "*", placeholder, `\*`, "b"}[text[i]%6])
	}
	return b.String()
}

// FuzzGlob compares Glob with the plain recursion.
func FuzzGlob(f *testing.F) {
	for i, pattern := range globCases {
		f.Add(pattern, globStrings[i%len(globStrings)])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if strings.Count(pattern, "*") > 4 || len(s) > 12 {
			Glob([]byte(pattern), []byte(s)) // exponential for the recursion
			return
		}
		if got, want := Glob([]byte(pattern), []byte(s)), slowGlob(pattern, s); got != want {
			t.Errorf("Glob(%q, %q) = %v", pattern, s, got)
		}
	})
}
