package restore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"credproxy/internal/session"
)

const (
	secretA = "J0sDq2b8nQ1vXyE5tLr7cKf3aWz9hGm4uPi6oSx2eBk="
	secretB = "Zr8pVd3mT6yQw1uCk5nHs9bJx7fLg2aEo4iXt0vNq6M="
)

func list(name, payload string) session.Key {
	return session.Key{Name: name, Type: session.List, Dump: []byte(payload)}
}

func mustSigner(t testing.TB, cfg Signing) *signer {
	t.Helper()
	s, err := newSigner(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// reopened is another program on the same tables.
func reopened(t testing.TB, s *Store, signing Signing) *Store {
	t.Helper()
	return openStore(t, Config{DSN: s.pool.Config().ConnString(), Signing: signing})
}

// wantPoison loads the session and wants exactly that key to be refused, for that reason, and the others to be served.
func wantPoison(t testing.TB, s *Store, id session.ID, key, why string) {
	t.Helper()
	got, err := s.Load(testContext(t), id, now)
	var poison *PoisonError
	if !errors.As(err, &poison) || Temporary(err) {
		t.Fatalf("error %v, want poison that is not temporary", err)
	}
	equal(t, "poison", poison.Keys, []PoisonedKey{{session.Ref{Session: id, Key: key}, why}})
	if !got.Found || len(got.Keys) == 0 {
		t.Errorf("nothing else is served: %+v", got)
	}
	for _, k := range got.Keys {
		if k.Name == key {
			t.Errorf("%q is served all the same", key)
		}
	}
}

func TestSignedPayloadsAreStoredAndLoaded(t *testing.T) {
	for _, pooler := range []bool{false, true} {
		s := openStore(t, Config{SimpleProtocol: pooler, Signing: Signing{Secret: secretA}})
		long := list(strings.Repeat("l", 3*maxIndexed), "long name")
		expiring := list("expiring", "e")
		expiring.ExpireAt = now + 1
		fieldTTL := session.Key{Name: "hash as a payload", Type: session.Hash, Dump: []byte("h")}
		keys := []session.Key{list("l", "payload"), list("empty", ""), long, expiring, fieldTTL, putString("s", "v").Key, hash("h", "f", "v")}
		id := session.ID{DB: 3, Keyspace: "k", Name: strings.Repeat("i", 2*maxIndexed)}
		for _, k := range keys[1:] { // together, and the first one by itself
			mustSave(t, s, id, put(k))
		}
		mustSave(t, s, id, put(keys[0]), put(keys[5]))
		wantKeys(t, s, id, keys...)
		equal(t, "signed rows", count(t, s, "SELECT count(*) FROM credproxy.keys WHERE form = 4"), 5)
		equal(t, "unsigned payloads", count(t, s, "SELECT count(*) FROM credproxy.keys WHERE form = 2"), 0)
		equal(t, "bytes of a signed row", count(t, s, "SELECT length(value) FROM credproxy.keys WHERE key = 'l'"), signatureLen+len("payload"))

		// The same once more writes nothing.
		before := count(t, s, "SELECT xmin::text::int FROM credproxy.keys WHERE key = 'l'")
		mustSave(t, s, id, put(keys[0]))
		equal(t, "row version", count(t, s, "SELECT xmin::text::int FROM credproxy.keys WHERE key = 'l'"), before)
	}
}

// The stored form is read by later versions: it never changes its meaning.
func TestSignatureOfKnownBytes(t *testing.T) {
	s := mustSigner(t, Signing{Secret: secretA})
	at := payloadPlace{session.ID{DB: 6, Keyspace: "wa", Name: "+49:1@x"}, "wa:list", session.List, 1_700_000_000_000, false}
	form, value := s.stored(at, []byte("payload"))
	equal(t, "form", form, int16(formSigned))
	const want = "015f3eb4d16a1bd568fbc9d591f28ae50ac69a0547f64d2dc4deadbd008df4f1317383ee317061796c6f6164"
	equal(t, "value", hex.EncodeToString(value), want)
}

// A row is good in its place only, and only as it was written.
func TestForgedPayloadsArePoison(t *testing.T) {
	s := openStore(t, Config{Signing: Signing{Secret: secretA}})
	other := session.ID{DB: 1, Keyspace: "baileys", Name: "a"}
	for name, c := range map[string]struct{ change, why string }{
		"from another key":      {`value = (SELECT value FROM credproxy.keys WHERE key = 'second' LIMIT 1)`, whyForged},
		"from another session":  {`value = (SELECT k.value FROM credproxy.keys k JOIN credproxy.sessions s USING (sid) WHERE s.id = 'b' AND key = 'l')`, whyForged},
		"from another database": {`value = (SELECT k.value FROM credproxy.keys k JOIN credproxy.sessions s USING (sid) WHERE s.db = 1 AND key = 'l')`, whyForged},
		"from another keyspace": {`value = (SELECT k.value FROM credproxy.keys k JOIN credproxy.sessions s USING (sid) WHERE s.keyspace = 'k2' AND key = 'l')`, whyForged},
		"truncated":             {`value = substr(value, 1, length(value) - 1)`, whyForged},
		"signature only":        {`value = substr(value, 1, 37)`, whyForged},
		"cut in the signature":  {`value = substr(value, 1, 36)`, whyForm},
		"empty":                 {`value = ''`, whyForm},
		"lengthened":            {`value = value || '\x00'`, whyForged},
		"a bit of the payload":  {`value = set_bit(value, 37 * 8, 1 - get_bit(value, 37 * 8))`, whyForged},
		"a bit of the HMAC":     {`value = set_bit(value, 5 * 8, 1 - get_bit(value, 5 * 8))`, whyForged},
		"another secret's name": {`value = set_bit(value, 8, 1 - get_bit(value, 8))`, whySecret},
		"another version":       {`value = set_byte(value, 0, 2)`, whyForm},
		"without signature":     {`form = 2, value = substr(value, 38)`, whyUnsigned},
		"declared unsigned":     {`form = 2`, whyUnsigned},
		"an unknown form":       {`form = 5`, whyForm},
		"another type":          {`type = 4`, whyForged},
		"as a string":           {`type = 1, form = 4`, whyForged},
		"given an expiry":       {`expire_at = 1800000000000`, whyForged},
	} {
		t.Run(name, func(t *testing.T) {
			for _, id := range []session.ID{bot("a"), bot("b"), other, {Keyspace: "k2", Name: "a"}} {
				mustSave(t, s, id, put(list("l", "payload of "+id.String())), put(list("second", "another")), putString("s", "v"), put(hash("h", "f", "v")))
			}
			sql(t, s, `UPDATE credproxy.keys SET `+c.change+` WHERE key = 'l'
				AND sid = (SELECT sid FROM credproxy.sessions WHERE db = 0 AND keyspace = 'baileys' AND id = 'a')`)
			wantPoison(t, s, bot("a"), "l", c.why)
			equal(t, "keys of another session", len(mustLoad(t, s, bot("b")).Keys), 4)
		})
	}
	t.Run("under another name", func(t *testing.T) {
		mustSave(t, s, bot("a"), put(list("l", "payload")))
		sql(t, s, `UPDATE credproxy.keys SET key = 'renamed' WHERE key = 'l' AND sid = (SELECT sid FROM credproxy.sessions WHERE db = 0 AND keyspace = 'baileys' AND id = 'a')`)
		wantPoison(t, s, bot("a"), "renamed", whyForged)
	})
}

// What cannot be prevented: nothing outside Postgres knows that there was a newer row.
func TestAnOlderRowIsTaken(t *testing.T) {
	s := openStore(t, Config{Signing: Signing{Secret: secretA}})
	mustSave(t, s, bot("a"), put(list("l", "old")))
	sql(t, s, "CREATE TABLE kept AS SELECT kid, value FROM credproxy.keys")
	mustSave(t, s, bot("a"), put(list("l", "new")))
	sql(t, s, "UPDATE credproxy.keys k SET value = kept.value FROM kept WHERE kept.kid = k.kid")
	wantKeys(t, s, bot("a"), list("l", "old"))
}

func TestSecretIsRotated(t *testing.T) {
	s := openStore(t, Config{Signing: Signing{Secret: secretA}})
	mustSave(t, s, bot("a"), put(list("l", "1")), put(list("m", "2")), putString("s", "v"))

	forgotten := reopened(t, s, Signing{Secret: secretB})
	if _, err := forgotten.Load(testContext(t), bot("a"), now); err == nil || !strings.Contains(err.Error(), "previous_secrets") {
		t.Errorf("with a new secret alone: %v", err)
	}
	both := reopened(t, s, Signing{Secret: secretB, Previous: []string{secretA}})
	wantKeys(t, both, bot("a"), list("l", "1"), list("m", "2"), putString("s", "v").Key)
	mustSave(t, both, bot("a"), put(list("l", "1"))) // saved with the same payload, it has the new signature
	wantPoison(t, s, bot("a"), "l", whySecret)

	signed, refused, err := both.Sign(testContext(t))
	if signed != 1 || refused != 0 || err != nil {
		t.Errorf("signed %d, refused %d, %v; want the one that was left", signed, refused, err)
	}
	wantKeys(t, forgotten, bot("a"), list("l", "1"), list("m", "2"), putString("s", "v").Key)
}

func TestSecretIsIntroduced(t *testing.T) {
	s := openStore(t, Config{})
	want := []session.Key{putString("s", "v").Key}
	for i := range 2*resignPage + 3 {
		k := list(fmt.Sprint("l", i), fmt.Sprint("payload ", i))
		want = append(want, k)
		mustSave(t, s, bot("a"), put(k))
	}
	mustSave(t, s, bot("a"), putString("s", "v"))
	mustSave(t, s, bot("b"), put(list("l", "p")), putString("s", "v"))

	strict := reopened(t, s, Signing{Secret: secretA})
	wantPoison(t, strict, bot("b"), "l", whyUnsigned)
	between := reopened(t, s, Signing{Secret: secretA, AcceptUnsigned: true})
	wantKeys(t, between, bot("a"), want...)
	mustSave(t, between, bot("b"), put(list("l", "p")))
	wantKeys(t, strict, bot("b"), list("l", "p"), putString("s", "v").Key)

	signed, refused, err := strict.Sign(testContext(t))
	if signed != 2*resignPage+3 || refused != 0 || err != nil {
		t.Errorf("signed %d, refused %d, %v", signed, refused, err)
	}
	wantKeys(t, strict, bot("a"), want...)
	wantPoison(t, s, bot("b"), "l", whyNoSecret)
	if again, _, err := strict.Sign(testContext(t)); again != 0 || err != nil {
		t.Errorf("a second time: %d, %v", again, err)
	}
}

// What is forged is not made good by signing, neither by Sign nor by SWAPDB.
func TestSignRefusesWhatIsForged(t *testing.T) {
	s := openStore(t, Config{Signing: Signing{Secret: secretA}})
	mustSave(t, s, bot("a"), put(list("l", "1")), put(list("m", "2")))
	sql(t, s, `UPDATE credproxy.keys SET value = set_byte(value, 37, 0) WHERE key = 'l'`)
	next := reopened(t, s, Signing{Secret: secretB, Previous: []string{secretA}})
	signed, refused, err := next.Sign(testContext(t))
	if signed != 1 || refused != 1 || err != nil {
		t.Errorf("signed %d, refused %d, %v; want one of each", signed, refused, err)
	}
	wantPoison(t, next, bot("a"), "l", whyForged)
	if err := next.SwapDB(testContext(t), 0, 5); err != nil {
		t.Fatal(err)
	}
	wantPoison(t, next, session.ID{DB: 5, Keyspace: "baileys", Name: "a"}, "l", whyForged)

	if _, _, err := openStore(t, Config{}).Sign(testContext(t)); err == nil || !strings.Contains(err.Error(), "restore.secret") {
		t.Errorf("without a secret: %v", err)
	}
}

func TestSwapDBSignsAnew(t *testing.T) {
	for _, pooler := range []bool{false, true} {
		s := openStore(t, Config{SimpleProtocol: pooler, Signing: Signing{Secret: secretA}})
		at := func(db int) session.ID { return session.ID{DB: db, Keyspace: "k", Name: "a"} }
		for i := range resignPage + 5 {
			mustSave(t, s, at(1), put(list(fmt.Sprint("l", i), "one")))
		}
		mustSave(t, s, at(2), put(list("l0", "two")), putString("s", "v"))
		mustSave(t, s, at(3), put(list("l0", "three")))
		if err := s.SwapDB(testContext(t), 1, 2); err != nil {
			t.Fatal(err)
		}
		wantKeys(t, s, at(1), list("l0", "two"), putString("s", "v").Key)
		wantKeys(t, s, at(3), list("l0", "three"))
		equal(t, "keys in the other database", len(mustLoad(t, s, at(2)).Keys), resignPage+5)
	}
}

// Sign and a proxy at work do not get in each other's way: nothing of what is saved meanwhile is lost or spoilt.
func TestSignBesideWriters(t *testing.T) {
	plain := openStore(t, Config{})
	s := reopened(t, plain, Signing{Secret: secretA, AcceptUnsigned: true})
	ctx := testContext(t)
	const sessions, rounds = 20, 15
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for round := range rounds {
				for i := range sessions / 2 {
					id, store := bot(fmt.Sprint(2*i+w)), s
					if round < rounds-1 && i%2 == 0 {
						store = plain // so that there is always something to sign
					}
					change := session.Change{Session: id, Keys: []session.KeyChange{put(list("l", fmt.Sprint(round))), put(list("m", fmt.Sprint(round)))}}
					if _, err := store.Save(ctx, []session.Change{change}, now); err != nil {
						t.Errorf("save: %v", err)
					}
				}
			}
		})
	}
	wg.Go(func() {
		for range rounds {
			if _, refused, err := s.Sign(ctx); refused != 0 || err != nil {
				t.Errorf("sign: refused %d, %v", refused, err)
			}
		}
	})
	wg.Wait()
	if _, _, err := s.Sign(ctx); err != nil {
		t.Fatal(err)
	}
	strict := reopened(t, plain, Signing{Secret: secretA})
	last := fmt.Sprint(rounds - 1)
	for i := range sessions {
		wantKeys(t, strict, bot(fmt.Sprint(i)), list("l", last), list("m", last))
	}
}

