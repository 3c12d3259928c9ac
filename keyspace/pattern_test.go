package keyspace

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func mustCompile(t *testing.T, specs ...Spec) *Matcher {
	t.Helper()
	m, err := Compile(specs)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMatch(t *testing.T) {
	for _, test := range []struct{ pattern, key, want string }{
		{"wa:auth:{session}:creds", "wa:auth:bot1:creds", "bot1"},
		{"wa:auth:{session}:creds", "wa:auth:a:b@c+d:creds", "a:b@c+d"},
		{"wa:auth:{session}:creds", "wa:auth:a:creds:creds", "a:creds"},
		{"wa:auth:{session}:creds", "wa:auth::creds", ""},
		{"wa:auth:{session}:creds", "wa:auth:creds", ""},
		{"wa:auth:{session}:creds", "wa:auth:x:creds2", ""},
		{"wa:auth:{session}:creds", "xwa:auth:x:creds", ""},
		{"wa:auth:{session}:creds", "wa:a", ""},
		{"{session}:*", "a:b:c", "a"},
		{"{session}:*", "a:", "a"},
		{"{session}:*", ":b", ""},
		{"{session}:*", "::b", ":"},
		{"{session}", "anything at all", "anything at all"},
		{"{session}", "", ""},
		{"{session}:auth", "+55119:auth", "+55119"},
		{"sess:{session}", "sess:", ""},
		{"sess:{session}", "sess:s\x00\xff", "s\x00\xff"},
		{"*:s:{session}:*", "a:b:s:id:x:y", "id"},
		{"*:s:{session}:*", ":s:id:", "id"},
		{"*:s:{session}", ":s:s:s:", "s:s:"},
		{"a*b{session}c", "abxc", "x"},
		{"a*b{session}c", "abbc", "b"},
		{"a*b{session}c", "abc", ""},
		{"x:{session}ab*b", "x:1abb", "1"},
		{"x:{session}ab*b", "x:1ab", ""}, // the last literal does not overlap the one before
		{`\{{session}\}:\*\\`, `{id}:*\`, "id"},
		{"a}b:{session}", "a}b:x", "x"},
		{"k:{session}", "k:" + strings.Repeat("i", MaxID), strings.Repeat("i", MaxID)},
		{"k:{session}", "k:" + strings.Repeat("i", MaxID+1), ""},
		{"k:{session}:*", "k:i:" + strings.Repeat("x", MaxKey-4), "i"},
		{"k:{session}:*", "k:i:" + strings.Repeat("x", MaxKey-3), ""},
		{"{session}:*", "credproxy:meta", ""},
		{"{session}:*", "credproxy-2:meta", "credproxy-2"},
	} {
		m := mustCompile(t, Spec{Name: "ks", Patterns: []string{test.pattern}, DB: -1})
		key := []byte(test.key)
		ks, id, ok := m.Match(5, key)
		if string(id) != test.want && ok || ok != (test.want != "") || ks != 0 {
			t.Errorf("%.60q, key %.60q: %d, %.60q, %v; want %.60q", test.pattern, test.key, ks, id, ok, test.want)
		}
	}
}

func TestMatchManyKeyspaces(t *testing.T) {
	m := mustCompile(t,
		Spec{Name: "creds", Patterns: []string{"wa:{session}:creds", "wa:{session}:keys", "w2:{session}:x:*"}, DB: -1},
		Spec{Name: "short", Patterns: []string{"w:{session}"}, DB: -1},
		Spec{Name: "long", Patterns: []string{"wa:auth2-{session}:state"}, DB: -1},
		Spec{Name: "six", Patterns: []string{"e:{session}"}, DB: 6},
		Spec{Name: "seven", Patterns: []string{"e:*:{session}"}, DB: 7},
	)
	for _, test := range []struct {
		db   int
		key  string
		want string
	}{
		{0, "wa:a:creds", "creds/a"}, {3, "wa:auth2-b:keys", "creds/auth2-b"}, {0, "wa:auth2-b:state", "long/b"},
		{0, "w:x", "short/x"}, {0, "w2:i:x:y", "creds/i"}, {6, "e:1:2", "six/1:2"}, {7, "e:1:2", "seven/2"}, {0, "e:1:2", ""},
		{0, "w", ""}, {0, "", ""}, {0, "wa:auth2-", ""},
	} {
		got := ""
		if ks, id, ok := m.Match(test.db, []byte(test.key)); ok {
			got = m.Spec(ks).Name + "/" + string(id)
		}
		if got != test.want {
			t.Errorf("db %d, key %q: %q, want %q", test.db, test.key, got, test.want)
		}
	}
	if got := m.Literals(0, "a"); !slices.Equal(got, []string{"wa:a:creds", "wa:a:keys"}) {
		t.Errorf("Literals = %q", got)
	}
	if !m.Wild(0) || m.Wild(1) || m.Len() != 5 {
		t.Errorf("Wild = %v %v, Len = %d", m.Wild(0), m.Wild(1), m.Len())
	}
}

// TestLiterals: what would be the proxy's own, is no key of a session.
func TestLiterals(t *testing.T) {
	m := mustCompile(t, Spec{Name: "ks", Patterns: []string{"a-{session}-x", "{session}:b", "*:{session}:c"}})
	for id, want := range map[string]int{"x": 2, "credproxy:x": 1, "": 0, strings.Repeat("x", MaxID+1): 0} {
		keys := m.Literals(0, id)
		if len(keys) != want {
			t.Errorf("id %.20q: %d keys, want %d", id, len(keys), want)
		}
		for _, key := range keys {
			if _, got, ok := m.Match(0, []byte(key)); !ok || string(got) != id {
				t.Errorf("id %q: key %.20q is of %q", id, key, got)
			}
		}
	}
}

func TestCompileErrors(t *testing.T) {
	one := func(patterns ...string) []Spec { return []Spec{{Name: "ks", Patterns: patterns, DB: -1}} }
	two := func(p, q string) []Spec {
		return []Spec{{Name: "one", Patterns: []string{p}, DB: -1}, {Name: "two", Patterns: []string{q}, DB: 3}}
	}
	for _, test := range []struct {
		specs []Spec
		want  []string // one per line of the error, each a part of it
	}{
		{one(), []string{`keyspace "ks": it has no pattern`}},
		{one(""), []string{`keyspace "ks", pattern "": it is empty`}},
		{one("a:b"), []string{`pattern "a:b": it has no {session}`}},
		{one("a:{session}:{session}"), []string{`it has {session} twice: write '*'`}},
		{one("a:{session}*"), []string{`side by side`}},
		{one("a:*{session}"), []string{`side by side`}},
		{one("a:**:{session}"), []string{`side by side`}},
		{one("{user}:{session}"), []string{`"{user}" is no placeholder, {session} is the only one: write "\{"`}},
		{one("{session"), []string{`"{session" is no placeholder`}},
		{one(`a\b:{session}`), []string{`write "\\" for a literal one`}},
		{one(`{session}\`), []string{`write "\\" for a literal one`}},
		{one("credproxy:{session}"), []string{`such keys are the proxy's own`}},
		{one(strings.Repeat("x", maxPattern) + "{session}"), []string{`at most 512`}},
		{one("a:{session}", "a:{session}"), []string{`pattern "a:{session}": it is there twice`}},
		{one("a:{session}", `\{`, "b"), []string{`pattern "\\{": it has no`, `pattern "b": it has no`}},
		{one("wa:{session}:creds", "wa:{session}:*"), []string{`patterns "wa:{session}:creds" and "wa:{session}:*": both match the key "wa:1::creds", but take the id from different places`}},
		{two("{session}:*", "a:{session}"), []string{`keyspace "one", pattern "{session}:*" and keyspace "two", pattern "a:{session}": both match the key "a:1"`}},
		{two("{session}", "z{session}"), []string{`both match the key "z1"`}},
		{two("a:{session}", "a:{session}"), []string{`both match the key "a:1"`}},
		{[]Spec{{Name: "", Patterns: []string{"a{session}"}}, {Name: "a/b", Patterns: []string{"b{session}"}}, {Name: "ä", Patterns: []string{"c{session}"}}},
			[]string{"keyspace number 1 has no name", `keyspace "a/b": the name holds "/"`, `keyspace "ä": the name holds`}},
		{[]Spec{{Name: "a", Patterns: []string{"a{session}"}}, {Name: "a", Patterns: []string{"b{session}"}}}, []string{"used twice"}},
		{[]Spec{{Name: "a", Patterns: []string{"a{session}"}, DB: -2}}, []string{"database -2 does not exist"}},
	} {
		m, err := Compile(test.specs)
		if err == nil || m != nil {
			t.Errorf("%v: no error", test.specs)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(test.want) {
			t.Errorf("%v: %d errors, want %d: %v", test.specs, len(lines), len(test.want), err)
			continue
		}
		for i, want := range test.want {
			if !strings.Contains(lines[i], want) {
				t.Errorf("%v: error %q, want %q in it", test.specs, lines[i], want)
			}
		}
	}
}

func TestCompileAccepts(t *testing.T) {
	for _, specs := range [][]Spec{
		nil,
		fleet(),
		{{Name: "A.b_c-9", Patterns: []string{"{session}"}}},
		{{Name: "a", Patterns: []string{"{session}"}, DB: 1}, {Name: "b", Patterns: []string{"{session}"}, DB: 2}},
		{{Name: "a", Patterns: []string{"x:{session}:*", "x:{session}:*:b"}}}, // the second adds nothing and does no harm
	} {
		if _, err := Compile(specs); err != nil {
			t.Errorf("%v: %v", specs, err)
		}
	}
}

// TestSharedKey: the decision itself, with p and q in one keyspace or in two.
func TestSharedKey(t *testing.T) {
	for _, test := range []struct {
		p, q string
		same bool // one keyspace
		want bool
	}{
		{"a:{session}:b", "a:{session}:c", false, false},
		{"a:{session}:*", "a:{session}:c", false, true},
		{"a:{session}:*", "a:{session}:*:c", true, false}, // both end the id at the first ':'
		{"a:{session}:*", "a:{session}:b:*", true, true},  // a:1:2:b:
		{"a:{session}:*", "a:{session}::*", true, true},   // a:1:2::
		{"a:{session}", "a:{session}:*", true, true},
		{"*a{session}b*", "a{session}b*", true, false}, // the '*' is always empty
		{"*a{session}b*", "ca{session}b*", true, false},
		{"*a{session}b*", "aa{session}b*", true, true},
		{"{session}a", "{session}b", true, false},
		{"{session}ab", "{session}b", true, true},
		{"x{session}ab*", "x{session}a*b", true, true},
		{"*:{session}", "a:{session}", true, false},
		{"*:{session}", "a:b:{session}", true, true},
		{"*-{session}-*", "*+{session}+*", false, true},
		{"abc{session}", "abd{session}", false, false},
		{"1234567890abfghijklmnqstuvwz{session}", "1{session}A", false, true},
		{"{session}ab*", "{session}b*", true, true},
		{"credproxy{session}:", "credproxy{session}:", false, true},
		{"credproxy{session}", "c{session}y:*", false, true},
	} {
		p, err := parse(test.p)
		q, err2 := parse(test.q)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if !test.same {
			q.ks = 1
		}
		key, ok := sharedKey(p, q)
		if ok != test.want {
			t.Errorf("%q and %q: %q, %v", test.p, test.q, key, ok)
		}
		if ok {
			checkWitness(t, p, q, key)
		}
	}
}

// TestOwnKeysAreNotShared: two patterns may meet in the proxy's own keys, which neither of them matches.
func TestOwnKeysAreNotShared(t *testing.T) {
	p := &pattern{lits: []string{"credproxy", ":x"}}
	q := &pattern{lits: []string{"credproxy:", ""}, ks: 1}
	if key, ok := sharedKey(p, q); ok {
		t.Errorf("found %q", key)
	}
	q.lits[0] = "credproxy;"
	if key, ok := sharedKey(p, q); !ok || key != "credproxy;:x" {
		t.Errorf("found %q, %v", key, ok)
	}
}

// place is where in a key an id is; the zero value: the key does not match.
type place struct{ start, end int }

// matchOne is Match for a single pattern.
func matchOne(p *pattern, key string) (id place, ok bool) {
	if !strings.HasPrefix(key, p.head()) || Own([]byte(key)) {
		return place{}, false
	}
	rest := []byte(key[len(p.head()):])
	got, ok := p.match(rest)
	if !ok {
		return place{}, false
	}
	start := len(p.head()) + cap(rest) - cap(got)
	return place{start, start + len(got)}, true
}

func checkWitness(t *testing.T, p, q *pattern, key string) {
	t.Helper()
	a, ok := matchOne(p, key)
	b, ok2 := matchOne(q, key)
	if !ok || !ok2 || p.ks == q.ks && a == b {
		t.Errorf("%q and %q: the example %q gives %v %v and %v %v", p.lits, q.lits, key, a, ok, b, ok2)
	}
}

// TestSharedKeyAgainstBruteForce compares the decision for random small patterns with a try of all short keys.
func TestSharedKeyAgainstBruteForce(t *testing.T) {
	keys := []string{""}
	for at, size := 0, 0; size < 7; size++ {
		for end := len(keys); at < end; at++ {
			keys = append(keys, keys[at]+"a", keys[at]+":")
		}
	}
	keys = append(keys, "a1a", "1", "11", "1a", "a1", ":1:", "1:", ":1", "1:1", "1a1", "a1:", ":1a", "1a:a", "1:a:")
	rng := rand.New(rand.NewPCG(1, 2))
	shared := 0
	for range 3000 {
		p, q := randomPattern(rng), randomPattern(rng)
		q.ks = rng.IntN(2)
		example, ok := sharedKey(p, q)
		if ok {
			shared++
			checkWitness(t, p, q, example)
			continue
		}
		for _, key := range keys {
			a, ok := matchOne(p, key)
			b, ok2 := matchOne(q, key)
			if ok && ok2 && (p.ks != q.ks || a != b) {
				t.Fatalf("%q and %q: found apart, but %q gives %v and %v", p.lits, q.lits, key, a, b)
			}
		}
	}
	if shared < 300 || shared > 2700 {
		t.Errorf("%d of 3000 pairs share a key: the patterns are no good for this test", shared)
	}
}

func randomPattern(rng *rand.Rand) *pattern {
	for {
		var b strings.Builder
		for range 1 + rng.IntN(6) {
			b.WriteString([]string{"a", ":", "a", ":", "*", "{session}"}[rng.IntN(6)])
		}
		if p, err := parse(b.String()); err == nil {
			return p
		}
	}
}

// TestMatchAgainstMachine compares Match with the machines that decide overlaps, which must read keys alike.
func TestMatchAgainstMachine(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	matched := 0
	for range 20000 {
		p := randomPattern(rng)
		key := make([]byte, rng.IntN(12))
		for i := range key {
			key[i] = "a:1"[rng.IntN(3)]
		}
		m := newMachine(p)
		s, _ := m.start()
		alive := true
		for _, c := range key {
			if s, _, alive = m.step(s, c); !alive {
				break
			}
		}
		_, ok := matchOne(p, string(key))
		if want := alive && m.accepts(s); ok != want {
			t.Fatalf("%q, key %q: match %v, machine %v", p.text, key, ok, want)
		}
		if ok {
			matched++
		}
	}
	if matched < 1000 {
		t.Errorf("only %d keys matched", matched)
	}
}

// TestRenderedKeysMatch: a key that is built from an id gives the id back when the id does not hold the text behind it.
func TestRenderedKeysMatch(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range 2000 {
		texts := []string{fmt.Sprintf("p%d/", rng.IntN(9)), "/x", fmt.Sprintf("/t%d", rng.IntN(9))}
		text := texts[0] + "{session}" + texts[1] + "*" + texts[2]
		id := fmt.Sprintf("+55%d:@g.us+%c=", i, rune(33+i%90))
		id = strings.ReplaceAll(id, "/", "|")
		m := mustCompile(t, Spec{Name: "ks", Patterns: []string{text}})
		key := texts[0] + id + texts[1] + strings.Repeat("/x", rng.IntN(3)) + texts[2]
		if _, got, ok := m.Match(0, []byte(key)); !ok || string(got) != id {
			t.Fatalf("%q, key %q: %q, %v", text, key, got, ok)
		}
	}
}

func TestMatchAllocates(t *testing.T) {
	m := mustCompile(t, fleet()...)
	for _, key := range []string{"wa:auth:x:keys", "signal:pk:a:b", "baileys:eu:1:state", "nothing"} {
		k := []byte(key)
		if n := testing.AllocsPerRun(100, func() { m.Match(0, k) }); n != 0 {
			t.Errorf("%s: %v allocations", key, n)
		}
	}
}
