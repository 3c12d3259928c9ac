package keyspace

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// real is one entry of COMMAND.
type real struct {
	name     string
	arity    int
	flags    []string
	movable  bool // its keys depend on other arguments
	keySpecs bool // some key specification that is not for a channel
}

func readCommand(t *testing.T, s *server) (all []real) {
	t.Helper()
	var add func(entries []any)
	add = func(entries []any) {
		for _, e := range entries {
			f := e.([]any)
			r := real{name: strings.ToUpper(f[0].(string)), arity: int(f[1].(int64)), flags: texts(f[2])}
			for _, ks := range f[8].([]any) {
				spec := ks.([]any)
				at := slices.Index(spec, any("flags"))
				if !slices.Contains(texts(spec[at+1]), "not_key") {
					r.keySpecs = true
				}
			}
			r.movable = slices.Contains(r.flags, "movablekeys")
			all = append(all, r)
			add(f[9].([]any))
		}
	}
	add(s.do("COMMAND").([]any))
	if len(all) < 300 {
		t.Fatalf("COMMAND lists only %d commands", len(all))
	}
	return all
}

// call makes arguments for a command: its name, its subcommand, and n-1 (or n-2) different words.
func call(name string, n int) []string {
	args := strings.Split(name, "|")
	for len(args) < n {
		args = append(args, fmt.Sprintf("word%d", len(args)))
	}
	return args
}

// TestTableAgainstServer compares names, arities and flags with COMMAND.
func TestTableAgainstServer(t *testing.T) {
	table := NewTable()
	for _, r := range readCommand(t, startRedis(t)) {
		c := table.Lookup(byteArgs(call(r.name, 0)))
		if c == nil || c.Name != r.name {
			t.Errorf("%s: Lookup = %v", r.name, c)
			continue
		}
		if c.Arity != r.arity {
			t.Errorf("%s: arity %d, COMMAND says %d", r.name, c.Arity, r.arity)
		}
		has := func(flag string) bool { return slices.Contains(r.flags, flag) }
		same := func(f Flags, want bool, exceptions ...string) {
			if c.Has(f) != want && !slices.Contains(exceptions, r.name) {
				t.Errorf("%s: flag %b is %v, COMMAND's flags are %v", r.name, f, c.Has(f), r.flags)
			}
		}
		same(DenyOOM, has("denyoom"))
		same(Admin, has("admin"))
		same(Blocking, has("blocking"), "WAIT", "WAITAOF")
		same(NoKeys, !r.keySpecs, "DEBUG")
		// A script may write, PFCOUNT does; functions are no keys.
		if !strings.HasPrefix(r.name, "FUNCTION|") {
			same(Writing, has("write"), "EVAL", "EVALSHA", "FCALL", "PFCOUNT")
		}
	}
}

// laxer are keys about which the table says Write, though the server says RO: XREADGROUP changes the group's state.
var laxer = []string{"XREADGROUP"}

// stricter are calls about which the table says Read, though the server says RW: it does not look at their options.
var stricter = []string{"GETEX", "MIGRATE"}

// checkKeys compares AppendKeys with COMMAND GETKEYSANDFLAGS.
func checkKeys(t *testing.T, s *server, table *Table, args []string) {
	t.Helper()
	c := table.Lookup(byteArgs(args))
	if c == nil {
		t.Errorf("%q: unknown", args)
		return
	}
	want := map[string]string{}
	switch reply := s.do(append([]string{"COMMAND", "GETKEYSANDFLAGS"}, args...)...).(type) {
	case []any:
		for _, r := range reply {
			pair := r.([]any)
			want[pair[0].(string)] += fmt.Sprint(texts(pair[1])[0])
		}
	case replyError:
		if !strings.Contains(string(reply), "no key arguments") && !strings.Contains(string(reply), "Invalid arguments") {
			t.Fatalf("%q: %s", args, reply)
		}
	}
	keys, _ := c.AppendKeys(nil, byteArgs(args))
	got := map[string]string{}
	for _, k := range keys {
		name := args[k.Index]
		word := map[Access]string{Read: "RO", Remove: "RM", Write: "RW"}[k.Access]
		real, known := want[name]
		switch {
		case !known, real == word, k.Access == Write && real == "OW", k.Access == Remove && real == "RW":
		case k.Access == Write && slices.Contains(laxer, c.Name), k.Access == Read && slices.Contains(stricter, c.Name):
		default:
			t.Errorf("%q: key %q is %s, the server says %s", args, name, word, real)
		}
		got[name] = ""
	}
	for name := range want {
		want[name] = ""
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q: keys %v, the server says %v", args, got, want)
	}
}

