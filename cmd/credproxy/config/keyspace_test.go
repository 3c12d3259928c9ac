package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"credproxy/proxy"
)

const twoSpaces = `
restore { postgres = "host=x" }
memory {
  inactivity_ttl = "48h"
  min_idle       = "10s"
}
keyspace "a" { keys = ["a:{session}"] }
keyspace "b" {
  keys           = ["b:{session}"]
  max            = "64MB"
  inactivity_ttl = "0s"
}
keyspace "c" {
  keys     = ["c:{session}"]
  min_idle = "1m"
}
`

// What a keyspace says holds for it, and what it leaves out follows the memory block, also where it says zero.
func TestKeyspaceMemory(t *testing.T) {
	c := parse(t, twoSpaces)
	want := map[string]proxy.KeyspaceMemory{
		"b": {Max: 64 << 20, MinIdle: 10 * time.Second},
		"c": {InactivityTTL: 48 * time.Hour, MinIdle: time.Minute},
	}
	if got := c.Memory.KeyspacesInEffect(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %v", c.Warnings)
	}
	shown := string(c.Render())
	for _, part := range []string{"  max            = \"64MB\"\n  inactivity_ttl = \"0s\"\n}", "  min_idle = \"1m\"\n}", "  min_idle       = \"10s\"\n"} {
		if !strings.Contains(shown, part) {
			t.Errorf("no %q in\n%s", part, shown)
		}
	}
	if again := parse(t, strings.ReplaceAll(shown, "(set)", "host=x")); !reflect.DeepEqual(again.Memory, c.Memory) {
		t.Errorf("read back: %+v\nwant %+v", again.Memory, c.Memory)
	}
}

func TestKeyspaceMemoryProblems(t *testing.T) {
	const head = "restore { postgres = \"host=x\" }\n"
	block := func(lines string) string {
		return head + "keyspace \"a\" {\n  keys = [\"a:{session}\"]\n" + lines + "}\n"
	}
	for _, c := range []struct{ name, src, want string }{
		{"zero", block("  max = \"0\"\n"), `proxy.hcl:4: keyspace "a": max must be positive: write for instance "256MB", or leave it out for no budget of its own`},
		{"no size", block("  max = \"lots\"\n"), `proxy.hcl:4: keyspace "a": max "lots" is not a size: write "512MB", "1GB" or a number of bytes`},
		{"negative ttl", block("  inactivity_ttl = \"-1s\"\n"), `proxy.hcl:4: keyspace "a": inactivity_ttl is negative: write for instance "168h", or "0s" for never`},
		{"no unit", block("  min_idle = 5\n"), `proxy.hcl:4: keyspace "a": min_idle "5" has no unit: write "5ms", "5s" or "5m"`},
		{"negative idle", block("  min_idle = \"-1s\"\n"), `proxy.hcl:4: keyspace "a": min_idle is negative: write for instance "30s", or "0s" to let any session go`},
		{"contradiction", block("  inactivity_ttl = \"1m\"\n  min_idle = \"2m\"\n"),
			`proxy.hcl:5: keyspace "a": min_idle 2m is above inactivity_ttl 1m: what has to leave would have to stay; lower min_idle`},
		{"contradiction with the memory block", block("  inactivity_ttl = \"1m\"\n") + "memory {\n  min_idle = \"5m\"\n}\n",
			`proxy.hcl:4: keyspace "a": min_idle 5m is above inactivity_ttl 1m: what has to leave would have to stay; lower min_idle`},
		{"in the memory block", block("") + "memory {\n  min_idle = \"200h\"\n}\n",
			"proxy.hcl:6: memory: min_idle 200h is above inactivity_ttl 168h: what has to leave would have to stay; lower min_idle"},
		{"negative in the memory block", block("") + "memory {\n  min_idle = \"-1s\"\n}\n", "proxy.hcl:6: memory: min_idle is negative: write for instance"},
		{"policy inside", block("  policy = \"lru\"\n"), `proxy.hcl:4: keyspace "a": unknown name "policy": known here are db, inactivity_ttl, keys, max, min_idle`},
	} {
		t.Run(c.name, func(t *testing.T) { expectProblem(t, c.src, c.want) })
	}
}

// A budget of a keyspace above that of the whole is allowed: the whole may be lowered for an hour. It is said, with its line.
func TestKeyspaceBudgetAboveTheWhole(t *testing.T) {
	c := parse(t, twoSpaces+"keyspace \"d\" {\n  keys = [\"d:{session}\"]\n  max = \"2GB\"\n}\n")
	if len(c.Warnings) != 0 { // what Redis's maxmemory is, nobody knows here
		t.Errorf("without memory.max: %v", c.Warnings)
	}
	c = parse(t, strings.Replace(twoSpaces, "memory {", "memory {\n  max = \"1GB\"", 1)+"keyspace \"d\" {\n  keys = [\"d:{session}\"]\n  max = \"2GB\"\n}\n")
	want := `proxy.hcl:20: keyspace "d": max 2GB is above memory.max, 1GB, which is reached first: lower it, or raise memory.max`
	if len(c.Warnings) != 1 || c.Warnings[0].String() != want {
		t.Errorf("got  %v\nwant %s", c.Warnings, want)
	}
}
