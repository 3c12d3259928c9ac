package proxy_test

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"credproxy/internal/testenv"
)

// firstTouchData is what a session has before it is evicted; {p} begins its keys.
var firstTouchData = []string{
	`SET {p}str "the value of {p}"`, `SET {p}bin "\x00\xff\r\n$-1\r\n\x80{p}"`, `SET {p}empty ""`, `SET {p}num 41`, `SET {p}flt 3.25`,
	`HSET {p}hash f1 v1 f2 "\x00\r\n\xff" n 5 bin ""`, `HSET {p}one f v`, `RPUSH {p}list a b c d b`, `SADD {p}set x y z`, `SADD {p}ints 1 2 3`,
	`ZADD {p}zset 1 m1 2 m2 2.5 m3`, `ZADD {p}lex 0 a 0 b 0 c 0 d`, `GEOADD {p}geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania`,
	`XADD {p}stream 1-1 f v g w`, `XADD {p}stream 2-1 f "\x00"`, `XADD {p}stream 3-1 f x`, `XDEL {p}stream 3-1`, `XGROUP CREATE {p}stream grp 0`,
	`XREADGROUP GROUP grp reader COUNT 1 STREAMS {p}stream >`, `PFADD {p}hll a b c {p}`, `MSET {p}w1 30 {p}w2 20 {p}w3 10`,
	`SET {p}ttl soon PXAT 4102444800123`, `HSET {p}httl f v`, `PEXPIREAT {p}httl 4102444800456`, `RPUSH {p}lttl e`, `PEXPIREAT {p}lttl 4102444800789`,
}

var waData = []string{
	`SET {p}creds "{\"noiseKey\":\"\x00\x01\"}"`, `HSET {p}keys pre-key-1 a pre-key-2 "\xff\x00" session-2 c`, `PEXPIREAT {p}keys 4102444800999`,
}

// functionLibrary is for FCALL.
const functionLibrary = `#!lua name=firsttouch
redis.register_function('ft_swap', function(keys) local a, b = redis.call('GET', keys[1]), redis.call('GET', keys[2])
  redis.call('SET', keys[1], b) redis.call('SET', keys[2], a) return {b, a} end)
redis.register_function('ft_wipe', function(keys) return redis.call('DEL', unpack(keys)) end)
redis.register_function{function_name='ft_read', callback=function(keys) return redis.call('GET', keys[1]) end, flags={'no-writes'}}`

// firstTouch is one case under way.
type firstTouch struct {
	*rig
	t      *testing.T
	id     string // begins the ids of the case's sessions
	script [][]string
	placed []place // what is evicted before the script runs
}

// newFirstTouch loads the sessions that the script names into both servers.
func newFirstTouch(t *testing.T, r *rig, id, script string) *firstTouch {
	t.Helper()
	f := &firstTouch{rig: r, t: t, id: id}
	names := strings.NewReplacer("{a}", "s:"+id+".a:", "{b}", "s:"+id+".b:", "{c}", "s:"+id+".c:", "{d}", "s:"+id+".d:",
		"{h}", "s:"+id+".h:", "{n}", "n:"+id+".n:", "{w}", "wa:auth:"+id+".w:")
	for line := range strings.SplitSeq(script, "; ") {
		f.script = append(f.script, wordsOf(names.Replace(line)))
	}
	load := func(db int, lines []string, prefix string) {
		commands := [][]string{{"SELECT", fmt.Sprint(db)}}
		for _, line := range lines {
			commands = append(commands, wordsOf(strings.ReplaceAll(line, "{p}", names.Replace(prefix))))
		}
		f.load(commands)
	}
	load(0, firstTouchData, "{a}")
	f.placed = []place{{0, "any", id + ".a"}}
	for _, other := range []struct {
		prefix  string
		db      int
		space   string // "" for keys that stay
		session string
		data    []string
	}{{"{b}", 0, "", ".b", firstTouchData}, {"{n}", 0, "", "", firstTouchData}, {"{c}", 0, "any", ".c", firstTouchData},
		{"{d}", 1, "any", ".d", firstTouchData}, {"{w}", 0, "wa", ".w", waData}, {"{h}", 0, "any", ".h", nil}} {
		if !strings.Contains(script, other.prefix) {
			continue
		}
		if load(other.db, other.data, other.prefix); other.prefix == "{h}" {
			f.load(heavyData(names.Replace("{h}")))
		}
		if other.space != "" {
			f.placed = append(f.placed, place{other.db, other.space, id + other.session})
		}
	}
	return f
}

