package restore

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"credproxy/internal/session"
)

// collected puts parts together again, copying all that it is lent.
type collected map[string]*session.Key

func (c collected) part(keys []session.Key) error {
	if keys == nil {
		clear(c)
		return nil
	}
	for _, k := range keys {
		have := c[k.Name]
		if have == nil {
			have = &session.Key{Name: k.Name, Type: k.Type, ExpireAt: k.ExpireAt}
			c[k.Name] = have
		}
		have.Value, have.Dump = slices.Clone(k.Value), slices.Clone(k.Dump)
		for _, f := range k.Fields {
			have.Fields = append(have.Fields, session.Field{Name: f.Name, Value: slices.Clone(f.Value)})
		}
	}
	return nil
}

// sorted gives all in the order of names.
func (c collected) sorted() []session.Key {
	var keys []session.Key
	for _, name := range slices.Sorted(maps.Keys(c)) {
		k := *c[name]
		slices.SortFunc(k.Fields, func(a, b session.Field) int { return strings.Compare(a.Name, b.Name) })
		keys = append(keys, k)
	}
	return keys
}

// mixture is a session with more of everything than fits one part, and with small hashes between large ones.
func mixture() []session.KeyChange {
	var all []session.KeyChange
	for i := range 900 {
		all = append(all, putString(fmt.Sprintf("string %d", i), fmt.Sprintf("%0600d", i)))
	}
	for i := range 40 {
		k := session.Key{Name: fmt.Sprintf("hash %d", i), Type: session.Hash, ExpireAt: now + int64(i)*1000 + 1}
		fields := 3
		if i%5 == 0 {
			fields = 1000 + 100*i
		}
		for f := range fields {
			k.Fields = append(k.Fields, session.Field{Name: fmt.Sprint("f", f), Value: fmt.Appendf(nil, "%0300d", i*10_000+f)})
		}
		all = append(all, put(k))
	}
	return append(all, put(session.Key{Name: "list", Type: session.List, Dump: []byte("payload")}))
}

func TestLoadPartsIsLoad(t *testing.T) {
	eachMode(t, func(t *testing.T, s *Store) {
		mustSave(t, s, bot("a"), mixture()...)
		want := collected{}
		whole := mustLoad(t, s, bot("a"))
		if err := want.part(whole.Keys); err != nil {
			t.Fatal(err)
		}
		got, parts := collected{}, 0
		rest, err := s.LoadParts(testContext(t), bot("a"), now, func(keys []session.Key) error {
			parts++
			return got.part(keys)
		})
		if err != nil || !rest.Found || parts < 5 {
			t.Fatalf("found %v in %d parts, %v", rest.Found, parts, err)
		}
		if err := got.part(rest.Keys); err != nil {
			t.Fatal(err)
		}
		equal(t, "parts put together", got.sorted(), want.sorted())
		equal(t, "heat", rest.Heat, whole.Heat)
	})
}

func TestLoadPartsOfSmallSessions(t *testing.T) {
	s := openStore(t, Config{})
	mustSave(t, s, bot("a"), put(hash("h", "a", "1")), putString("s", "v"))
	for _, id := range []session.ID{bot("a"), bot("nobody")} {
		got, err := s.LoadParts(testContext(t), id, now, func([]session.Key) error {
			t.Error("a small session came in parts")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		sortKeys(got.Keys)
		whole := mustLoad(t, s, id)
		sortKeys(whole.Keys)
		equal(t, "session "+id.Name, got, whole)
	}
}

// An error of whoever takes the parts ends the load, whatever it looks like, and asks nothing twice.
func TestLoadPartsEndsWithTheErrorOfItsTaker(t *testing.T) {
	s := openStore(t, Config{})
	mustSave(t, s, bot("a"), mixture()...)
	calls, refused := 0, errors.New("connection reset by peer")
	before := s.Queries()
	_, err := s.LoadParts(testContext(t), bot("a"), now, func([]session.Key) error {
		calls++
		return refused
	})
	if !errors.Is(err, refused) || calls != 1 || s.Queries() != before+1 {
		t.Errorf("error %v after %d calls, %d queries", err, calls, s.Queries()-before)
	}
	mustLoad(t, s, bot("a"))
}
