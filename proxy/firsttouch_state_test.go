package proxy_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"credproxy/internal/resp"
	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// rig is a proxy with what belongs to it, and a bare Redis beside it that shows what the proxy's replies should be.
type rig struct {
	*env
	bare string // address of the bare Redis
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return &rig{env: newEnv(t, func(cfg *proxy.Config) { cfg.Flush = proxy.FlushAll }), bare: testenv.Redis(t).Addr()}
}

func (r *rig) dialProxy(t testing.TB, proto int) *wire {
	t.Helper()
	return dialProto(t, r.server.Addr().String(), proto)
}

// dial connects to both.
func (r *rig) dial(t testing.TB, proto int) *dual {
	t.Helper()
	return &dual{t: t, bare: dialProto(t, r.bare, proto), proxied: r.dialProxy(t, proto)}
}

// place is a session: the database, its keyspace, and its id.
type place struct {
	db       int
	keyspace string
	id       string
}

func (p place) String() string { return fmt.Sprintf("%s@%d/%s", p.keyspace, p.db, p.id) }

// glob matches the keys of the session, if its id has none of a glob's letters.
func (p place) glob() string {
	if p.keyspace == "wa" {
		return "wa:auth:" + p.id + ":*"
	}
	return "s:" + p.id + ":*"
}

// evictAll saves everything, evicts the sessions and makes sure that Redis has none of their keys.
func (r *rig) evictAll(t testing.TB, places []place) {
	t.Helper()
	admin := r.dialProxy(t, 2)
	redis := dialWire(t, r.redis.Addr())
	admin.wantPrefix(":", "CREDPROXY", "SYNC")
	args := []string{"CREDPROXY", "EVICT"}
	for _, p := range places {
		args = append(args, p.String())
	}
	admin.want(fmt.Sprintf(":%d\r\n", len(places)), args...)
	for _, p := range places {
		redis.value("SELECT", strconv.Itoa(p.db))
		if left := redis.value("KEYS", p.glob()); len(left.Elems) > 0 {
			t.Fatalf("session %s is evicted, but %q is still in Redis", p, left.Elems[0].Str)
		}
	}
}

// keyState is all that can be read of a key.
type keyState struct {
	expire int64
	value  string // with its type
}

// valueCommand reads a value by its type.
var valueCommand = map[string][]string{
	"string": {"GET"}, "list": {"LRANGE", "0", "-1"}, "set": {"SMEMBERS"}, "zset": {"ZRANGE", "0", "-1", "WITHSCORES"},
	"hash": {"HGETALL"}, "stream": {"XRANGE", "-", "+"},
}

// stateOf reads all keys of a database that match.
func stateOf(w *wire, db int, glob string) map[string]keyState {
	w.t.Helper()
	v := w.values([][]string{{"SELECT", strconv.Itoa(db)}, {"KEYS", glob}})
	var heads, reads [][]string
	for _, e := range v[1].Elems {
		heads = append(heads, []string{"TYPE", string(e.Str)}, []string{"PEXPIRETIME", string(e.Str)})
	}
	headValues := w.values(heads)
	for i := 0; i < len(heads); i += 2 {
		key, typ := heads[i][1], string(headValues[i].Str)
		read, ok := valueCommand[typ]
		if !ok {
			w.t.Fatalf("key %q has type %q", key, typ)
		}
		reads = append(reads, append([]string{read[0], key}, read[1:]...))
		if typ == "stream" {
			reads = append(reads, []string{"XINFO", "STREAM", key}, []string{"XINFO", "GROUPS", key})
		}
	}
	state := map[string]keyState{}
	for i := 0; i < len(heads); i += 2 {
		state[heads[i][1]] = keyState{expire: headValues[i+1].Int, value: string(headValues[i].Str)}
	}
	for i, v := range w.values(reads) {
		key := reads[i][1]
		if reads[i][0] == "XINFO" {
			key = reads[i][2]
		}
		s := state[key]
		s.value += textOf(v, unordered[reads[i][0]])
		state[key] = s
	}
	return state
}

// compareState compares what both have under the glob, in databases 0 and 1, and says what differs.
func (r *rig) compareState(t testing.TB, glob, when string) {
	t.Helper()
	d := r.dial(t, 2)
	for db := range 2 {
		bare, proxied := stateOf(d.bare, db, glob), stateOf(d.proxied, db, glob)
		for _, key := range slices.Sorted(maps.Keys(bare)) {
			want, got := bare[key], proxied[key]
			if want.value != got.value || !sameExpiry(want.expire, got.expire) {
				t.Errorf("%s: key %q of database %d\n    redis: %d %s\n    proxy: %d %s", when, key, db,
					want.expire, clip(want.value), got.expire, clip(got.value))
			}
			delete(proxied, key)
		}
		for _, key := range slices.Sorted(maps.Keys(proxied)) {
			t.Errorf("%s: key %q of database %d should not exist, but is %s", when, key, db, clip(proxied[key].value))
		}
	}
}

// known returns the sessions that the proxy knows whose ids begin with prefix.
func (r *rig) known(t testing.TB, prefix string) []place {
	t.Helper()
	admin := r.dialProxy(t, 3)
	var places []place
	for _, e := range admin.value("CREDPROXY", "SESSIONS", "COUNT", "100000").Elems {
		fields := map[string]resp.Value{}
		for i := 0; i+1 < len(e.Elems); i += 2 {
			fields[string(e.Elems[i].Str)] = e.Elems[i+1]
		}
		p := place{db: int(fields["db"].Int), keyspace: string(fields["keyspace"].Str), id: string(fields["id"].Str)}
		if strings.HasPrefix(p.id, prefix) {
			places = append(places, p)
		}
	}
	return places
}