// TestKeysAgainstServer checks the keys of every command with fixed key positions, at the shortest and at a longer call.
func TestKeysAgainstServer(t *testing.T) {
	s, table := startRedis(t), NewTable()
	checked := 0
	for _, r := range readCommand(t, s) {
		if !r.keySpecs || r.movable {
			continue
		}
		lengths := []int{r.arity}
		if r.arity < 0 {
			lengths = []int{-r.arity, -r.arity + 2, -r.arity + 6}
		}
		for _, n := range lengths {
			if r.name == "PFMERGE" && n == 2 {
				continue // valid, it makes an empty one, but the server finds no key in it
			}
			checkKeys(t, s, table, call(r.name, n))
			checked++
		}
	}
	if checked < 200 {
		t.Errorf("only %d calls checked", checked)
	}
}

// TestMovableKeysAgainstServer checks commands whose keys depend on other arguments.
func TestMovableKeysAgainstServer(t *testing.T) {
	s, table := startRedis(t), NewTable()
	covered := map[string]bool{}
	for _, line := range movableCalls {
		args := strings.Fields(line)
		for i, a := range args {
			if a == "''" {
				args[i] = ""
			}
		}
		covered[strings.ToUpper(args[0])] = true
		checkKeys(t, s, table, args)
	}
	for _, r := range readCommand(t, s) {
		if r.movable && !covered[r.name] {
			t.Errorf("%s has movable keys and is not tested", r.name)
		}
	}
}

var movableCalls = []string{
	"eval return 0", "eval return 1 k1", "eval return 2 k1 k2 arg", "eval return 3 k1 k2", "eval return x k1", "eval return -1 k1",
	"eval_ro s 2 k1 k2 a", "evalsha s 1 k1 a", "evalsha_ro s 1 k1", "fcall f 2 k1 k2 a b", "fcall_ro f 1 k1",
	"xread streams k1 0", "xread count 3 block 0 streams k1 k2 0 0", "xread count 1 streams k1 $",
	"xreadgroup group g c streams k1 >", "xreadgroup group streams streams count 1 block 5 noack streams k1 k2 > >",
	"sort k1", "sort k1 store k2", "sort k1 by w* get # get o* limit 0 5 store k2 alpha", "sort k1 store k2 store k3",
	"sort k1 by store desc", "sort k1 get store", "sort k1 limit store store store k2", "sort k1 store", "sort_ro k1 by w*",
	"georadius k1 1 2 3 m", "georadius k1 1 2 3 m store k2", "georadius k1 1 2 3 km count 5 any asc storedist k2",
	"georadiusbymember k1 mem 3 m", "georadiusbymember k1 mem 3 m storedist k2",
	"migrate h 1 k1 0 10", "migrate h 1 k1 0 10 copy replace", "migrate h 1 '' 0 10 keys k1 k2",
	"migrate h 1 '' 0 10 auth keys keys k1 k2", "migrate h 1 '' 0 10 auth2 u keys keys k1", "migrate h 1 k9 0 10 keys k1",
	"zunionstore k9 2 k1 k2 weights 1 2", "zinterstore k9 1 k1", "zdiffstore k9 2 k1 k2", "zunionstore k9 5 k1 k2",
	"zunion 2 k1 k2 withscores", "zinter 1 k1", "zdiff 2 k1 k2", "zintercard 2 k1 k2 limit 1", "sintercard 2 k1 k2", "zunion 0 k1",
	"lmpop 2 k1 k2 left", "zmpop 1 k1 min", "blmpop 0 2 k1 k2 left", "bzmpop 0 1 k1 max count 3", "lmpop 3 k1 k2",
}
