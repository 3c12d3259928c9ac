package resp

import (
	"bytes"
	"strings"
	"testing"
)

// agree checks that the pass over a whole command says nothing that the scanner does not say, too. taken: it takes the command.
func agree(t *testing.T, in []byte, lim Limits) (taken bool) {
	t.Helper()
	before := bytes.Clone(in)
	given := [][]byte{[]byte("of the command before")}
	n, args := wholeCommand(in, &lim, given)
	if !bytes.Equal(in, before) {
		t.Fatalf("%q was changed to %q", before, in)
	}
	if n == 0 {
		if len(args) != len(given) {
			t.Fatalf("%q: not taken, but %d arguments", in, len(args)-len(given))
		}
		return false
	}
	var s scanner
	m, v := s.next(in, &lim, true)
	if v != command || m != n {
		t.Fatalf("%q: %d bytes are taken, the scanner says %d, %v", before, n, m, v)
	}
	if !bytes.Equal(in, before) {
		t.Fatalf("%q was taken, but the scanner repaired it to %q", before, in)
	}
	want := AppendArgs(nil, in[:n])
	if len(want) != len(args)-1 {
		t.Fatalf("%q: %d arguments, want %d", in, len(args)-1, len(want))
	}
	for i := range want {
		if got := args[i+1]; !bytes.Equal(got, want[i]) || cap(got) != len(got) {
			t.Fatalf("%q: argument %d is %q (cap %d), want %q", in, i, got, cap(got), want[i])
		}
	}
	return true
}

func TestWholeCommand(t *testing.T) {
	lim := Limits{MaxBulk: 1000, MaxArgs: 12, MaxQuery: 2000}.withDefaults()
	long := strings.Repeat("x", 1000)
	for _, in := range []string{
		bulks("PING"), bulks("GET", "k"), bulks("SET", "k", ""), bulks("SET", "k", long), bulks("POSTS"), bulks("HOST", ""),
		bulks("DEL", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"), bulks("GET", "k") + "*", bulks("GET", "\r\n$1\r\n"),
	} {
		if !agree(t, []byte(in), lim) {
			t.Errorf("%.80q is not taken", in)
		}
		for i := range len(in) - 1 { // what is not all there, and one byte of it changed
			agree(t, []byte(in[:i]), lim)
			for _, c := range []byte("\x00\r\n*$-09a") {
				b := []byte(in)
				b[i] = c
				agree(t, b, lim)
			}
		}
	}
	for _, in := range []string{
		"", "*", "*1", "*0\r\n", "*-1\r\n", "*01\r\n$4\r\nPING\r\n", "*1\r\n$04\r\nPING\r\n", "*1\rx$4\r\nPING\r\n", "*1\r\n$4\r\nPINGxx", "PING\r\n",
		"*1\r\n$4\r\nPING\r", "*1\r\n$9999999\r\n", "*13\r\n" + strings.Repeat("$1\r\nx\r\n", 13), bulks("SET", "k", long+"x"), bulks("SET", long, long),
		bulks("POST", "x"), bulks("host:"), bulks("Host:\x00x"),
	} {
		if agree(t, []byte(in), lim) {
			t.Errorf("%.80q is taken", in)
		}
	}
}

func FuzzWholeCommand(f *testing.F) {
	for _, tc := range guardCases {
		if len(tc.in) < 1000 {
			f.Add([]byte(tc.in))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		agree(t, in, Limits{MaxBulk: 1000, MaxArgs: 12, MaxQuery: 2000}.withDefaults())
	})
}
