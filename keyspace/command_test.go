package keyspace

import (
	"fmt"
	"strings"
	"testing"
)

// words splits a command; ” is an empty argument.
func words(line string) [][]byte {
	args := strings.Fields(line)
	for i, a := range args {
		if a == "''" {
			args[i] = ""
		}
	}
	return byteArgs(args)
}

// describe renders keys as "name:access" with access r, w, W (fields), E (expiry), x (remove), X (remove fields).
func describe(keys []KeyArg, args [][]byte) string {
	marks := map[KeyArg]string{
		{Access: Read}: "r", {Access: Write}: "w", {Access: Write, Scope: Fields}: "W", {Access: Write, Scope: Expiry}: "E",
		{Access: Remove}: "x", {Access: Remove, Scope: Fields}: "X",
	}
	var out []string
	for _, k := range keys {
		out = append(out, string(args[k.Index])+":"+marks[KeyArg{Access: k.Access, Scope: k.Scope}])
	}
	return strings.Join(out, " ")
}

func TestAppendKeys(t *testing.T) {
	table := NewTable()
	for _, test := range []struct{ call, want string }{
		{"get k", "k:r"},
		{"PING", ""},
		{"set k v get", "k:w"},
		{"mset a 1 b 2 c 3", "a:w b:w c:w"},
		{"msetex 2 a 1 b 2 ex 10", "a:w b:w"},
		{"msetex 3 a 1 b 2", "error"},
		{"mget a b a", "a:r b:r a:r"},
		{"del a b", "a:x b:x"},
		{"unlink a", "a:x"},
		{"getdel a", "a:x"},
		{"getdel a b", "a:w"}, // refused by Redis: not to be removed
		{"delex a ifeq v", "a:x"},
		{"delex a", "a:x"},
		{"digest a", "a:r"},
		{"rename a b", "a:x b:w"},
		{"renamenx a b", "a:x b:w"},
		{"rename a", "a:w"},
		{"move a 3", "a:x"},
		{"copy a b db 3 replace", "a:r b:w"},
		{"migrate h 1 k 0 10", "k:x"},
		{"migrate h 1 k 0 10 copy", "k:r"},
		{"migrate h 1 '' 0 10 replace keys copy b", "copy:x b:x"},
		{"migrate h 1 '' 0 10 copy auth2 u keys keys a b", "a:r b:r"},
		{"migrate h 1 k 0 10 keys a b", "error"},
		{"migrate h 1 k 0", "error"},
		{"expire k 10", "k:E"},
		{"expire k 0", "k:x"},
		{"pexpire k -5", "k:x"},
		{"expireat k 00", "k:E"},
		{"expire k -1 nx", "k:E"},
		{"expire k -x", "k:E"},
		{"expire k -", "k:E"},
		{"persist k", "k:E"},
		{"getex k", "k:r"},
		{"getex k persist", "k:E"},
		{"hset k f v", "k:W"},
		{"hset k f v g", "k:w"},
		{"hmset k f v g w", "k:W"},
		{"hsetnx k f v", "k:W"},
		{"hincrby k f 1", "k:W"},
		{"hincrbyfloat k f", "k:w"},
		{"hdel k f g", "k:X"},
		{"hdel k", "k:w"},
		{"hgetdel k fields 2 f g", "k:X"},
		{"hgetdel k fields 3 f g", "k:w"},
		{"hgetdel k fields 0", "k:w"},
		{"hgetex k fields 1 f", "k:r"},
		{"hgetex k ex 10 fields 1 f", "k:w"},
		{"hgetex k fields 1 f persist", "k:w"},
		{"hsetex k ex 10 fields 1 f v", "k:w"},
		{"hexpire k 10 fields 1 f", "k:w"},
		{"hpersist k fields 1 f", "k:w"},
		{"httl k fields 1 f", "k:r"},
		{"hget k f", "k:r"},
		{"lpush k a", "k:w"},
		{"spop k", "k:w"},
		{"smove a b m", "a:w b:w"},
		{"lmove a b left right", "a:w b:w"},
		{"blmove a b left right 0", "a:w b:w"},
		{"rpoplpush a b", "a:w b:w"},
		{"blpop a b 0", "a:w b:w"},
		{"blpop a", "error"},
		{"bzpopmin a b 5", "a:w b:w"},
		{"blmpop 0 2 a b left", "a:w b:w"},
		{"bzmpop 0 2 a b min", "a:w b:w"},
		{"lmpop 0 a left", ""},
		{"sinterstore d a b", "d:w a:r b:r"},
		{"pfmerge d", "d:w"},
		{"pfmerge d a", "d:w a:r"},
		{"pfcount a b", "a:w b:w"},
		{"pfdebug encoding a", "a:w"},
		{"bitop and d a b", "d:w a:r b:r"},
		{"bitfield k get u8 0", "k:r"},
		{"bitfield k", "k:r"},
		{"bitfield k get u8", "k:w"},
		{"bitfield k get u8 0 overflow sat incrby u8 0 1", "k:w"},
		{"bitfield k overflow wrap get u8 0", "k:r"},
		{"bitfield_ro k get u8 0", "k:r"},
		{"zunionstore d 2 a b weights 1 2", "d:w a:r b:r"},
		{"zrangestore d a 0 -1", "d:w a:r"},
		{"geosearchstore d a frommember m byradius 1 m", "d:w a:r"},
		{"georadius k 1 2 3 m store a storedist b", "k:r b:w"},
		{"georadius k 1 2 3 m store", "k:r"},
		{"georadius_ro k 1 2 3 m", "k:r"},
		{"sort k by w* get # store d", "k:r d:w"},
		{"sort k store a store b", "k:r b:w"},
		{"sort k store store", "k:r store:w"},
		{"sort k futureoption store d", "k:r d:w"},
		{"sort k STORE\x00x d", "k:r d:w"},
		{"sort_ro k", "k:r"},
		{"eval s 0", ""},
		{"eval s 2 a b c", "a:w b:w"},
		{"eval s 2 a", "error"},
		{"eval s", "error"},
		{"eval s 99999999999999999999 a", "error"},
		{"eval s 4294967297 a", "error"},
		{"eval s '' a", "error"},
		{"expire", "error"},
		{"eval_ro s 1 a", "a:r"},
		{"fcall f 1 a b", "a:w"},
		{"fcall_ro f 2 a b", "a:r b:r"},
		{"xread count 5 block 0 streams a b 0 0", "a:r b:r"},
		{"xread streams a b 0", "error"},
		{"xread streams", "error"},
		{"xread count", "error"},
		{"xread newoption streams a 0", "a:r"},
		{"xreadgroup group streams c claim 10 noack streams a >", "a:w"},
		{"xautoclaim k g c 0 0", "k:w"},
		{"xackdel k g ids 1 1-1", "k:w"},
		{"xgroup create k g $", "k:w"},
		{"xinfo stream k", "k:r"},
		{"xinfo help", ""},
		{"object encoding k", "k:r"},
		{"object help", ""},
		{"memory usage k", "k:r"},
		{"debug object k", "k:r"},
		{"debug digest-value a b", "a:r b:r"},
		{"debug sleep 0", ""},
		{"debug", ""},
		{"publish chan m", ""},
		{"spublish chan m", ""},
		{"ssubscribe chan", ""},
		{"watch a b", "a:r b:r"},
		{"restore k 0 x", "k:w"},
		{"dump k", "k:r"},
		{"lcs a b len", "a:r b:r"},
		{"touch a b", "a:r b:r"},
		{"vadd k fp32 x y", "k:w"},
		{"vsim k ele x", "k:r"},
		{"arset k 0 v", "k:w"},
		{"get", "error"},
		{"get k extra", "k:r"},
		{"keys *", ""},
		{"mset", "error"},
	} {
		args := words(test.call)
		c := table.Lookup(args)
		if c == nil {
			t.Errorf("%s: unknown", test.call)
			continue
		}
		keys, err := c.AppendKeys(nil, args)
		got := describe(keys, args)
		if err != nil {
			got = "error"
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.call, got, test.want)
		}
	}
}

