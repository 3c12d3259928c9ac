package main

import (
	"errors"
	"strings"
	"testing"
)

// judged hands replies over in pieces of n bytes, and returns what is said about each.
func judged(text string, n int, all ...*expect) (said []string, err error) {
	var j judge
	for _, e := range all {
		for done := false; !done; {
			if text == "" {
				return append(said, "incomplete"), nil
			}
			piece := text[:min(n, len(text))]
			used, v, err := j.take(e, []byte(piece))
			if err != nil {
				return said, err
			}
			text = text[used:]
			if done = v.done; done {
				said = append(said, v.wrong)
			}
		}
	}
	if text != "" {
		said = append(said, "left over: "+text)
	}
	return said, nil
}

func TestJudge(t *testing.T) {
	value := &expect{head: []byte("$6\r\nab"), tail: []byte("cdef\r\n"), kind: '$'}
	loose := &expect{head: []byte("$12\r\nab"), tail: []byte("cdxxxxxxxx\r\n"), kind: '$', loose: true}
	any := &expect{kind: ':'}
	list := &expect{head: []byte("*1\r\n$2\r\nxy\r\n"), kind: '*'}
	for _, c := range []struct {
		text string
		all  []*expect
		want string
	}{
		{"$6\r\nabcdef\r\n", []*expect{value}, ""},
		{"$6\r\nabcdef\r\n$6\r\nabcdef\r\n", []*expect{value, value}, "|"},
		{"+OK\r\n:12\r\n*1\r\n$2\r\nxy\r\n", []*expect{&okReply, any, list}, "||"},
		{"$12\r\nabcd12345678\r\n$12\r\nabcdxxxxxxxx\r\n+OK\r\n", []*expect{loose, loose, &okReply}, "||"},
		{"$12\r\nabcX12345678\r\n+OK\r\n", []*expect{loose, &okReply}, "another value than was written|"},
		{"$-1\r\n+OK\r\n", []*expect{loose, &okReply}, "null|"},
		{"$-1\r\n+OK\r\n", []*expect{value, &okReply}, "null|"},
		{"*1\r\n$-1\r\n+OK\r\n", []*expect{list, &okReply}, "null|"},
		{"$6\r\nabcdeX\r\n+OK\r\n", []*expect{value, &okReply}, "another value than was written|"},
		{"$5\r\nabcde\r\n+OK\r\n", []*expect{value, &okReply}, "another value than was written|"},
		{"$7\r\nabcdefg\r\n+OK\r\n", []*expect{value, &okReply}, "another value than was written|"},
		{"-ERR no\r\n+OK\r\n", []*expect{value, &okReply}, "ERR no|"},
		{"-ERR no\r\n:1\r\n", []*expect{any, any}, "ERR no|"},
		{":1\r\n$-1\r\n", []*expect{&okReply, any}, "reply of kind :|reply of kind $"},
		{"*2\r\n$1\r\nx\r\n*1\r\n:1\r\n+OK\r\n", []*expect{value, &okReply}, "reply of kind *|"},
		{"$6\r\nabc", []*expect{value}, "incomplete"},
		{"+OK\r\n+OK\r\n", []*expect{&okReply}, "|left over: +OK\r\n"},
	} {
		for n := 1; n <= len(c.text); n++ {
			said, err := judged(c.text, n, c.all...)
			if got := strings.Join(said, "|"); err != nil || got != c.want {
				t.Errorf("%q in pieces of %d: got %q, %v, want %q", c.text, n, got, err, c.want)
			}
		}
	}
	for _, text := range []string{"\r\n", "?\r\n", "$x\r\n", "$-2\r\n", strings.Repeat("*1\r\n", 20) + ":1\r\n"} {
		if _, err := judged(text, len(text), any); !errors.Is(err, errReply) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestJudgeAllocatesNothing for the right reply, as it is on the clients' data path.
func TestJudgeAllocatesNothing(t *testing.T) {
	s := newStored("key", 7, 256, commonPart(1, 256))
	reply := append(append([]byte(nil), s.value.head...), s.value.tail...)
	var j judge
	if n := testing.AllocsPerRun(100, func() {
		for _, piece := range [][]byte{reply[:100], reply[100:]} {
			if _, v, err := j.take(&s.value, piece); err != nil || v.wrong != "" {
				t.Fatal(v, err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestStoredValuesDiffer: a reply that belongs to another session must not pass.
func TestStoredValuesDiffer(t *testing.T) {
	common := commonPart(1, 20)
	a, b := newStored("a", 1, 20, common), newStored("b", 2, 20, common)
	reply := append(append([]byte(nil), b.value.head...), b.value.tail...)
	if said, err := judged(string(reply), len(reply), &a.value); err != nil || said[0] == "" {
		t.Errorf("said %q, %v", said, err)
	}
	if got, want := string(a.write(nil, new(expect))), string(command(nil, "SET", "a", "000000000001"+string(common[12:20]))); got != want {
		t.Errorf("SET is %q, want %q", got, want)
	}
}
