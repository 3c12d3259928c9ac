package resp

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// replyCases: whole replies, and what they decode to.
var replyCases = []struct {
	in   string
	kind byte
	want Value
}{
	{"+OK\r\n", '+', Value{Kind: '+', Str: []byte("OK")}},
	{"+\r\n", '+', Value{Kind: '+', Str: []byte{}}},
	{"+a\rb\nc\r\r\n", '+', Value{Kind: '+', Str: []byte("a\rb\nc\r")}},
	{"-ERR no\r\n", '-', Value{Kind: '-', Str: []byte("ERR no")}},
	{":-12\r\n", ':', Value{Kind: ':', Int: -12}},
	{":9223372036854775807\r\n", ':', Value{Kind: ':', Int: 1<<63 - 1}},
	{"$0\r\n\r\n", '$', Value{Kind: '$', Str: []byte{}}},
	{"$5\r\na\r\nb\x00\r\n", '$', Value{Kind: '$', Str: []byte("a\r\nb\x00")}},
	{"$-1\r\n", '$', Value{Kind: '$', Null: true}},
	{"*-1\r\n", '*', Value{Kind: '*', Null: true}},
	{"*0\r\n", '*', Value{Kind: '*', Elems: []Value{}}},
	{"*2\r\n:1\r\n$-1\r\n", '*', Value{Kind: '*', Elems: []Value{{Kind: ':', Int: 1}, {Kind: '$', Null: true}}}},
	{"*2\r\n*1\r\n+a\r\n*0\r\n", '*', Value{Kind: '*', Elems: []Value{
		{Kind: '*', Elems: []Value{{Kind: '+', Str: []byte("a")}}}, {Kind: '*', Elems: []Value{}}}}},
	{"_\r\n", '_', Value{Kind: '_', Null: true}},
	{"#t\r\n", '#', Value{Kind: '#', Int: 1}},
	{"#f\r\n", '#', Value{Kind: '#'}},
	{",1.5e-9\r\n", ',', Value{Kind: ',', Str: []byte("1.5e-9")}},
	{",inf\r\n", ',', Value{Kind: ',', Str: []byte("inf")}},
	{"(3492890328409238509324850943850943825024385\r\n", '(',
		Value{Kind: '(', Str: []byte("3492890328409238509324850943850943825024385")}},
	{"!8\r\nERR a\r\nb\r\n", '!', Value{Kind: '!', Str: []byte("ERR a\r\nb")}},
	{"=7\r\ntxt:abc\r\n", '=', Value{Kind: '=', Str: []byte("abc")}},
	{"%1\r\n+k\r\n*1\r\n:1\r\n", '%', Value{Kind: '%', Elems: []Value{
		{Kind: '+', Str: []byte("k")}, {Kind: '*', Elems: []Value{{Kind: ':', Int: 1}}}}}},
	{"~2\r\n:1\r\n:2\r\n", '~', Value{Kind: '~', Elems: []Value{{Kind: ':', Int: 1}, {Kind: ':', Int: 2}}}},
	{">2\r\n+message\r\n_\r\n", '>', Value{Kind: '>', Elems: []Value{
		{Kind: '+', Str: []byte("message")}, {Kind: '_', Null: true}}}},
	{"|1\r\n+ttl\r\n:3\r\n$1\r\na\r\n", '$', Value{Kind: '$', Str: []byte("a")}},
	{"|1\r\n+a\r\n|1\r\n+b\r\n:0\r\n:1\r\n|0\r\n>1\r\n:2\r\n", '>', Value{Kind: '>', Elems: []Value{{Kind: ':', Int: 2}}}},
	{"*2\r\n|1\r\n+ttl\r\n:3\r\n:1\r\n:2\r\n", '*', Value{Kind: '*', Elems: []Value{{Kind: ':', Int: 1}, {Kind: ':', Int: 2}}}},
}

