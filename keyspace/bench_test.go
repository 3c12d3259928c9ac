package keyspace

import (
	"fmt"
	"testing"
)

func BenchmarkLookup(b *testing.B) {
	table := NewTable()
	for _, call := range []string{"GET k", "hset k f v", "OBJECT ENCODING k", "NOSUCHCOMMAND k"} {
		args := words(call)
		b.Run(string(args[0]), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Lookup(args)
			}
		})
	}
}

func BenchmarkAppendKeys(b *testing.B) {
	table := NewTable()
	for _, call := range []string{"GET k", "HSET k f v", "DEL k", "MGET a b c d e f g h", "XREAD BLOCK 0 STREAMS a b 0 0", "EVAL s 2 a b c"} {
		args := words(call)
		b.Run(string(args[0]), func(b *testing.B) {
			b.ReportAllocs()
			c := table.Lookup(args)
			dst := make([]KeyArg, 0, 16)
			for b.Loop() {
				dst, _ = c.AppendKeys(dst[:0], args)
			}
		})
	}
}

// fleet are ten patterns as bots use them.
func fleet() []Spec {
	return []Spec{
		{Name: "wa", DB: 0, Patterns: []string{"wa:auth:{session}:creds", "wa:auth:{session}:keys", "wa:auth:{session}:meta"}},
		{Name: "evolution", DB: -1, Patterns: []string{"evolution:instance:{session}"}},
		{Name: "api", DB: 0, Patterns: []string{"@baileys-api:connections:{session}:authState"}},
		{Name: "signal", DB: 0, Patterns: []string{"signal:pk:{session}:*", "signal:sk:{session}:*"}},
		{Name: "web", DB: 0, Patterns: []string{"sess:{session}"}},
		{Name: "chat", DB: 0, Patterns: []string{"message_store:{session}"}},
		{Name: "store", DB: 0, Patterns: []string{"baileys:*:{session}:state"}},
	}
}

func BenchmarkMatch(b *testing.B) {
	m, err := Compile(fleet())
	if err != nil {
		b.Fatal(err)
	}
	for _, key := range []string{
		"wa:auth:5511988887777:keys", "signal:pk:120363@g.us:17", "baileys:eu:bot-17:state", "counter:visits", "wa:auth:5511988887777:other",
	} {
		b.Run(key, func(b *testing.B) {
			b.ReportAllocs()
			k := []byte(key)
			for b.Loop() {
				m.Match(0, k)
			}
		})
	}
}

func BenchmarkMatch1000Keyspaces(b *testing.B) {
	var specs []Spec
	for i := range 1000 {
		specs = append(specs, Spec{Name: fmt.Sprint("ks", i), Patterns: []string{fmt.Sprintf("app%03d:{session}:creds", i)}})
	}
	m, err := Compile(specs)
	if err != nil {
		b.Fatal(err)
	}
	key := []byte("app678:5511988887777:creds")
	b.ReportAllocs()
	for b.Loop() {
		m.Match(0, key)
	}
}

func BenchmarkGlob(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Glob([]byte("wa:auth:*:creds"), []byte("wa:auth:5511988887777:creds"))
	}
}
