package keyspace

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// Whatever was found before, a Latest finds what its Table does.
func TestLatestFindsWhatTheTableFinds(t *testing.T) {
	table := NewTable()
	calls := [][][]byte{nil, {[]byte("")}, {[]byte("GET\x00x")}, {[]byte("g\x00")}, {[]byte("NOSUCH")}, {[]byte(strings.Repeat("x", 100))}}
	for _, name := range []string{"GET k", "get k", "Get k", "GETS k", "GE k", "SET k v", "OBJECT", "OBJECT ENCODING k", "object freq k", "OBJECT NOSUCH",
		"OBJECT|ENCODING k", "CLIENT ID", "CLIENT LIST", "CONFIG GET x", "CONFIG SET x y", "GEORADIUSBYMEMBER_RO k", "MODULE.ONE k"} {
		var args [][]byte
		for a := range strings.FieldsSeq(name) {
			args = append(args, []byte(a))
		}
		calls = append(calls, args)
	}
	latest, rng := Latest{Table: table}, rand.New(rand.NewPCG(1, 2))
	for i := range 20_000 {
		args := calls[rng.IntN(len(calls))]
		switch i { // what is learned meanwhile counts at once
		case 10_000:
			table.Learn(Info{Name: "module.one", Arity: 2})
		case 15_000:
			args = [][]byte{[]byte("GET"), []byte("k")}
			latest.Lookup(args)
			table.Learn(Info{Name: "get|k", Arity: 2}) // GET is a container now
		}
		for range 1 + rng.IntN(2) {
			if got, want := latest.Lookup(args), table.Lookup(args); got != want {
				t.Fatalf("step %d: %q is %v, want %v", i, args, got, want)
			}
		}
	}
}
