package resp

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// inParts is guarded by a reader that takes large commands: out is what was handed over, with them in their places, as far as they
// were complete. parts says of how many commands that was true, most is the largest piece.
func inParts(t testing.TB, in []byte, packet int, lim Limits) (out []byte, told string, parts, most int) {
	t.Helper()
	w := &wire{in: bytes.Clone(in), packet: packet}
	c := NewConn(w, lim)
	c.SetAuthenticated(true)
	c.TakeLarge()
	p := make([]byte, 4096)
	for {
		n, err := c.Read(p)
		if err != nil {
			if err != io.EOF {
				t.Fatalf("Read: %v", err)
			}
			return out, w.sent.String(), parts, most
		}
		l := c.Large()
		if l == nil {
			out = append(out, p[:n]...)
			continue
		}
		if string(p[:n]) != standIn {
			t.Fatalf("a large command comes with %q", p[:n])
		}
		whole := []byte{}
		for last := false; !last && err == nil; {
			var part []byte
			part, last, err = c.NextPart()
			whole, most = append(whole, part...), max(most, len(part))
		}
		if err != nil {
			continue
		}
		parts++
		args := AppendArgs(nil, whole)
		if l.Count != len(args) || l.Size > int64(len(whole)) {
			t.Fatalf("%d arguments and %d bytes were announced, %d and %d came", l.Count, l.Size, len(args), len(whole))
		}
		for i, arg := range l.Args {
			if !bytes.Equal(arg, args[i]) {
				t.Fatalf("argument %d was %q", i, arg)
			}
		}
		out = append(out, whole...)
	}
}

// TestLargeCommands: taken in parts, commands are byte for byte what they are when they are collected, whatever is around them and
// however they arrive, and what Redis refuses is refused with the same words.
func TestLargeCommands(t *testing.T) {
	large := string(numbered(largeBulk + 77))
	set := string(AppendCommand(nil, "SET", "k", large, "EX", "100"))
	ping := string(AppendCommand(nil, "PING"))
	body := fmt.Sprintf("$%d\r\n%s", len(large), large)
	for name, test := range map[string]struct {
		in    string
		parts int
	}{
		"alone":                   {set, 1},
		"among others":            {ping + ping + set + ping + set + set + ping, 3},
		"behind an inline line":   {"ping\r\n" + set + "ping\r\n", 1},
		"two large arguments":     {string(AppendCommand(nil, "HSET", "k", "f", large, "g", large, "h", "v")), 1},
		"small ones behind":       {string(AppendCommand(nil, append([]string{"RPUSH", "k", large}, strings.Split(strings.Repeat("x ", 5000), " ")...)...)), 1},
		"odd line ends":           {"*3\r\n$3\r\nSETxx$1\r\nkyy" + body + "zz" + ping, 1},
		"large name":              {"*2\r\n" + body + "\r\n$1\r\nk\r\n", 0},
		"just not large":          {string(AppendCommand(nil, "SET", "k", large[:largeBulk-3])), 0},
		"just large":              {string(AppendCommand(nil, "SET", "k", large[:largeBulk])), 1},
		"bad length behind":       {ping + "*4\r\n$3\r\nSET\r\n$1\r\nk\r\n" + body + "\r\n$-5\r\nEX\r\n" + ping, 0},
		"no bulk behind":          {"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n" + body + "\r\n+EX\r\n", 0},
		"bad frame after":         {set + "*1\r\n$x\r\n", 1},
		"cut off":                 {ping + set[:len(set)-30], 0},
		"cut off in the value":    {set[:700_000], 0},
		"line without end behind": {"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n" + body + "\r\n$" + strings.Repeat("1", 70_000), 0},
	} {
		t.Run(name, func(t *testing.T) {
			want, wantTold := guarded(t, []byte(test.in), 50_000, 4096, true)
			for _, packet := range []int{1000, 16384, 1 << 30, 1 + rand.IntN(200_000)} {
				got, told, parts, most := inParts(t, []byte(test.in), packet, DefaultLimits())
				if !bytes.Equal(got, want) || told != wantTold {
					t.Errorf("in packets of %d: %d bytes and %q, want %d and %q", packet, len(got), told, len(want), wantTold)
				}
				if parts != test.parts {
					t.Errorf("in packets of %d: %d commands came in parts, want %d", packet, parts, test.parts)
				}
				if most > 4*largeShown {
					t.Errorf("a part of %d bytes", most)
				}
			}
		})
	}
}

// TestLargeDeclined: a large command that nobody wants in parts comes as any other.
func TestLargeDeclined(t *testing.T) {
	set := AppendCommand(nil, "SET", "k", string(numbered(2*largeBulk)))
	c := NewConn(&wire{in: bytes.Repeat(set, 2), packet: 10_000}, DefaultLimits())
	c.SetAuthenticated(true)
	c.TakeLarge()
	var got []byte
	p := make([]byte, 4096)
	for {
		n, err := c.Read(p)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if c.Large() != nil {
			c.Decline()
			continue
		}
		got = append(got, p[:n]...)
	}
	if !bytes.Equal(got, bytes.Repeat(set, 2)) {
		t.Errorf("%d bytes came, want %d", len(got), 2*len(set))
	}
}

// TestLargeQueryLimit: the limit on a whole command counts what has been handed over already.
func TestLargeQueryLimit(t *testing.T) {
	large := string(numbered(largeBulk))
	in := AppendCommand(nil, "RPUSH", "k", large, large, large)
	lim := DefaultLimits()
	lim.MaxQuery = 2*largeBulk + 1000
	if out, told, parts, _ := inParts(t, in, 10_000, lim); len(out) > 0 || told != "" || parts != 0 {
		t.Errorf("%d bytes were handed over, %d commands in parts, the client was told %q", len(out), parts, told)
	}
}

// TestLargeKeepsNothing: a large command costs no more memory than a part of it.
func TestLargeKeepsNothing(t *testing.T) {
	set := AppendCommand(nil, "SET", "k", string(numbered(4*largeBulk)))
	c := NewConn(&wire{in: set, packet: 1 << 30}, DefaultLimits())
	c.SetAuthenticated(true)
	c.TakeLarge()
	if _, err := c.Read(make([]byte, 4096)); err != nil || c.Large() == nil {
		t.Fatalf("no large command (%v)", err)
	}
	for last, i := false, 0; !last; i++ {
		var err error
		if _, last, err = c.NextPart(); err != nil {
			t.Fatal(err)
		}
		if i > 0 && cap(c.buf) > hugeChunk {
			t.Fatalf("%d bytes are held", cap(c.buf))
		}
	}
}
