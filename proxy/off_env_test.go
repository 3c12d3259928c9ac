package proxy_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
	"credproxy/proxy"
	"credproxy/restore"
)

// bend is what a test does in the middle of an eviction: each function runs after a commit has succeeded, and its error is the
// commit's then, as if the answer had been lost.
type bend struct {
	mu                    sync.Mutex
	afterSave, afterStubs func() error
	afterKeys             atomic.Pointer[func()] // not an error: something that happens while a listing looks at what it has read
}

func (b *bend) run(f *func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if *f == nil {
		return nil
	}
	return (*f)()
}

func (b *bend) set(afterSave, afterStubs func() error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.afterSave, b.afterStubs = afterSave, afterStubs
}

// bentStore is the real store with that.
type bentStore struct {
	*restore.Store
	bend *bend
}

func (s *bentStore) Save(ctx context.Context, changes []session.Change, now int64) ([]session.Ref, error) {
	refused, err := s.Store.Save(ctx, changes, now)
	if err == nil {
		err = s.bend.run(&s.bend.afterSave)
	}
	return refused, err
}

func (s *bentStore) Keys(ctx context.Context, db int, after int64, limit int, now int64) ([]session.Entry, error) {
	page, err := s.Store.Keys(ctx, db, after, limit, now)
	if f := s.bend.afterKeys.Swap(nil); f != nil {
		(*f)()
	}
	return page, err
}

func (s *bentStore) SaveElsewhere(ctx context.Context, changes []session.Change) error {
	err := s.Store.SaveElsewhere(ctx, changes)
	if err == nil {
		err = s.bend.run(&s.bend.afterStubs)
	}
	return err
}

// app is an application with a table of its own, a row per string or field.
type app struct {
	*env
	pg *pgx.Conn
}

const appQuery = `SELECT key, field, value FROM app WHERE id = $1`

func offMode(cfg *proxy.Config) { cfg.Sync.Mode, cfg.Sync.Wait = proxy.SyncOff, 3*time.Second }

// prepareApp prepares an environment with sync = "off"; the proxy is not started.
func prepareApp(t *testing.T, change func(*proxy.Config)) *app {
	t.Helper()
	return withApp(prepareEnv(t, func(cfg *proxy.Config) {
		offMode(cfg)
		if change != nil {
			change(cfg)
		}
	}))
}

func withApp(e *env) *app {
	e.t.Helper()
	pg, err := pgx.Connect(context.Background(), e.dsn)
	must(e.t, err)
	e.t.Cleanup(func() { pg.Close(context.Background()) })
	e.source = appQuery
	a := &app{env: e, pg: pg}
	a.sql(`CREATE TABLE app (id text, key text, field text, value text); CREATE INDEX ON app (id)`)
	return a
}

func newApp(t *testing.T, change func(*proxy.Config)) *app {
	t.Helper()
	a := prepareApp(t, change)
	a.start()
	return a
}

func (a *app) sql(text string, args ...any) {
	a.t.Helper()
	_, err := a.pg.Exec(context.Background(), text, args...)
	must(a.t, err)
}

// writes makes the application's rows of a key these: a value, or fields and values.
func (a *app) writes(id, key string, values ...string) {
	a.t.Helper()
	a.sql(`DELETE FROM app WHERE id = $1 AND key = $2`, id, key)
	if len(values) == 1 {
		a.sql(`INSERT INTO app VALUES ($1, $2, NULL, $3)`, id, key, values[0])
	}
	for i := 0; i+1 < len(values); i += 2 {
		a.sql(`INSERT INTO app VALUES ($1, $2, $3, $4)`, id, key, values[i], values[i+1])
	}
}

// login makes session wa/<id> with creds and keys, in the application's table only.
func (a *app) login(id string) {
	a.t.Helper()
	a.writes(id, creds(id), "creds of "+id)
	a.writes(id, keysOf(id), "pre-key-1", "one", "session-x", "y")
}

func creds(id string) string  { return "wa:auth:" + id + ":creds" }
func keysOf(id string) string { return "wa:auth:" + id + ":keys" }

func waID(name string) session.ID { return session.ID{Keyspace: "wa", Name: name} }

// inPostgres returns what the proxy's own tables hold.
func (e *env) inPostgres(id session.ID) session.Snapshot {
	e.t.Helper()
	snaps, err := e.store.LoadStored(context.Background(), []session.ID{id}, time.Now().UnixMilli())
	must(e.t, err)
	return snaps[0]
}

// wantAway wants a session to be the application's, with so many keys known by name.
func (e *env) wantAway(id session.ID, stubs int) {
	e.t.Helper()
	if s := e.inPostgres(id); !s.Elsewhere || s.Found || len(s.Stubs) != stubs || len(s.Keys) > 0 {
		e.t.Errorf("%s: in Postgres is %s, want it to be away with %d names", id, describe(s), stubs)
	}
}

// wantKept wants a session's strings and hashes in the proxy's own tables, as "value" or as map, and no other key.
func (e *env) wantKept(id session.ID, keys map[string]any) {
	e.t.Helper()
	s := e.inPostgres(id)
	got := map[string]any{}
	for _, k := range s.Keys {
		if k.Type == session.String {
			got[k.Name] = string(k.Value)
			continue
		}
		m := map[string]string{}
		for _, f := range k.Fields {
			m[f.Name] = string(f.Value)
		}
		got[k.Name] = m
	}
	if !s.Found || s.Elsewhere || fmt.Sprint(got) != fmt.Sprint(keys) {
		e.t.Errorf("%s: in Postgres is %s %v, want it kept with %v", id, describe(s), got, keys)
	}
}

func describe(s session.Snapshot) string {
	return fmt.Sprintf("found %v, elsewhere %v, %d keys, %d names", s.Found, s.Elsewhere, len(s.Keys), len(s.Stubs))
}

// wantGet wants a string through the proxy, "" for none.
func (e *env) wantGet(key, want string) {
	e.t.Helper()
	got, err := e.client.Get(context.Background(), key).Result()
	if err != nil && err != redis.Nil {
		e.t.Fatalf("GET %s: %v", key, err)
	}
	if got != want {
		e.t.Errorf("%s is %q, want %q", key, got, want)
	}
}

func (e *env) wantHash(key string, want map[string]string) {
	e.t.Helper()
	got, err := e.client.HGetAll(context.Background(), key).Result()
	must(e.t, err)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		e.t.Errorf("%s is %v, want %v", key, got, want)
	}
}

// marked counts the marks in Redis.
func (e *env) marked() int64 {
	e.t.Helper()
	return e.direct.HLen(context.Background(), "credproxy:2:dirty").Val()
}
