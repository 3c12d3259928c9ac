package main

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// reading makes a conn that reads text byte by byte, as slow networks deliver it.
func reading(text string) *conn {
	return &conn{in: bufio.NewReader(iotest.OneByteReader(strings.NewReader(text)))}
}

func TestReadTakesWholeReplies(t *testing.T) {
	for _, c := range []struct {
		text string
		want reply
	}{
		{"+OK\r\n", reply{kind: '+'}},
		{":12\r\n", reply{kind: ':'}},
		{"-ERR no\r\n", reply{kind: '-', line: "ERR no"}},
		{"$5\r\na\r\nb\n\r\n", reply{kind: '$'}},
		{"$0\r\n\r\n", reply{kind: '$'}},
		{"$-1\r\n", reply{kind: '$', null: true}},
		{"*-1\r\n", reply{kind: '*', null: true}},
		{"*0\r\n", reply{kind: '*'}},
		{"*3\r\n$1\r\nx\r\n$-1\r\n*2\r\n:1\r\n+y\r\n", reply{kind: '*'}},
	} {
		in := reading(c.text + "+next\r\n")
		got, err := in.read()
		if err != nil || got != c.want {
			t.Errorf("%q: got %+v, %v", c.text, got, err)
		}
		if rest, err := in.read(); err != nil || rest.kind != '+' {
			t.Errorf("%q: the reply after it is %+v, %v", c.text, rest, err)
		}
	}
}

func TestReadRefusesWhatIsNoReply(t *testing.T) {
	for _, text := range []string{"\r\n", "x1\r\n", "$x\r\n", "$-2\r\n", "*1\r\n?\r\n", strings.Repeat("*1\r\n", 20) + ":1\r\n"} {
		if got, err := reading(text).read(); !errors.Is(err, errReply) {
			t.Errorf("%.20q: got %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "+OK", "$5\r\nab", "*2\r\n:1\r\n"} {
		if got, err := reading(text).read(); !errors.Is(err, io.EOF) {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}

func TestReplyIsJudged(t *testing.T) {
	for _, c := range []struct {
		got  reply
		want byte
		ok   bool
	}{
		{reply{kind: '$'}, '$', true},
		{reply{kind: '$', null: true}, '$', false}, // a lost value
		{reply{kind: '-', line: "ERR"}, '$', false},
		{reply{kind: ':'}, '+', false},
	} {
		if c.got.ok(c.want) != c.ok {
			t.Errorf("%v for %c: ok is not %v", c.got, c.want, c.ok)
		}
	}
}

func TestCommand(t *testing.T) {
	got := string(command([]byte("before"), "SET", "k", "", "a\r\n"))
	if want := "before*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n$3\r\na\r\n\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
