package keyspace

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestLookup(t *testing.T) {
	table := NewTable()
	for call, want := range map[string]string{
		"get k": "GET", "GeT k": "GET", "object encoding k": "OBJECT|ENCODING", "OBJECT": "OBJECT", "object nosuch k": "",
		"object|encoding k": "", "get|x k": "", "geu k": "", "ge k": "", "gett k": "", "''": "", "object ''": "", "@get k": "",
		"get\x00x k": "GET", "\x00get k": "", "object freq\x00x k": "OBJECT|FREQ", "xgroup CreateConsumer k g c": "XGROUP|CREATECONSUMER",
		"client no-touch on": "CLIENT|NO-TOUCH", "client no\rtouch on": "", strings.Repeat("g", 1<<16): "",
		"sort_ro k": "SORT_RO", "sort\x7fro k": "",
	} {
		got := ""
		if c := table.Lookup(words(call)); c != nil {
			got = c.Name
		}
		if got != want {
			t.Errorf("%.40q: %q, want %q", call, got, want)
		}
	}
	if table.Lookup(nil) != nil {
		t.Error("no arguments: found something")
	}
}

func TestTableIsConsistent(t *testing.T) {
	table := NewTable()
	names := map[string]bool{}
	for i, c := range table.snap.Load().all {
		if c.Index != i || names[c.Name] || c.Name != strings.ToUpper(c.Name) {
			t.Errorf("%s: index %d at %d, or twice, or not in upper case", c.Name, c.Index, i)
		}
		names[c.Name] = true
		if got := table.Lookup(byteArgs(strings.Split(strings.ToLower(c.Name), "|"))); got != c {
			t.Errorf("%s: Lookup = %v", c.Name, got)
		}
	}
	if table.Len() != len(names) {
		t.Errorf("Len = %d, want %d", table.Len(), len(names))
	}
}

func TestFlags(t *testing.T) {
	table := NewTable()
	for f, names := range map[Flags]string{
		Blocking:   "BLPOP BRPOP BLMOVE BLMPOP BZPOPMIN BZPOPMAX BZMPOP BRPOPLPUSH XREAD XREADGROUP WAIT WAITAOF",
		PubSub:     "SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE",
		Tx:         "MULTI EXEC DISCARD WATCH UNWATCH",
		Script:     "EVAL EVALSHA EVAL_RO EVALSHA_RO FCALL FCALL_RO",
		Listing:    "KEYS SCAN DBSIZE RANDOMKEY",
		Flush:      "FLUSHALL FLUSHDB SWAPDB SFLUSH TRIMSLOTS",
		Connection: "AUTH HELLO SELECT RESET QUIT ASKING READONLY READWRITE MONITOR SYNC PSYNC REPLCONF",
	} {
		want := map[string]bool{}
		for _, name := range strings.Fields(names) {
			want[name] = true
		}
		for _, c := range table.snap.Load().all {
			if f == Connection && strings.HasPrefix(c.Name+"|", "CLIENT|") || c.Name == "SCRIPT|DEBUG" {
				want[c.Name] = f == Connection
			}
			if c.Has(f) != want[c.Name] {
				t.Errorf("%s: flag %b is %v", c.Name, f, c.Has(f))
			}
		}
	}
}

func TestLearn(t *testing.T) {
	table := NewTable()
	before := table.Len()
	get := table.Lookup(words("get k"))
	if table.Learn(Info{Name: "get", First: 7, Last: 7}) != get || table.Len() != before {
		t.Error("a known command is learned anew")
	}
	json := table.Learn(Info{Name: "json.set", Arity: -4, Flags: []string{"write", "denyoom"}, First: 1, Last: 1, Step: 1})
	if json.Index != before || table.Lookup(words("JSON.SET k . v")) != json || !json.Learned || !json.Has(DenyOOM) || !json.Has(Writing) {
		t.Errorf("learned %+v", json)
	}
	for _, test := range []struct {
		info Info
		call string
		want string
	}{
		{Info{Name: "a.read", Flags: []string{"readonly"}, First: 1, Last: -1, Step: 1}, "a.read x y", "x:r y:r"},
		{Info{Name: "a.pairs", First: 1, Last: -1, Step: 2}, "a.pairs x 1 y 2", "x:w y:w"},
		{Info{Name: "a.del", Arity: -2, First: 1, Last: 1, KeyFlags: []string{"RM", "delete"}}, "a.del x", "x:x"},
		{Info{Name: "a.chan", First: 1, Last: 1, KeyFlags: []string{"not_key"}}, "a.chan x", ""},
		{Info{Name: "a.none", Flags: []string{"readonly"}}, "a.none x", ""},
		{Info{Name: "box|Open", First: 2, Last: 2}, "BOX OPEN x", "x:w"},
	} {
		args := words(test.call)
		learned := table.Learn(test.info)
		if c := table.Lookup(args); c != learned || c.Index >= table.Len() {
			t.Errorf("%s: Lookup = %v, Learn = %v", test.call, c, learned)
			continue
		}
		keys, err := learned.AppendKeys(nil, args)
		if got := describe(keys, args); err != nil || got != test.want {
			t.Errorf("%s: %q (%v), want %q", test.call, got, err, test.want)
		}
		if learned.Has(NoKeys) != (test.want == "") {
			t.Errorf("%s: NoKeys is %v", test.call, learned.Has(NoKeys))
		}
	}
	if c := table.Lookup(words("box")); c == nil || c.Name != "BOX" || table.Lookup(words("box shut")) != nil {
		t.Error("the container of a learned subcommand is not one")
	}
	movable := table.Learn(Info{Name: "m", Flags: []string{"write", "movablekeys", "blocking"}})
	if _, err := movable.AppendKeys(nil, words("m 1 k")); !movable.Movable || !errors.Is(err, ErrMovable) || movable.Has(NoKeys) || !movable.Has(Writing) || !movable.Has(Blocking) {
		t.Errorf("movable: %+v, %v", movable, err)
	}
}

// TestLearnWhileLookup runs under the race detector.
func TestLearnWhileLookup(t *testing.T) {
	table := NewTable()
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for i := range 50 {
				name := fmt.Sprintf("mod%d.cmd%d", w%2, i)
				c := table.Learn(Info{Name: name, First: 1, Last: 1})
				if table.Lookup(words(name+" k")) != c || table.Lookup(words("get k")).Name != "GET" {
					t.Errorf("%s is not found", name)
				}
			}
		})
	}
	group.Wait()
	if got, want := table.Len(), NewTable().Len()+100; got != want {
		t.Errorf("Len = %d, want %d", got, want)
	}
}

func TestLookupAllocates(t *testing.T) {
	table := NewTable()
	for _, call := range []string{"get k", "object encoding k", "xread block 0 streams a b 0 0", "mset a 1 b 2", "nosuch", "eval s 1 k", "get"} {
		args := words(call)
		if n := testing.AllocsPerRun(100, func() {
			var room [8]KeyArg
			if c := table.Lookup(args); c != nil {
				_, _ = c.AppendKeys(room[:0], args)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", call, n)
		}
	}
}
