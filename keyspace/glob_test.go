package keyspace

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// globCases are pairs of a pattern and strings; "" cannot be told apart from no match by KEYS and is tested on its own.
var globCases = []string{
	"*", "**", "a*", "*a", "*a*", "a*b*c", "?", "??", "a?c", "[abc]", "[^abc]", "[a-c]", "[c-a]", "[^a-c]x", "[a-", "[a", "[", "[^", "[]", "[]a]",
	"[^]", "[^]a", `[\]]`, `[\`, `[\\]`, `\`, `\*`, `a\`, `\a`, `[a\-c]`, "[a-]", "[-a]", "[a-c", "[a-c*", "*[ab]*", "a]", "a**", "a*?", "*?*?",
	"[!a]", "{a,b}", "[[]", "[a-a]", "[--a]", `[\a-c]`, `[a-\]]`, "[?]", "[*]",
}

var globStrings = []string{"a", "b", "c", "ab", "abc", "aXbXc", "]", "[", "^", "-", `\`, "*", "a*", "?", "!", "{a,b}", "a]", "[]", "x", "bx", "dx", "aa", "]a", "aac"}

func TestGlobOfNothing(t *testing.T) {
	for pattern, want := range map[string]bool{"": true, "*": false, "**": false, "?": false, "a": false} {
		if got := Glob([]byte(pattern), nil); got != want {
			t.Errorf("Glob(%q, \"\") = %v", pattern, got)
		}
	}
	if Glob(nil, []byte("a")) {
		t.Error("the empty pattern matches a")
	}
}

// TestGlobAgainstServer compares with KEYS of a real server, on chosen and on random patterns.
func TestGlobAgainstServer(t *testing.T) {
	s := startRedis(t)
	rng := rand.New(rand.NewPCG(7, 8))
	high := "\xfe\x80"
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "386" {
		high = "" // signed or not differs there
	}
	keys := slices.Clone(globStrings)
	for range 300 {
		keys = append(keys, randomText(rng, 1+rng.IntN(6), "ab-]^"+high))
	}
	keys = append(keys, "a\x00b", strings.Repeat("a", 200))
	slices.Sort(keys)
	keys = slices.Compact(keys)
	set := []string{"MSET"}
	for _, key := range keys {
		set = append(set, key, "")
	}
	if reply := s.do(set...); reply != "OK" {
		t.Fatal(reply)
	}
	patterns := slices.Clone(globCases)
	for range 3000 {
		patterns = append(patterns, randomText(rng, 1+rng.IntN(8), `ab-[]^*?\*`+high))
	}
	patterns = append(patterns, "a\x00*", strings.Repeat("a*", 500)+"b", strings.Repeat("*a", 150), "a*"+strings.Repeat("a*", 98)+"a")
	matched := 0
	for _, pattern := range patterns {
		want := texts(s.do("KEYS", pattern))
		slices.Sort(want)
		var got []string
		for _, key := range keys {
			if Glob([]byte(pattern), []byte(key)) {
				got = append(got, key)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q matches %.200q, the server's KEYS %.200q", pattern, got, want)
		}
		matched += len(got)
	}
	if matched < 10000 {
		t.Errorf("only %d matches", matched)
	}
}

func randomText(rng *rand.Rand, n int, from string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = from[rng.IntN(len(from))]
	}
	return string(b)
}

// TestGlobStars: patched servers give up on more than 1000 runs of '*'; others would match.
func TestGlobStars(t *testing.T) {
	s := []byte(strings.Repeat("a", 3000))
	for stars, want := range map[int]bool{1000: true, 1001: false} {
		if got := Glob([]byte(strings.Repeat("*a", stars)), s); got != want {
			t.Errorf("%d stars: %v", stars, got)
		}
		if !Glob([]byte(strings.Repeat("*", 5000)+"a"), s) {
			t.Error("a run of stars is one")
		}
	}
}

// TestGlobIsBounded: the classic patterns that make naive matchers exponential.
func TestGlobIsBounded(t *testing.T) {
	start := time.Now()
	s := []byte(strings.Repeat("a", 2000))
	for _, pattern := range []string{strings.Repeat("a*", 900) + "b", strings.Repeat("*a", 2000), strings.Repeat("*[a-z]", 900) + "[b-c]"} {
		if Glob([]byte(pattern), s) {
			t.Errorf("%.20q... matches", pattern)
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

// slowGlob is Redis's algorithm written as a recursion over what is left, without its shortcut, for short inputs.
func slowGlob(p, s string) bool {
	if p == "" || s == "" {
		return p == "" && s == ""
	}
	if p[0] == '*' {
		rest := strings.TrimLeft(p, "*")
		if rest == "" {
			return true
		}
		for i := range len(s) {
			if slowGlob(rest, s[i:]) {
				return true
			}
		}
		return false
	}
	next, ok := globByte([]byte(p), 0, s[0])
	if !ok {
		return false
	}
	rest := p[next:]
	if len(s) == 1 {
		rest = strings.TrimLeft(rest, "*")
	}
	return slowGlob(rest, s[1:])
}
