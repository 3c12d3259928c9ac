package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"credproxy/internal/session"
	"credproxy/internal/testenv"
)

func TestMigrationsRunOnce(t *testing.T) {
	dsn := testenv.DSN(t)
	var wg sync.WaitGroup
	for range 4 { // several proxies start at once on an empty database
		wg.Go(func() {
			s, err := Open(testContext(t), Config{DSN: dsn})
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			s.Close()
		})
	}
	wg.Wait()
	s := openStore(t, Config{DSN: dsn})
	mustSave(t, s, bot("a"), putString("k", "v"))
	wantKeys(t, openStore(t, Config{DSN: dsn}), bot("a"), putString("k", "v").Key)
}

func TestMigrationGoesOnFromWhereItWas(t *testing.T) {
	s := openStore(t, Config{})
	next := append(append([]string(nil), migrations...), "CREATE TABLE credproxy.later (n int)")
	for range 2 {
		if err := s.migrate(testContext(t), next); err != nil {
			t.Fatal(err)
		}
	}
	sql(t, s, "INSERT INTO credproxy.later VALUES (1)")
	broken := append(append([]string(nil), next...), "CREATE TABLE credproxy.half (n int); SELECT 1/0")
	if err := s.migrate(testContext(t), broken); err == nil {
		t.Fatal("a failing migration succeeded")
	}
	equal(t, "tables of a failed migration", count(t, s, "SELECT count(*) FROM pg_tables WHERE tablename = 'half'"), 0)
	equal(t, "version", count(t, s, "SELECT value FROM credproxy.meta WHERE name = 'schema_version'"), len(next))
}

// TestUpgradeKeepsWhatIsStored: what each older version stored is there after the upgrade, and can be written on.
func TestUpgradeKeepsWhatIsStored(t *testing.T) {
	for from := 1; from < len(migrations); from++ {
		t.Run(fmt.Sprintf("from version %d", from), func(t *testing.T) { testUpgrade(t, from) })
	}
}

func testUpgrade(t *testing.T, from int) {
	s := openStore(t, Config{})
	sql(t, s, "DROP SCHEMA credproxy CASCADE")
	if err := s.migrate(testContext(t), migrations[:from]); err != nil {
		t.Fatal(err)
	}
	sql(t, s, `INSERT INTO credproxy.sessions (db, keyspace, id, last_access, hits, bytes) VALUES (0, 'baileys', 'a', 7, 8, 9);
		INSERT INTO credproxy.keys (sid, key, type, form, value) SELECT sid, 'k', 1, 1, 'old' FROM credproxy.sessions;
		INSERT INTO credproxy.keys (sid, key, type, form) SELECT sid, 'h', 2, 1 FROM credproxy.sessions;
		INSERT INTO credproxy.fields (kid, field, value) SELECT kid, 'f', 'w' FROM credproxy.keys WHERE key = 'h'`)
	s = openStore(t, Config{DSN: s.pool.Config().ConnString()})
	got := mustLoad(t, s, bot("a"))
	if want := (session.Heat{LastAccess: 7, Hits: 8, Bytes: 9}); !got.Found || got.Heat != want {
		t.Errorf("found %v with %+v, want %+v", got.Found, got.Heat, want)
	}
	wantKeys(t, s, bot("a"), hash("h", "f", "w"), putString("k", "old").Key)
	mustSave(t, s, bot("a"), putString("k", "new"))
	wantKeys(t, s, bot("a"), hash("h", "f", "w"), putString("k", "new").Key)
}

func TestNewerSchemaIsRefused(t *testing.T) {
	s := openStore(t, Config{})
	sql(t, s, "UPDATE credproxy.meta SET value = 99")
	_, err := Open(testContext(t), Config{DSN: s.pool.Config().ConnString()})
	if !errors.Is(err, ErrNewerSchema) || Temporary(err) || !strings.Contains(err.Error(), "99") {
		t.Errorf("open gave %v", err)
	}
}

func TestUserWithFewRights(t *testing.T) {
	s := openStore(t, Config{})
	dsn := s.pool.Config().ConnString()
	limited := limitedUser(t, s)
	other := openStore(t, Config{DSN: limited})
	mustSave(t, other, bot("a"), putString("k", "v")) // who finds the tables ready need not be able to make them

	_, err := Open(testContext(t), Config{DSN: strings.Replace(testenv.DSN(t), "credproxy@", "limited@", 1)})
	if err == nil || !strings.Contains(err.Error(), "GRANT CREATE ON DATABASE") || Temporary(err) {
		t.Errorf("open without the right to make a schema gave %v", err)
	}
	sql(t, s, "ALTER DATABASE "+s.pool.Config().ConnConfig.Database+" SET default_transaction_read_only = on")
	sql(t, s, "UPDATE credproxy.meta SET value = 0")
	if _, err := Open(testContext(t), Config{DSN: dsn}); err == nil || !strings.Contains(err.Error(), "read-only") || !Temporary(err) {
		t.Errorf("open of a read-only database gave %v", err)
	}
}

// Whoever uses the tables as they are is told before they change, and can prevent it.
func TestOldTablesChangeOnlyAfterItIsSaid(t *testing.T) {
	s := openStore(t, Config{})
	sql(t, s, "DROP SCHEMA credproxy CASCADE")
	if err := s.migrate(testContext(t), migrations[:1]); err != nil {
		t.Fatal(err)
	}
	asked, refused := 0, errors.New("not now")
	cfg := Config{DSN: s.pool.Config().ConnString(), BeforeMigrate: func(context.Context) error {
		asked++
		equal(t, "version when it is said", count(t, s, "SELECT value FROM credproxy.meta WHERE name = 'schema_version'"), 1)
		return refused
	}}
	if _, err := Open(testContext(t), cfg); !errors.Is(err, refused) {
		t.Errorf("open gave %v", err)
	}
	equal(t, "version after a refusal", count(t, s, "SELECT value FROM credproxy.meta WHERE name = 'schema_version'"), 1)
	refused = nil
	openStore(t, cfg)
	equal(t, "version", count(t, s, "SELECT value FROM credproxy.meta WHERE name = 'schema_version'"), len(migrations))
	openStore(t, cfg)
	equal(t, "times it was said", asked, 2)
	sql(t, s, "UPDATE credproxy.meta SET value = 99 WHERE name = 'schema_version'")
	if _, err := Open(testContext(t), cfg); !errors.Is(err, ErrNewerSchema) || asked != 2 {
		t.Errorf("open of newer tables gave %v, said %d times", err, asked)
	}
}
