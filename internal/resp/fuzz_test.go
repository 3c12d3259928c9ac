package resp

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// FuzzGuard: no input panics, what is handed over is canonical, redcon takes it, and how the bytes were cut into packets
// and what size of buffer they are read with changes nothing.
func FuzzGuard(f *testing.F) {
	for _, tc := range guardCases {
		if len(tc.in) < 1000 {
			f.Add([]byte(tc.in), uint16(3), uint16(16), !tc.auth)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, packet, room uint16, authed bool) {
		want, wantTold := guarded(t, in, len(in), 1<<16, authed)
		got, told := guarded(t, in, int(packet), int(room)+1, authed)
		if !bytes.Equal(got, want) || told != wantTold {
			t.Fatalf("in packets of %d, room %d: %q, told %q; at once: %q, told %q", packet, room, got, told, want, wantTold)
		}
		var canonical []byte
		for _, cmd := range commands(t, want) {
			canonical = AppendCommandBytes(canonical, cmd.Args)
		}
		if !bytes.Equal(canonical, want) {
			t.Fatalf("%q is not canonical: %q", want, canonical)
		}
		if again, told := guarded(t, want, len(want), 1<<16, true); !bytes.Equal(again, want) || told != "" {
			t.Fatalf("the guard refuses its own output %q: %q, %q", want, again, told)
		}
	})
}

// FuzzFramer: how the bytes are cut changes nothing, and Framer and Parse agree on where a reply ends.
func FuzzFramer(f *testing.F) {
	for _, tc := range replyCases {
		f.Add([]byte(tc.in), uint8(2))
	}
	for in := range badReplies {
		f.Add([]byte(in), uint8(2))
	}
	f.Fuzz(func(t *testing.T, in []byte, packet uint8) {
		var whole, cut Framer
		n, err := frame(&whole, in, max(1, len(in)))
		m, cutErr := frame(&cut, in, int(packet)+1)
		if !errors.Is(cutErr, err) || (err == nil && n != m) || whole.Kind() != cut.Kind() {
			t.Fatalf("%q: at once %d, %v; in packets of %d: %d, %v", in, n, err, int(packet)+1, m, cutErr)
		}
		v, parsed, perr := Parse(in)
		switch {
		case perr == nil && (err != nil || parsed != n || v.Kind != whole.Kind()):
			t.Fatalf("%q: parsed %d, framed %d (%v)", in, parsed, n, err)
		case errors.Is(perr, ErrIncomplete) && err == nil && n > 0:
			t.Fatalf("%q: framed %d, but Parse wants more", in, n)
		}
	})
}

// repeatable are the commands a fuzzed client may run: their replies depend on nothing but the commands before them.
const repeatable = " ping echo set get del strlen append exists incr decr mget mset getrange setrange hset hget hlen hdel " +
	"lpush lrange llen quit auth "

// FuzzGuardAgainstRedis: the same bytes, sent to Redis and to a redcon server behind the guard that passes every command
// to the same Redis, bring the same bytes back.
func FuzzGuardAgainstRedis(f *testing.F) {
	for _, tc := range guardCases {
		if len(tc.in) < 1000 && tc.name != "auth: many inline words" {
			f.Add([]byte(tc.in), tc.auth)
		}
	}
	f.Add([]byte(bulks("AUTH", "secret")+bulks("MGET", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k")+"*x\r\n"), true)
	f.Add([]byte("PING\r\nQUIT\r\nPING\r\n"), false)
	open, locked := startRedis(f), startRedis(f, "--requirepass", "secret")
	relayOpen, relayLocked := relay(f, open, true), relay(f, locked, false)
	known := knownCommands(f, open)
	f.Fuzz(func(t *testing.T, in []byte, auth bool) {
		if len(in) > 1<<14 {
			t.Skip("more than one read of Redis")
		}
		out, told := guarded(t, in, len(in), 1<<16, true)
		for _, cmd := range commands(t, out) {
			name := strings.ToLower(string(cmd.Args[0]))
			if known[name] && !strings.Contains(repeatable, " "+name+" ") {
				t.Skip("may have effects of its own")
			}
			if (name == "set" && len(cmd.Args) > 3) || (auth && len(cmd.Args) > 10) {
				t.Skip("depends on the time, or on Redis seeing the array form of a long line")
			}
			if name == "setrange" {
				t.Skip("may want half a gigabyte")
			}
		}
		// Whether the end was silent because of a browser's word is not told apart from a mere incomplete frame here.
		silent := told == "" && (bytes.Contains(bytes.ToLower(in), []byte("post")) || bytes.Contains(bytes.ToLower(in), []byte("host:")))
		if auth {
			sameAsRedis(t, locked, relayLocked, in, silent)
		} else {
			sameAsRedis(t, open, relayOpen, in, silent)
		}
	})
}

// knownCommands asks Redis for the names of all its commands.
func knownCommands(t testing.TB, redis string) map[string]bool {
	t.Helper()
	v, _, err := Parse(exchange(t, redis, []byte("COMMAND LIST\r\n")))
	if err != nil || len(v.Elems) < 100 {
		t.Fatalf("COMMAND LIST: %d names, %v", len(v.Elems), err)
	}
	names := map[string]bool{}
	for _, e := range v.Elems {
		names[strings.ToLower(string(e.Str))] = true
	}
	return names
}