// badReplies are no RESP at whatever depth. A true value: only their content is wrong, which a Framer does not look at.
var badReplies = map[string]bool{
	"x\r\n": false, "\r\n": false, "$?\r\n": false, "*?\r\n": false, "$\r\n": false, "$-2\r\n": false, "*-2\r\n": false,
	"$--1\r\n": false, "$-01\r\n": false, "$1a\r\n": false, "$1\r\nab\r\n": false, "$1\r\na\rb": false, "%-1\r\n": false,
	"~-1\r\n": false, "=-1\r\n": false, "!-1\r\n": false, "*1\r\nx\r\n": false, ";4\r\nabcd\r\n": false, ".\r\n": false,
	"$99999999999999999999\r\n": false, "*9223372036854775807\r\n": false, "*8589934592\r\n": false, "$ 1\r\na\r\n": false,
	":a\r\n": true, "#x\r\n": true, "_a\r\n": true, "=2\r\nab\r\n": true, ":\r\n": true,
}

func TestFramer(t *testing.T) {
	for _, tc := range replyCases {
		for packet := 1; packet <= len(tc.in); packet++ {
			in := tc.in + tc.in + "+tail"
			var f Framer
			for range 2 {
				n, err := frame(&f, []byte(in), packet)
				if err != nil || n != len(tc.in) || f.Kind() != tc.kind {
					t.Fatalf("%q in packets of %d: %d bytes, kind %q, %v", tc.in, packet, n, f.Kind(), err)
				}
				in = in[n:]
			}
		}
	}
}

// frame returns the length of the first reply in b, 0 when b does not hold all of it.
func frame(f *Framer, b []byte, packet int) (int, error) {
	total := 0
	for len(b) > 0 {
		p := b[:min(packet, len(b))]
		n, done, err := f.Next(p)
		total += n
		if done || err != nil {
			return total, err
		}
		if n != len(p) {
			return 0, fmt.Errorf("%d of %d bytes consumed without a result", n, len(p))
		}
		b = b[n:]
	}
	return 0, nil
}

func TestFramerRefuses(t *testing.T) {
	for in, content := range badReplies {
		for packet := 1; packet <= len(in); packet++ {
			for _, prefix := range []string{"", "*2\r\n:1\r\n", "|1\r\n+a\r\n"} {
				var f Framer
				n, err := frame(&f, []byte(prefix+in), packet)
				if content {
					continue
				}
				if !errors.Is(err, ErrReply) {
					t.Errorf("%q: %d bytes, %v", prefix+in, n, err)
				} else if _, _, err := f.Next([]byte("+OK\r\n")); !errors.Is(err, ErrReply) {
					t.Errorf("%q: the error does not stay: %v", prefix+in, err)
				}
			}
		}
		if _, _, err := Parse([]byte(in)); !errors.Is(err, ErrReply) {
			t.Errorf("Parse(%q): %v", in, err)
		}
	}
}

// TestFramerDeep: depth costs a Framer nothing and a Parse an error.
func TestFramerDeep(t *testing.T) {
	in := []byte(strings.Repeat("*1\r\n", 1_000_000) + ":1\r\n")
	var f Framer
	if n, done, err := f.Next(in); n != len(in) || !done || err != nil {
		t.Errorf("Next = %d, %v, %v", n, done, err)
	}
	if _, _, err := Parse(in); !errors.Is(err, ErrDepth) {
		t.Errorf("Parse: %v", err)
	}
	var bomb Framer // lengths whose sum leaves an int64
	if _, _, err := bomb.Next(bytes.Repeat([]byte("*4294967296\r\n"), 1<<17)); !errors.Is(err, ErrReply) {
		t.Errorf("sum of lengths: %v", err)
	}
}