func TestFields(t *testing.T) {
	table := NewTable()
	for _, test := range []struct{ call, want string }{
		{"hset k f v g w", "2 5 2 true"},
		{"hset k f v g", "2 4 2 false"},
		{"hset k f", "0 0 0 false"},
		{"hmset k f v", "2 3 2 true"},
		{"hdel k f g h", "2 4 1 true"},
		{"hincrby k f 1", "2 2 1 true"},
		{"hincrbyfloat k f 1", "2 2 1 true"},
		{"hsetnx k f v", "2 2 1 true"},
		{"hgetdel k FIELDS 2 f g", "4 5 1 true"},
		{"hgetdel k FIELDS 1 f g", "4 5 1 false"},
		{"hexpire k 10 FIELDS 1 f", "0 0 0 false"},
		{"get k", "0 0 0 false"},
	} {
		args := words(test.call)
		first, last, step, ok := table.Lookup(args).Fields(args)
		if got := fmt.Sprint(first, last, step, ok); got != test.want {
			t.Errorf("%s: %s, want %s", test.call, got, test.want)
		}
	}
}

func TestBlocks(t *testing.T) {
	table := NewTable()
	for call, want := range map[string]bool{
		"blpop k 0": true, "wait 1 0": true, "waitaof 1 0 0": true, "bzmpop 0 1 k min": true, "brpoplpush a b 0": true,
		"xread streams block 0": false, "xread count 2 block 5 streams k 0": true, "xread count block streams k 0": false,
		"xreadgroup group block c streams k >": false, "xreadgroup group g c BLOCK 0 streams k >": true, "get k": false,
	} {
		args := words(call)
		if got := table.Lookup(args).Blocks(args); got != want {
			t.Errorf("%s: Blocks = %v", call, got)
		}
	}
}

func TestTargetDB(t *testing.T) {
	table := NewTable()
	for call, want := range map[string]string{
		"copy a b": "0 false", "copy a b db 3": "3 true", "copy a b replace DB 1 db 2": "2 true", "copy a b db x": "0 false",
		"copy a b db": "0 false", "copy a db 3": "0 false", "move a 7": "7 true", "move a": "0 false", "move a -1": "0 false",
		"get a": "0 false",
	} {
		args := words(call)
		db, ok := table.Lookup(args).TargetDB(args)
		if got := fmt.Sprint(db, ok); got != want {
			t.Errorf("%s: %s, want %s", call, got, want)
		}
	}
}

func TestParseAccess(t *testing.T) {
	for flags, want := range map[string]string{
		"RO access": "0 true", "OW update": "1 true", "rw": "1 true", "RM delete": "2 true", "not_key": "0 false", "": "1 true",
	} {
		a, ok := ParseAccess(strings.Fields(flags))
		if got := fmt.Sprint(a, ok); got != want {
			t.Errorf("%q: %s, want %s", flags, got, want)
		}
	}
}