func (f *firstTouch) load(commands [][]string) {
	f.t.Helper()
	d := f.dial(f.t, 2)
	if diff := d.run(commands, true); diff != "" {
		f.t.Fatalf("load: %s", diff)
	}
}

// heavyData is a string of 1.3 MB and a hash of 3,000 fields, both binary, with a string beside them.
func heavyData(prefix string) [][]string {
	rnd := rand.New(rand.NewSource(1))
	big := make([]byte, 1_300_000)
	rnd.Read(big)
	wide := []string{"HSET", prefix + "wide"}
	for i := range 3000 {
		wide = append(wide, fmt.Sprintf("f%d", i), string(big[i*100:i*100+i%100]))
	}
	return [][]string{{"SET", prefix + "big", string(big)}, wide, {"PEXPIREAT", prefix + "wide", "4102444800321"}}
}

// check evicts, runs the script on both and compares all replies; then it compares what both have, first as it is and then
// once more after everything was evicted, since a change must also come back.
func (f *firstTouch) check(proto int) {
	f.t.Helper()
	f.evictAll(f.t, f.placed)
	d := f.dial(f.t, proto)
	if diff := d.run(f.script, proto == 3); diff != "" {
		f.t.Errorf("reply differs: %s", diff)
	}
	f.checkState()
}

func (f *firstTouch) checkState() {
	f.t.Helper()
	glob := "*:" + f.id + ".*"
	f.compareState(f.t, glob, "after the script")
	f.evictAll(f.t, f.known(f.t, f.id+"."))
	f.compareState(f.t, glob, "after one more eviction")
}

// TestFirstTouch runs every script as the first thing that touches evicted sessions: command by command in RESP2, in one write
// in RESP3. The replies must be those of a bare Redis, byte for byte where Redis promises an order.
func TestFirstTouch(t *testing.T) {
	for group, scripts := range map[string][]string{
		"string": stringCases, "key": keyCases, "hash": hashCases, "list": listCases, "set": setCases, "zset": zsetCases,
		"stream": streamCases, "script": scriptCases, "transaction": transactionCases, "refused": refusedCases,
	} {
		for _, proto := range []int{2, 3} {
			t.Run(fmt.Sprintf("%s/RESP%d", group, proto), func(t *testing.T) {
				t.Parallel()
				firstTouchGroup(t, scripts, proto)
			})
		}
	}
}

func firstTouchGroup(t *testing.T, scripts []string, proto int) {
	r := newRig(t)
	diff := r.dial(t, 2).run([][]string{{"FUNCTION", "LOAD", functionLibrary}, {"SCRIPT", "LOAD", "return redis.call('get', KEYS[1])"}}, true)
	if diff != "" {
		t.Fatal(diff)
	}
	for i, script := range scripts {
		if i%20 == 19 { // listings walk all that is stored: keep it little
			diff := r.dial(t, 2).run([][]string{{"FLUSHALL"}}, true)
			if diff != "" {
				t.Fatal(diff)
			}
		}
		t.Run(script, func(t *testing.T) { newFirstTouch(t, r, fmt.Sprintf("t%d", i), script).check(proto) })
	}
}

// TestFirstTouchFinds lets KEYS and SCAN be the first to look for evicted keys: a scan must show each of them.
func TestFirstTouchFinds(t *testing.T) {
	r := newRig(t)
	f := newFirstTouch(t, r, "scan", "GET {a}str; GET {b}str; GET {c}str; GET {n}str; GET {w}creds; GET {d}str")
	for _, test := range []struct{ name, options string }{
		{"all", ``}, {"match", `MATCH *:scan.a:*`}, {"one key", `MATCH s:scan.c:h?sh`}, {"type", `TYPE hash COUNT 7`}, {"type stream", `TYPE stream`},
		{"match and type", `MATCH *:scan.[ac]:* TYPE string COUNT 1`}, {"large count", `COUNT 1000`}, {"nothing", `MATCH nothing*`}, {"other keyspace", `MATCH wa:*`},
	} {
		for _, proto := range []int{2, 3} {
			t.Run(fmt.Sprintf("%s/RESP%d", test.name, proto), func(t *testing.T) {
				f.evictAll(t, f.placed)
				d := r.dial(t, proto)
				for db := range 2 {
					bare, proxied := scanAll(d.bare, db, test.options), scanAll(d.proxied, db, test.options)
					if !slices.Equal(bare, proxied) {
						t.Errorf("SCAN %s in database %d\n    redis: %q\n    proxy: %q", test.options, db, bare, proxied)
					}
				}
			})
		}
	}
	f.checkState()
}

