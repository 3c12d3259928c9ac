package proxy_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc64"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"credproxy/proxy"
	"credproxy/restore"
)

const (
	secretA = "J0sDq2b8nQ1vXyE5tLr7cKf3aWz9hGm4uPi6oSx2eBk="
	secretB = "Zr8pVd3mT6yQw1uCk5nHs9bJx7fLg2aEo4iXt0vNq6M="
)

// sql runs a statement as somebody would who may write to the tables.
func (e *env) sql(text string, args ...any) {
	e.t.Helper()
	pg, err := pgx.Connect(context.Background(), e.dsn)
	must(e.t, err)
	defer pg.Close(context.Background())
	tag, err := pg.Exec(context.Background(), text, args...)
	must(e.t, err)
	if tag.RowsAffected() == 0 {
		e.t.Fatalf("no row for %s", text)
	}
}

// signEnv is an environment whose proxy signs payloads, if there is a secret.
func signEnv(t *testing.T, signing restore.Signing, redisArgs ...string) *env {
	t.Helper()
	e := prepareEnv(t, nil, redisArgs...)
	e.sign(signing)
	e.start()
	return e
}

func (e *env) sign(signing restore.Signing) {
	e.signing, e.cfg.Signed = signing, signing.Secret != "" && !signing.AcceptUnsigned
}

// mixed writes a session with a key of each kind.
func (e *env) mixed(id string) {
	e.t.Helper()
	ctx := context.Background()
	must(e.t, e.client.Set(ctx, "s:"+id+":text", "text of "+id, 0).Err())
	must(e.t, e.client.HSet(ctx, "s:"+id+":hash", "f", "hash of "+id).Err())
	must(e.t, e.client.RPush(ctx, "s:"+id+":list", "one of "+id, "two").Err())
	must(e.t, e.client.RPush(ctx, "s:"+id+":more", "another", "list").Err())
	must(e.t, e.client.SAdd(ctx, "s:"+id+":set", "member of "+id).Err())
	e.admin("SYNC")
}

func (e *env) list(key string) (string, error) {
	got, err := e.client.LRange(context.Background(), key, 0, -1).Result()
	return strings.Join(got, ","), err
}

// wantServed reads the keys of a mixed session but its list.
func (e *env) wantServed(id string) {
	e.t.Helper()
	ctx := context.Background()
	if got, err := e.client.Get(ctx, "s:"+id+":text").Result(); got != "text of "+id {
		e.t.Errorf("text of %s: %q, %v", id, got, err)
	}
	if got, err := e.client.HGet(ctx, "s:"+id+":hash", "f").Result(); got != "hash of "+id {
		e.t.Errorf("hash of %s: %q, %v", id, got, err)
	}
	if got, err := e.list("s:" + id + ":more"); got != "another,list" {
		e.t.Errorf("second list of %s: %q, %v", id, got, err)
	}
	if got, err := e.client.SMembers(ctx, "s:"+id+":set").Result(); fmt.Sprint(got) != "[member of "+id+"]" {
		e.t.Errorf("set of %s: %v, %v", id, got, err)
	}
}

func (e *env) wantList(id string) {
	e.t.Helper()
	if got, err := e.list("s:" + id + ":list"); got != "one of "+id+",two" {
		e.t.Errorf("list of %s: %q, %v", id, got, err)
	}
}

// wantPoison wants every command on a session's list to be refused with an error that names it and says why: reading it, writing it
// as if it were not there, and asking whether it is.
func (e *env) wantPoison(id, why string) {
	e.t.Helper()
	key := "s:" + id + ":list"
	for _, args := range [][]any{{"LRANGE", key, 0, -1}, {"RPUSH", key, "new"}, {"EXISTS", key}, {"SET", key, "v"}, {"GET", key}} {
		reply, err := e.client.Do(context.Background(), args...).Result()
		if err == nil || err == redis.Nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), why) {
			e.t.Errorf("%v: %v, %v; want an error with %q", args, reply, err, why)
		}
	}
}