func TestSigningWithoutSecret(t *testing.T) {
	for _, cfg := range []Signing{{Previous: []string{secretA}}, {AcceptUnsigned: true}} {
		if _, err := Open(testContext(t), Config{DSN: "postgres://127.0.0.1:1/none", Signing: cfg}); err == nil || !strings.Contains(err.Error(), "restore.secret") {
			t.Errorf("%v: want an error that names restore.secret", err)
		}
	}
}

// Flipping any bit of a stored value makes it bad.
func TestEveryBitCounts(t *testing.T) {
	s := mustSigner(t, Signing{Secret: secretA, Previous: []string{secretB}})
	at := payloadPlace{bot("a"), "l", session.List, 0, false}
	_, value := s.stored(at, []byte("payload"))
	for i := range len(value) * 8 {
		forged := bytes.Clone(value)
		forged[i/8] ^= 1 << (i % 8)
		if payload, why := s.open(at, formSigned, forged); why == "" || payload != nil {
			t.Errorf("bit %d of byte %d does not count", i%8, i/8)
		}
	}
}

// Whatever stands in the row: no panic, and only what was signed for the place comes out.
func FuzzStoredPayload(f *testing.F) {
	s := mustSigner(f, Signing{Secret: secretA, Previous: []string{secretB}})
	places := []payloadPlace{
		{bot("a"), "l", session.List, 0, false},
		{bot("a"), "l", session.List, now, false},
		{session.ID{Keyspace: "baileysa", Name: ""}, "l", session.List, 0, false},
		{session.ID{Keyspace: "baileys", Name: "al"}, "", session.List, 0, false},
		{session.ID{DB: 1, Keyspace: "baileys", Name: "a"}, "l", session.List, 0, false},
	}
	payload := []byte("payload")
	good := map[string]int{}
	for i, at := range places {
		_, value := s.stored(at, payload)
		good[string(value)] = i
		f.Add(value, int16(formSigned), uint8(i))
		f.Add(value, int16(formSigned), uint8(i+1))
		f.Add(value[:len(value)-1], int16(formSigned), uint8(i))
	}
	_, old := mustSigner(f, Signing{Secret: secretB}).stored(places[0], payload)
	good[string(old)] = 0
	f.Add(old, int16(formSigned), uint8(0))
	f.Add(old, int16(formDump), uint8(0))
	f.Add([]byte{}, int16(formSigned), uint8(0))
	f.Fuzz(func(t *testing.T, value []byte, form int16, place uint8) {
		i := int(place) % len(places)
		got, why := s.open(places[i], form, value)
		at, known := good[string(value)]
		switch {
		case why == "" && (form != formSigned || !known || at != i || !bytes.Equal(got, payload)):
			t.Errorf("form %d at place %d is taken: %x", form, i, value)
		case why != "" && got != nil:
			t.Error("a payload with a reason against it")
		case why != "" && form == formSigned && known && at == i:
			t.Errorf("what was signed is refused: %s", why)
		}
		// Resigning sees the same row as a signature and a digest.
		if len(value) >= signatureLen && form == formSigned {
			again := s.verify(places[i], value[:signatureLen], sha256.Sum256(value[signatureLen:]))
			equal(t, "judged by the digest", again, why)
		}
	})
}