// scanAll iterates to the end and returns the keys, sorted, each once.
func scanAll(w *wire, db int, options string) []string {
	w.t.Helper()
	w.value("SELECT", fmt.Sprint(db))
	var keys []string
	cursor := "0"
	for range 10_000 {
		v := w.value(append([]string{"SCAN", cursor}, wordsOf(options)...)...)
		for _, e := range v.Elems[1].Elems {
			keys = append(keys, string(e.Str))
		}
		if cursor = string(v.Elems[0].Str); cursor == "0" {
			slices.Sort(keys)
			return slices.Compact(keys)
		}
	}
	w.t.Fatal("the scan does not end")
	return nil
}

// TestFirstTouchDump compares payloads by what they restore to, on a bare Redis.
func TestFirstTouchDump(t *testing.T) {
	r := newRig(t)
	f := newFirstTouch(t, r, "dump", "GET {h}big")
	f.evictAll(t, f.placed)
	d := r.dial(t, 2)
	judge := dialWire(t, testenv.Redis(t).Addr())
	for _, key := range []string{"a:str", "a:bin", "a:num", "a:hash", "a:list", "a:set", "a:ints", "a:zset", "a:stream", "a:ttl", "a:hll", "h:big", "h:wide"} {
		key = "s:dump." + key
		judge.value("FLUSHALL")
		var values []string
		for _, w := range []*wire{d.bare, d.proxied} {
			judge.want("+OK\r\n", "RESTORE", key, "0", string(w.value("DUMP", key).Str), "REPLACE")
			values = append(values, stateOf(judge, 0, "*")[key].value)
		}
		if values[0] != values[1] || values[0] == "" {
			t.Errorf("DUMP %s restores to\n    redis: %s\n    proxy: %s", key, clip(values[0]), clip(values[1]))
		}
	}
	d.proxied.want("$-1\r\n", "DUMP", "s:dump.a:missing")
}

// TestFirstTouchWatch: what another client does between WATCH and EXEC decides, also when the watched session was evicted.
func TestFirstTouchWatch(t *testing.T) {
	r := newRig(t)
	for i, test := range []struct{ name, watch, other string }{
		{"write", `WATCH {a}str {c}hash`, `SET {a}str other`},
		{"field", `WATCH {a}str {c}hash`, `HSET {c}hash f1 other`},
		{"delete", `WATCH {a}str`, `DEL {a}str`},
		{"create", `WATCH {a}missing`, `SET {a}missing x`},
		{"expiry", `WATCH {a}str`, `EXPIRE {a}str -1`},
		{"the same session, another key", `WATCH {a}str`, `SET {a}num 1`},
		{"only read", `WATCH {a}str {c}hash`, `GET {a}str`},
		{"only its first touch", `WATCH {a}str`, `GET {c}str`},
	} {
		for _, proto := range []int{2, 3} {
			t.Run(fmt.Sprintf("%s/RESP%d", test.name, proto), func(t *testing.T) {
				f := newFirstTouch(t, r, fmt.Sprintf("w%d-%d", i, proto), test.watch+"; "+test.other+"; MULTI; INCR {a}num; GET {a}str; EXEC")
				f.evictAll(t, f.placed)
				mine, others := r.dial(t, proto), r.dial(t, proto)
				for i, d := range []*dual{mine, others, mine} {
					commands := [][][]string{f.script[:1], f.script[1:2], f.script[2:]}[i]
					if diff := d.run(commands, true); diff != "" {
						t.Errorf("reply differs: %s", diff)
					}
				}
				f.checkState()
			})
		}
	}
}