// restores is how many RESTORE commands Redis has seen, whatever came of them.
func (e *env) restores() int {
	e.t.Helper()
	info, err := e.direct.Info(context.Background(), "commandstats").Result()
	must(e.t, err)
	n := 0
	if _, after, ok := strings.Cut(info, "cmdstat_restore:calls="); ok {
		_, err := fmt.Sscanf(after, "%d", &n)
		must(e.t, err)
	}
	return n
}

// redisCRC is the checksum at the end of a payload.
func redisCRC(b []byte) uint64 {
	return ^crc64.Update(^uint64(0), crc64.MakeTable(0x95AC9329AC4BC9B5), b)
}

// craft gives a value's bytes the end that makes a payload of them: format version and checksum.
func craft(value []byte, version uint16) []byte {
	b := binary.LittleEndian.AppendUint16(bytes.Clone(value), version)
	return binary.LittleEndian.AppendUint64(b, redisCRC(b))
}

// hostilePayloads are payloads that somebody might plant for a list.
func (e *env) hostilePayloads() map[string][]byte {
	e.t.Helper()
	ctx := context.Background()
	must(e.t, e.direct.RPush(ctx, "model", "one", "two", "three").Err())
	dump, err := e.direct.Dump(ctx, "model").Result()
	must(e.t, err)
	must(e.t, e.direct.Del(ctx, "model").Err())
	good := []byte(dump)
	value, version := good[:len(good)-10], binary.LittleEndian.Uint16(good[len(good)-10:])
	if !bytes.Equal(craft(value, version), good) {
		e.t.Fatal("this test does not know Redis's checksum")
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	// The first entry of the listpack says that it is longer than all of it.
	broken := bytes.Clone(value)
	at := bytes.Index(broken, []byte("\x83one"))
	broken[at] = 0xbf
	return map[string][]byte{
		"truncated":             good[:len(good)-3],
		"only the end":          craft(nil, version),
		"empty":                 {},
		"bit flipped":           flipped,
		"another Redis version": craft(value, 9999),
		"broken inside":         craft(broken, version),
		// A list of 2^32-1 nodes, and one whose only node is a string of 2^40 bytes.
		"huge list":    craft([]byte("\x12\x80\xff\xff\xff\xff\x02"), version),
		"huge string":  craft([]byte("\x12\x01\x02\x81\x00\x00\x01\x00\x00\x00\x00\x00"), version),
		"unknown type": craft([]byte("\xf0\x01\x01"), version),
		"a module's":   craft([]byte("\x07\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00"), version),
	}
}

const setValue = `UPDATE credproxy.keys SET form = $1, value = $2 WHERE key = 's:a:list'`

// With a secret nothing that has been planted reaches RESTORE; the rest of the session is served, also by the next process.
func TestPlantedPayloadsNeverReachRedis(t *testing.T) {
	e := signEnv(t, restore.Signing{Secret: secretA})
	e.mixed("a")
	e.mixed("b")
	// The signature of a good row, which an attacker can read.
	pg, err := pgx.Connect(context.Background(), e.dsn)
	must(t, err)
	defer pg.Close(context.Background())
	var signature, other []byte
	const head = `SELECT substr(value, 1, 37), (SELECT value FROM credproxy.keys WHERE key = $1) FROM credproxy.keys WHERE key = 's:a:list'`
	plant := func(name, why string, form int, value []byte) {
		t.Run(name, func(t *testing.T) {
			e.t = t
			e.evict("any/a")
			e.sql(setValue, form, value)
			before := e.restores()
			e.wantServed("a")
			e.wantPoison("a", why)
			e.wantServed("b")
			if n := e.restores() - before; n != 2 {
				t.Errorf("%d payloads were given to Redis, want those of the other list and of the set", n)
			}
			if n, err := e.direct.Exists(context.Background(), "s:a:list").Result(); n != 0 || err != nil {
				t.Errorf("the list is in Redis: %d, %v", n, err)
			}
		})
		e.t = t
	}
	must(t, pg.QueryRow(context.Background(), head, "s:b:list").Scan(&signature, &other))
	for name, payload := range e.hostilePayloads() {
		plant(name+", signature of the good row", "signature of its payload is not valid", 4, slices.Concat(signature, payload))
		plant(name+", unsigned", "not signed", 2, payload)
	}
	plant("from another session", "signature of its payload is not valid", 4, other)
	must(t, pg.QueryRow(context.Background(), head, "s:a:more").Scan(&signature, &other))
	plant("from another key", "signature of its payload is not valid", 4, other)
	plant("a signature and nothing else", "signature of its payload is not valid", 4, signature)

	e.stop()
	e.start()
	e.wantPoison("a", "signature of its payload is not valid")
	e.wantServed("a")
	must(t, e.direct.Ping(context.Background()).Err())
}

// Without a secret Redis's own checks are what there is. sanitize-dump-payload makes them look inside.
func TestPlantedPayloadsWithoutSecret(t *testing.T) {
	for _, mode := range []string{"no", "clients"} {
		t.Run(mode, func(t *testing.T) {
			e := signEnv(t, restore.Signing{}, "--sanitize-dump-payload", mode)
			e.mixed("a")
			for name, payload := range e.hostilePayloads() {
				if mode == "no" && name == "broken inside" {
					continue // is taken: the reason for a secret
				}
				t.Run(name, func(t *testing.T) {
					e.t = t
					e.evict("any/a")
					e.sql(setValue, 2, payload)
					e.wantServed("a")
					e.wantPoison("a", "Redis refuses its stored payload")
				})
				e.t = t
			}
			must(t, e.direct.Ping(context.Background()).Err())
		})
	}
}

// A process that could not read a key leaves no word behind that the session is complete: the next one, which can, would take the
// key's absence from Redis for its deletion.
func TestPoisonIsForgottenWithTheProcess(t *testing.T) {
	e := signEnv(t, restore.Signing{Secret: secretA})
	e.mixed("a")
	e.evict("any/a")
	e.stop()

	e.sign(restore.Signing{Secret: secretB}) // by mistake
	e.start()
	if got, err := e.client.Get(context.Background(), "s:a:text").Result(); got != "text of a" {
		t.Errorf("text: %q, %v", got, err)
	}
	e.wantPoison("a", "another secret")
	e.evict("any/a") // nor is anything lost by an eviction meanwhile
	e.wantPoison("a", "another secret")
	e.stop()

	e.sign(restore.Signing{Secret: secretA})
	e.start()
	e.wantList("a")
	e.wantServed("a")
}

// What goes bad in Postgres while Redis has the session is mended by what Redis has.
func TestPoisonInPostgresIsMendedFromRedis(t *testing.T) {
	e := signEnv(t, restore.Signing{Secret: secretA})
	e.mixed("a")
	e.sql(setValue, 2, []byte("planted"))
	e.wantList("a")
	e.evict("any/a")
	if n, err := e.direct.Exists(context.Background(), "s:a:list").Result(); n != 0 || err != nil {
		t.Errorf("after the eviction Redis still has the list: %d, %v", n, err)
	}
	e.wantList("a")
	e.wantServed("a")
}

// A secret for data from before it, and another one later: nothing is ever missing.
func TestSecretForExistingSessions(t *testing.T) {
	e := signEnv(t, restore.Signing{})
	for _, id := range []string{"a", "b", "c"} {
		e.mixed(id)
	}
	e.evict("any/a")
	e.evict("any/b")
	e.stop()

	e.sign(restore.Signing{Secret: secretA})
	e.start()
	e.wantPoison("a", "not signed")
	e.wantServed("c") // in Redis; saved with a signature when it is evicted
	e.evict("any/c")
	e.wantList("c")
	e.stop()

	e.sign(restore.Signing{Secret: secretA, AcceptUnsigned: true})
	e.start()
	e.wantList("a")
	e.wantServed("a")
	// Two sessions of three unsigned payloads are left.
	if signed, refused, err := e.store.Sign(context.Background()); signed != 6 || refused != 0 || err != nil {
		t.Errorf("signed %d, refused %d, %v", signed, refused, err)
	}
	e.evict("any/a")
	e.stop()

	e.sign(restore.Signing{Secret: secretB, Previous: []string{secretA}})
	e.start()
	for _, id := range []string{"a", "b", "c"} {
		e.wantList(id)
		e.wantServed(id)
		must(t, e.client.RPush(context.Background(), "s:"+id+":list", "three").Err())
		must(t, e.client.RPop(context.Background(), "s:"+id+":list").Err())
		e.evict("any/" + id)
	}
	if _, _, err := e.store.Sign(context.Background()); err != nil {
		t.Fatal(err)
	}
	e.stop()

	e.sign(restore.Signing{Secret: secretB})
	e.start()
	for _, id := range []string{"a", "b", "c"} {
		e.wantList(id)
		e.wantServed(id)
	}
}

// A row that names a key of somebody else neither writes that key nor takes it out of Redis.
func TestRowsThatNameForeignKeys(t *testing.T) {
	e := newEnv(t, nil)
	ctx := context.Background()
	e.mixed("a")
	must(t, e.client.Set(ctx, "other:there", "secret of somebody else", 0).Err())
	const plant = `INSERT INTO credproxy.keys (sid, key, type, form, value)
		SELECT sid, $1, 1, 1, 'planted' FROM credproxy.sessions WHERE id = 'a'`
	for _, key := range []string{"other:there", "other:absent", "credproxy:2:run2", "s:b:text"} {
		e.sql(plant, []byte(key))
	}
	e.sql(`INSERT INTO credproxy.keys (sid, key, type, form, value) SELECT sid, 'other:large', 1, 1, convert_to(repeat('x', 1000000), 'UTF8')
		FROM credproxy.sessions WHERE id = 'a'`) // is handed over while Postgres is still sending
	e.evict("any/a")
	if got, err := e.client.Get(ctx, "other:there").Result(); got != "secret of somebody else" {
		t.Errorf("a foreign key after the eviction: %q, %v", got, err)
	}
	e.wantServed("a")
	e.wantList("a")
	for _, key := range []string{"other:absent", "credproxy:2:run2", "s:b:text", "other:large"} {
		if n, err := e.direct.Exists(ctx, key).Result(); n != 0 || err != nil {
			t.Errorf("%s was written: %d, %v", key, n, err)
		}
	}
	pg, err := pgx.Connect(ctx, e.dsn)
	must(t, err)
	defer pg.Close(ctx)
	var value string
	must(t, pg.QueryRow(ctx, `SELECT convert_from(value, 'UTF8') FROM credproxy.keys WHERE key = 'other:there'`).Scan(&value))
	if value != "planted" {
		t.Errorf("a foreign key was copied to Postgres: %q", value)
	}
}

func TestStartSaysWhetherPayloadsAreChecked(t *testing.T) {
	for _, c := range []struct {
		name, mode, user string
		signing          restore.Signing
		want             string // "": nothing is said
	}{
		{"nobody checks", "no", "", restore.Signing{}, "CONFIG SET sanitize-dump-payload clients"},
		{"Redis checks", "clients", "", restore.Signing{}, ""},
		{"Redis checks everything", "yes", "", restore.Signing{}, ""},
		{"signed", "no", "", restore.Signing{Secret: secretA}, ""},
		{"signed, or not", "no", "", restore.Signing{Secret: secretA, AcceptUnsigned: true}, "sanitize-dump-payload"},
		{"not to be seen", "no", "-config", restore.Signing{}, "cannot be seen"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log strings.Builder
			e := prepareEnv(t, func(cfg *proxy.Config) {
				cfg.Logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: hclog.NewLeveledWriter(&log, nil)})
			}, "--sanitize-dump-payload", c.mode)
			if c.user != "" {
				must(t, e.direct.Do(context.Background(), "ACL", "SETUSER", "default", c.user).Err())
			}
			e.sign(c.signing)
			e.start()
			e.stop()
			got := log.String()
			if said := strings.Contains(got, "RESTORE") || strings.Contains(got, "crafted payload"); said != (c.want != "") || !strings.Contains(got, c.want) {
				t.Errorf("want %q in\n%s", c.want, got)
			}
			if strings.Contains(got, secretA[:20]) {
				t.Errorf("the secret is in the log:\n%s", got)
			}
		})
	}
}