func TestFramerAllocatesNothing(t *testing.T) {
	in := []byte("*3\r\n$3\r\nabc\r\n%1\r\n+k\r\n:1\r\n_\r\n")
	if n := testing.AllocsPerRun(100, func() {
		var f Framer
		for i := range in {
			if _, _, err := f.Next(in[i : i+1]); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestParse(t *testing.T) {
	for _, tc := range replyCases {
		v, n, err := Parse([]byte(tc.in + "+tail\r\n"))
		if err != nil || n != len(tc.in) || !reflect.DeepEqual(v, tc.want) {
			t.Errorf("Parse(%q) = %+v, %d, %v; want %+v", tc.in, v, n, err, tc.want)
		}
		for i := range tc.in {
			if _, _, err := Parse([]byte(tc.in[:i])); !errors.Is(err, ErrIncomplete) {
				t.Errorf("Parse(%q): %v", tc.in[:i], err)
			}
		}
	}
}

// TestParseHostileLength: an announced length takes no memory.
func TestParseHostileLength(t *testing.T) {
	in := []byte(strings.Repeat("*4294967296\r\n", 100))
	if got := allocated(func() { _, _, _ = Parse(in) }); got > 1<<20 {
		t.Errorf("%d bytes allocated for %d", got, len(in))
	}
}

func TestErrorCode(t *testing.T) {
	for in, want := range map[string]string{
		"-ERR no\r\n": "ERR", "-LOADING\r\n": "LOADING", "!10\r\nWRONGTYPE \r\n": "WRONGTYPE", "+OK x\r\n": "",
		"-\r\n": "", "": "", "!5": "", "$4\r\n-ERR\r\n": "",
	} {
		if got := ErrorCode([]byte(in)); got != want {
			t.Errorf("ErrorCode(%q) = %q", in, got)
		}
		if got := IsError([]byte(in)); got != (in != "" && (in[0] == '-' || in[0] == '!')) {
			t.Errorf("IsError(%q) = %v", in, got)
		}
	}
}

// TestRepliesOfRedis frames what a real server says, in both protocols.
func TestRepliesOfRedis(t *testing.T) {
	redis := startRedis(t)
	script := []string{"PING", "SET a 1", "GET a", "GET none", "HSET h f v g w", "HGETALL h", "SADD s x", "SMEMBERS s", "ZADD z 1.5 m",
		"ZSCORE z m", "ZRANGE z 0 -1 WITHSCORES", "LPOP none 2", "INFO", "COMMAND DOCS get hset", "CLIENT INFO",
		"nonsense", "DEBUG PROTOCOL bignum", "DEBUG PROTOCOL attrib", "DEBUG PROTOCOL push", "DEBUG PROTOCOL verbatim",
		"DEBUG PROTOCOL true", "DEBUG PROTOCOL null", "DEBUG PROTOCOL map", "DEBUG PROTOCOL double", "SUBSCRIBE c", "QUIT"}
	redisDebug := startRedis(t, "--enable-debug-command", "yes")
	for _, addr := range []string{redis, redisDebug} {
		for _, hello := range []string{"", "HELLO 3\r\n"} {
			out := exchange(t, addr, []byte(hello+strings.Join(script, "\r\n")+"\r\n"))
			seen := map[byte]bool{}
			for len(out) > 0 {
				var f Framer
				n, done, err := f.Next(out)
				v, m, perr := Parse(out)
				if !done || err != nil || perr != nil || n != m || v.Kind != f.Kind() {
					t.Fatalf("%.100q: framed %d (%v), parsed %d (%v)", out, n, err, m, perr)
				}
				seen[f.Kind()] = true
				out = out[n:]
			}
			if hello != "" && addr == redisDebug && (!seen['%'] || !seen['~'] || !seen['>'] || !seen['='] || !seen[','] || !seen['_']) {
				t.Errorf("kinds seen: %v", seen)
			}
		}
	}
}

func TestMissing(t *testing.T) {
	var f Framer
	for _, tc := range []struct {
		in   string
		want int
	}{{"$10\r\n", 12}, {"0123", 8}, {"456789\r", 0}, {"\n", 0}, {"*2\r\n:1\r\n$3\r\na", 4}} {
		if _, _, err := f.Next([]byte(tc.in)); err != nil || f.Missing() != tc.want {
			t.Fatalf("after %q %d bytes are missing (%v), want %d", tc.in, f.Missing(), err, tc.want)
		}
	}
}