// TestFirstTouchBlocked: a client that waits on an evicted session's list, stream or sorted set gets what comes.
func TestFirstTouchBlocked(t *testing.T) {
	r := newRig(t)
	for i, test := range []struct{ name, wait, push string }{
		{"list", `BLPOP {a}new {c}new 10`, `RPUSH {c}new x`},
		{"move", `BLMOVE {a}new {c}list LEFT RIGHT 10`, `LPUSH {a}new x`},
		{"sorted set", `BZPOPMIN {a}new 10`, `ZADD {a}new 1 m`},
		{"stream", `XREAD BLOCK 10000 STREAMS {a}stream 3-1`, `XADD {a}stream 4-1 f v`},
	} {
		for _, proto := range []int{2, 3} {
			t.Run(fmt.Sprintf("%s/RESP%d", test.name, proto), func(t *testing.T) {
				f := newFirstTouch(t, r, fmt.Sprintf("bl%d-%d", i, proto), test.wait+"; "+test.push)
				f.evictAll(t, f.placed)
				waiting, pushing := r.dial(t, proto), r.dial(t, proto)
				waiting.bare.send(f.script[0]...)
				waiting.proxied.send(f.script[0]...)
				for _, addr := range []string{r.bare, r.redis.Addr()} {
					w := dialWire(t, addr)
					testenv.Eventually(t, wirePatience, "the client is blocked", func() bool {
						return strings.Contains(string(w.value("INFO", "clients").Str), "blocked_clients:1")
					})
				}
				if diff := pushing.run(f.script[1:], true); diff != "" {
					t.Errorf("reply differs: %s", diff)
				}
				if bare, proxied := waiting.bare.reply(), waiting.proxied.reply(); bare != proxied {
					t.Errorf("%q\n    redis: %q\n    proxy: %q", f.script[0], bare, proxied)
				}
				f.checkState()
			})
		}
	}
}

// TestFirstTouchPipeline touches ten evicted sessions with a hundred mixed commands in one write.
func TestFirstTouchPipeline(t *testing.T) {
	r := newRig(t)
	for _, proto := range []int{2, 3} {
		t.Run(fmt.Sprintf("RESP%d", proto), func(t *testing.T) {
			var sessions []*firstTouch
			var commands [][]string
			for i := range 10 {
				f := newFirstTouch(t, r, fmt.Sprintf("p%d-%d", proto, i), `GET {a}str; HSET {a}hash g {a}; LRANGE {a}list 0 -1; INCR {a}num; DEL {a}set {c}set; `+
					`SMEMBERS {a}set; ZADD {c}zset 7 m7; XLEN {a}stream; RENAME {a}hash {c}str; MGET {a}str {c}str {n}str {a}missing`)
				f.evictAll(t, f.placed)
				sessions = append(sessions, f)
			}
			for at := range sessions[0].script { // every command on all sessions before the next one
				for _, f := range sessions {
					commands = append(commands, f.script[at])
				}
			}
			if diff := r.dial(t, proto).run(commands, true); diff != "" {
				t.Errorf("reply differs: %s", diff)
			}
			for _, f := range sessions {
				f.checkState()
			}
		})
	}
}

// TestFirstTouchAfterExpiry: a key that expires while its session is out is gone, the others are not.
func TestFirstTouchAfterExpiry(t *testing.T) {
	r := newRig(t)
	f := newFirstTouch(t, r, "late", `GET {a}str; HGETALL {a}hash; EXISTS {a}str {a}hash {a}list; SETNX {a}str new; RPUSH {a}list x; TTL {a}list; KEYS {a}*`)
	f.load([][]string{{"PEXPIRE", "s:late.a:str", "300"}, {"PEXPIRE", "s:late.a:hash", "300"}, {"PEXPIRE", "s:late.a:list", "300"}})
	f.evictAll(t, f.placed)
	bare := dialWire(t, r.bare)
	testenv.Eventually(t, wirePatience, "the keys expire", func() bool {
		return bare.value("EXISTS", "s:late.a:str", "s:late.a:hash", "s:late.a:list").Int == 0
	})
	f.check(2)
}
