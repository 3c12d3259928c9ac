package proxy_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"credproxy/internal/testenv"
)

// TestSessionsOfTheApplicationsOwnTables serves credentials that are already in somebody's Postgres: on first touch they come from
// there, from then on they are the proxy's, and what is deleted stays deleted.
func TestSessionsOfTheApplicationsOwnTables(t *testing.T) {
	e := prepareEnv(t, nil)
	ctx := context.Background()
	pg, err := pgx.Connect(ctx, e.dsn)
	must(t, err)
	defer pg.Close(ctx)
	for _, sql := range []string{
		`CREATE TABLE app_sessions (session_id text, type text, key text, value text)`,
		`INSERT INTO app_sessions VALUES ('old', 'creds', '', '{"me":"1"}'), ('old', 'pre-key', '1', 'one'), ('old', 'pre-key', '2', 'two'),
			('gone', 'creds', '', '{"me":"2"}'), ('gone', 'pre-key', '1', 'x')`,
	} {
		_, err = pg.Exec(ctx, sql)
		must(t, err)
	}
	e.source = `SELECT 'wa:auth:' || session_id || ':creds', NULL::text, value FROM app_sessions WHERE session_id = $1 AND type = 'creds'
		UNION ALL SELECT 'wa:auth:' || session_id || ':keys', type || '-' || key, value FROM app_sessions WHERE session_id = $1 AND type <> 'creds'
		UNION ALL SELECT 'somebody:elses', NULL, 'not of this session' FROM app_sessions WHERE session_id = $1 AND type = 'creds'`
	e.start()

	if v := e.client.Get(ctx, "wa:auth:old:creds").Val(); v != `{"me":"1"}` {
		t.Fatalf("creds from the source: %q", v)
	}
	if n := e.direct.Exists(ctx, "somebody:elses").Val(); n != 0 {
		t.Error("a key that is not the session's was written to Redis")
	}
	must(t, e.client.HSet(ctx, "wa:auth:old:keys", "pre-key-3", "three").Err())
	e.admin("SYNC")
	_, err = pg.Exec(ctx, `DELETE FROM app_sessions WHERE session_id = 'old'`) // the source is not needed any more
	must(t, err)
	e.evict("wa/old")
	all := e.client.HGetAll(ctx, "wa:auth:old:keys").Val()
	if len(all) != 3 || all["pre-key-1"] != "one" || all["pre-key-3"] != "three" {
		t.Fatalf("after eviction: %v", all)
	}

	if n := e.client.Del(ctx, "wa:auth:gone:creds", "wa:auth:gone:keys").Val(); n != 2 { // logged out on first touch
		t.Fatalf("DEL of a session of the source: %d, want 2", n)
	}
	e.admin("SYNC")
	testenv.Eventually(t, 5*time.Second, "the session evicted", func() bool {
		return e.client.Do(ctx, "CREDPROXY", "EVICT", "wa/gone").Err() == nil
	})
	if err := e.client.Get(ctx, "wa:auth:gone:creds").Err(); err != redis.Nil {
		t.Fatalf("creds of a deleted session: %v, want nil: they came back from the source", err)
	}
	if n := e.client.Exists(ctx, "wa:auth:nobody:creds").Val(); n != 0 {
		t.Fatal("a session that nobody has exists")
	}
}
