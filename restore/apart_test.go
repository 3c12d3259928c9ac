package restore

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"credproxy/internal/session"
)

// saveApart stores a value in pieces of 100,000 bytes, which are lent.
func saveApart(t testing.TB, s *Store, id session.ID, k session.Key) {
	t.Helper()
	err := s.SaveApart(testContext(t), id, session.Heat{Bytes: 7}, k.Name, func(put func(session.Key) error) (session.KeyChange, error) {
		value := append(bytes.Clone(k.Value), k.Dump...)
		lent := make([]byte, 100_000)
		for first := true; len(value) > 0 || first && k.Fields == nil; first = false {
			n := copy(lent, value)
			value = value[n:]
			piece := session.Key{Name: k.Name, Type: k.Type}
			if k.Dump != nil {
				piece.Dump = lent[:n]
			} else {
				piece.Value = lent[:n]
			}
			if err := put(piece); err != nil {
				return session.KeyChange{}, err
			}
		}
		for i := 0; i < len(k.Fields); i += 3 {
			piece := session.Key{Name: k.Name, Type: k.Type, Fields: k.Fields[i:min(i+3, len(k.Fields))]}
			if err := put(piece); err != nil {
				return session.KeyChange{}, err
			}
		}
		return session.KeyChange{Key: session.Key{Name: k.Name, Type: k.Type, ExpireAt: k.ExpireAt}, Len: int64(len(k.Fields))}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// loadApart puts a value together again.
func loadApart(t testing.TB, s *Store, id session.ID, name string) (k session.Key, err error) {
	t.Helper()
	var value []byte
	err = s.LoadApart(testContext(t), id, name, now, func(head session.Key) error {
		k = head
		return nil
	}, func(part []byte) error {
		value = append(value, part...)
		return nil
	})
	if int64(len(value)) != k.Apart {
		t.Errorf("%d bytes came, %d were announced", len(value), k.Apart)
	}
	if k.Apart = 0; k.Type == session.String {
		k.Value = value
	} else {
		k.Dump = value
	}
	return k, err
}

func TestApart(t *testing.T) {
	for _, mode := range []struct {
		name string
		cfg  Config
	}{{"plain", Config{}}, {"signed", Config{Signing: Signing{Secret: secretA}}}, {"pooler", Config{SimpleProtocol: true}}} {
		t.Run(mode.name, func(t *testing.T) {
			s := openStore(t, mode.cfg)
			id := bot("+49")
			for i, k := range []session.Key{
				{Name: "k", Type: session.String, Value: random(t, 3<<20)},
				{Name: "k", Type: session.String, Value: random(t, 1<<20), ExpireAt: now + 5},
				{Name: "k", Type: session.List, Dump: random(t, 2<<20+1)},
				{Name: "k", Type: session.Set, Dump: random(t, 7), ExpireAt: now + 5},
				{Name: "k", Type: session.String, Value: random(t, apartBytes)},
				{Name: "k", Type: session.String, Value: []byte{}},
			} {
				saveApart(t, s, id, k)
				snapshot := mustLoad(t, s, id)
				if len(snapshot.Keys) != 1 || snapshot.Keys[0].Apart != int64(len(k.Value)+len(k.Dump)) || snapshot.Heat.Bytes != 7 {
					t.Fatalf("%d: %d keys of %d bytes", i, len(snapshot.Keys), snapshot.Keys[0].Apart)
				}
				if snapshot.Keys[0].Apart == 0 {
					wantKeys(t, s, id, k)
					continue
				}
				got, err := loadApart(t, s, id, "k")
				if err != nil {
					t.Fatal(err)
				}
				if err := sameKey(got, k); err != nil {
					t.Errorf("%d: %v", i, err)
				}
			}
		})
	}
}

// Whatever form a key has, the next one leaves nothing of it behind.
func TestApartFollowsEveryForm(t *testing.T) {
	s := openStore(t, Config{})
	id := bot("+49")
	fields := hash("k", "a", "1", "b", "2", "c", "3", "d", "4")
	fewer := hash("k", "a", "1", "c", "5", "e", "6", "f", "7")
	apart := func(k session.Key) func() { return func() { saveApart(t, s, id, k) } }
	whole := func(k session.Key) func() { return func() { mustSave(t, s, id, put(k)) } }
	text := session.Key{Name: "k", Type: session.String, Value: random(t, 600_000)}
	short := session.Key{Name: "k", Type: session.String, Value: []byte("x")}
	dump := session.Key{Name: "k", Type: session.List, Dump: random(t, 300_000)}
	all := []struct {
		k    session.Key
		save func()
		rows int
	}{
		{text, apart(text), 3}, {text, whole(text), 0}, {short, apart(short), 1}, {dump, apart(dump), 2}, {dump, whole(dump), 0},
		{fields, apart(fields), 4}, {fewer, apart(fewer), 4}, {fields, whole(fields), 4}, {hash("k", "a", "9"), apart(hash("k", "a", "9")), 1},
	}
	for i := range all {
		for j := range all {
			all[i].save()
			all[j].save()
			if n := count(t, s, "SELECT count(*) FROM credproxy.fields"); n != all[j].rows {
				t.Fatalf("%d after %d: %d rows, want %d", j, i, n, all[j].rows)
			}
			if got := mustLoad(t, s, id).Keys; got[0].Apart > 0 {
				got, err := loadApart(t, s, id, "k")
				if err = errors.Join(err, sameKey(got, all[j].k)); err != nil {
					t.Fatalf("%d after %d: %v", j, i, err)
				}
			} else {
				wantKeys(t, s, id, all[j].k)
			}
		}
	}
	err := s.SaveApart(testContext(t), id, session.Heat{}, "k", func(func(session.Key) error) (session.KeyChange, error) {
		return session.KeyChange{Op: session.Delete}, nil
	})
	if n := count(t, s, "SELECT count(*) FROM credproxy.keys"); err != nil || n != 0 {
		t.Fatalf("%d keys after a deletion, %v", n, err)
	}
}

// What is stored already is left alone, and a reading that fails leaves all as it was.
func TestApartIsWholeOrNotThere(t *testing.T) {
	s := openStore(t, Config{})
	id := bot("+49")
	k := session.Key{Name: "k", Type: session.String, Value: random(t, 3<<20)}
	saveApart(t, s, id, k)
	const versions = "SELECT count(*) FROM credproxy.fields WHERE xmin::text::bigint > $1"
	newest := count(t, s, "SELECT max(xmin::text::bigint) FROM credproxy.fields")
	changed := k
	changed.Value = bytes.Clone(k.Value)
	changed.Value[2<<20]++
	saveApart(t, s, id, changed)
	if n := count(t, s, versions, newest); n != 1 {
		t.Errorf("%d parts were written for one byte", n)
	}
	broken := errors.New("Redis went")
	err := s.SaveApart(testContext(t), id, session.Heat{}, "k", func(put func(session.Key) error) (session.KeyChange, error) {
		return session.KeyChange{}, errors.Join(put(session.Key{Type: session.String, Value: random(t, 2<<20)}), broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	got, err := loadApart(t, s, id, "k")
	if err = errors.Join(err, sameKey(got, changed)); err != nil {
		t.Error(err)
	}
	// A field of that name is a part to nobody but us.
	err = s.Delete(testContext(t), []session.Removal{{Session: id, Key: "k", Fields: []string{string(partName(1))}}})
	if got, lerr := loadApart(t, s, id, "k"); err != nil || lerr != nil || sameKey(got, changed) != nil {
		t.Errorf("after HDEL: %v, %v", err, lerr)
	}
}

// A row that somebody else has changed is not given to Redis.
func TestApartIsChecked(t *testing.T) {
	for _, tc := range []struct {
		name, sql, why string
	}{
		{"a part is missing", "DELETE FROM credproxy.fields WHERE field = '\\x00000001'", whyParts},
		{"a part too many", "INSERT INTO credproxy.fields SELECT kid, '\\x00000009', 'x' FROM credproxy.keys", whyParts},
		{"the length is wrong", "UPDATE credproxy.keys SET value = overlay(value PLACING '\\xff' FROM 45)", whyParts},
		{"a byte was changed", "UPDATE credproxy.fields SET value = set_byte(value, 5, 255 - get_byte(value, 5)) WHERE field = '\\x00000001'", whyForged},
		{"another expiry", "UPDATE credproxy.keys SET expire_at = 9999999999999", whyForged},
		{"unsigned", "UPDATE credproxy.keys SET form = 6, value = substr(value, 38)", whyUnsigned},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openStore(t, Config{Signing: Signing{Secret: secretA}})
			saveApart(t, s, bot("a"), session.Key{Name: "k", Type: session.List, Dump: random(t, 600_000)})
			sql(t, s, tc.sql)
			var poison *PoisonError
			err := s.LoadApart(testContext(t), bot("a"), "k", now, func(session.Key) error { return nil }, func([]byte) error { return nil })
			if !errors.As(err, &poison) || poison.PoisonedKeys()["k"] != tc.why {
				t.Errorf("got %v, want it to say: %s", err, tc.why)
			}
		})
	}
}

func TestApartIsSignedAnew(t *testing.T) {
	s := openStore(t, Config{})
	dsn := s.pool.Config().ConnString()
	var keys []session.Key
	for i := range 3 {
		k := session.Key{Name: fmt.Sprint("k", i), Type: session.List, Dump: random(t, 600_000)}
		keys = append(keys, k)
		saveApart(t, s, bot("a"), k)
	}
	for i, cfg := range []Signing{{Secret: secretA}, {Secret: secretB, Previous: []string{secretA}}} {
		s := openStore(t, Config{DSN: dsn, Signing: cfg})
		if n, bad, err := s.Sign(testContext(t)); n != len(keys) || bad != 0 || err != nil {
			t.Fatalf("%d: %d signed, %d refused, %v", i, n, bad, err)
		}
		if i == 1 {
			if err := s.SwapDB(testContext(t), 0, 5); err != nil {
				t.Fatal(err)
			}
		}
		id := session.ID{DB: 5 * i, Keyspace: "baileys", Name: "a"}
		for _, k := range keys {
			got, err := loadApart(t, s, id, k.Name)
			if err = errors.Join(err, sameKey(got, k)); err != nil {
				t.Errorf("%d: %s: %v", i, k.Name, err)
			}
		}
	}
}

// What is compared with Redis is not held beyond a limit.
func TestLoadStoredIsBounded(t *testing.T) {
	s := openStore(t, Config{})
	id := bot("a")
	large := session.Key{Name: "c", Type: session.Hash}
	for i := range 5 {
		large.Fields = append(large.Fields, session.Field{Name: fmt.Sprint(i), Value: random(t, 1<<20)})
	}
	text := putString("b", "")
	text.Value = random(t, storedMost+1)
	mustSave(t, s, id, putString("a", "x"), text, put(large))
	got, err := s.LoadStored(testContext(t), []session.ID{id}, now)
	if err != nil {
		t.Fatal(err)
	}
	keys := got[0].Keys
	sortKeys(keys)
	if len(keys) != 3 || string(keys[0].Value) != "x" || keys[0].Apart != 0 || keys[1].Apart != storedMost+1 || keys[1].Value != nil ||
		keys[2].Apart <= 4<<20 || keys[2].Fields != nil {
		t.Errorf("got %d keys, %d and %d bytes apart, %d fields", len(keys), keys[1].Apart, keys[2].Apart, len(keys[2].Fields))
	}
}
