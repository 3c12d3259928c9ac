package restore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/session"
	"credproxy/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Run(m)) }

// now is the time of the tests, in unix milliseconds.
const now = int64(1_700_000_000_000)

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func openStore(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.DSN == "" {
		cfg.DSN = testenv.DSN(t)
	}
	s, err := Open(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// eachMode runs a test directly and as through a pooler.
func eachMode(t *testing.T, test func(t *testing.T, s *Store)) {
	t.Run("prepared", func(t *testing.T) { test(t, openStore(t, Config{})) })
	t.Run("pooler", func(t *testing.T) { test(t, openStore(t, Config{SimpleProtocol: true})) })
}

func bot(name string) session.ID { return session.ID{Keyspace: "baileys", Name: name} }

func put(key session.Key) session.KeyChange { return session.KeyChange{Key: key, Op: session.Put} }

func putString(name, value string) session.KeyChange {
	return put(session.Key{Name: name, Type: session.String, Value: []byte(value)})
}

// hash returns a hash key; pairs are field, value, ...
func hash(name string, pairs ...string) session.Key {
	k := session.Key{Name: name, Type: session.Hash}
	for i := 0; i < len(pairs); i += 2 {
		k.Fields = append(k.Fields, session.Field{Name: pairs[i], Value: []byte(pairs[i+1])})
	}
	return k
}

func patch(k session.Key, length int64, removed ...string) session.KeyChange {
	return session.KeyChange{Key: k, Op: session.Patch, Len: length, Removed: removed}
}

func mustSave(t testing.TB, s *Store, id session.ID, keys ...session.KeyChange) {
	t.Helper()
	refused, err := s.Save(testContext(t), []session.Change{{Session: id, Keys: keys}}, now)
	if err != nil || refused != nil {
		t.Fatalf("save: refused %v, %v", refused, err)
	}
}

func mustLoad(t testing.TB, s *Store, id session.ID) session.Snapshot {
	t.Helper()
	snapshot, err := s.Load(testContext(t), id, now)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

// wantKeys compares what is stored with the keys, in any order.
func wantKeys(t testing.TB, s *Store, id session.ID, want ...session.Key) {
	t.Helper()
	got := mustLoad(t, s, id).Keys
	sortKeys(got)
	sortKeys(want)
	if len(got) != len(want) {
		t.Fatalf("%d keys are stored, want %d", len(got), len(want))
	}
	for i := range want {
		if err := sameKey(got[i], want[i]); err != nil {
			t.Errorf("key %.40q: %v", want[i].Name, err)
		}
	}
}

func sortKeys(keys []session.Key) {
	slices.SortFunc(keys, func(a, b session.Key) int { return strings.Compare(a.Name, b.Name) })
	for _, k := range keys {
		slices.SortFunc(k.Fields, func(a, b session.Field) int { return strings.Compare(a.Name, b.Name) })
	}
}

// sameKey tells none from empty where that makes a difference to a caller, and says little of large values.
func sameKey(got, want session.Key) error {
	if got.Name != want.Name || got.Type != want.Type || got.ExpireAt != want.ExpireAt {
		return fmt.Errorf("got %.40q %s %d, want %s %d", got.Name, got.Type, got.ExpireAt, want.Type, want.ExpireAt)
	}
	if !bytes.Equal(got.Value, want.Value) || !bytes.Equal(got.Dump, want.Dump) || (got.Dump == nil) != (want.Dump == nil) {
		return fmt.Errorf("value of %d or dump of %d bytes differs", len(got.Value), len(got.Dump))
	}
	if len(got.Fields) != len(want.Fields) {
		return fmt.Errorf("%d fields, want %d", len(got.Fields), len(want.Fields))
	}
	for i, f := range want.Fields {
		if got.Fields[i].Name != f.Name || !bytes.Equal(got.Fields[i].Value, f.Value) {
			return fmt.Errorf("field %d differs", i)
		}
	}
	return nil
}

func random(t testing.TB, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// sql runs a statement as an operator would.
func sql(t testing.TB, s *Store, statement string, args ...any) {
	t.Helper()
	if _, err := s.pool.Exec(testContext(t), statement, args...); err != nil {
		t.Fatal(err)
	}
}

func count(t testing.TB, s *Store, query string, args ...any) int {
	t.Helper()
	var n int
	if err := s.pool.QueryRow(testContext(t), query, args...).Scan(&n); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatal(err)
	}
	return n
}

func equal[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func readDoc(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// limitedUser returns the DSN of the same database for a user that may use our tables, and nothing else.
func limitedUser(t testing.TB, s *Store) string {
	t.Helper()
	sql(t, s, `DO $$ BEGIN CREATE ROLE limited LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$`)
	sql(t, s, "GRANT USAGE ON SCHEMA credproxy TO limited; GRANT ALL ON ALL TABLES IN SCHEMA credproxy TO limited; GRANT ALL ON ALL SEQUENCES IN SCHEMA credproxy TO limited")
	t.Cleanup(func() { sql(t, s, "DROP OWNED BY limited") })
	return strings.Replace(s.pool.Config().ConnString(), "credproxy@", "limited@", 1)
}
