package restore

import (
	"errors"
	"strings"
	"sync"
	"testing"

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
	equal(t, "version", count(t, s, "SELECT value FROM credproxy.meta"), len(next))
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
	sql(t, s, `DO $$ BEGIN CREATE ROLE limited LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$`)
	limited := strings.Replace(dsn, "credproxy@", "limited@", 1)

	sql(t, s, "GRANT USAGE ON SCHEMA credproxy TO limited; GRANT ALL ON ALL TABLES IN SCHEMA credproxy TO limited; GRANT ALL ON ALL SEQUENCES IN SCHEMA credproxy TO limited")
	t.Cleanup(func() { sql(t, s, "DROP OWNED BY limited") })
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
