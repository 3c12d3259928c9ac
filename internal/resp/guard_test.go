package resp

import (
	"strings"
	"testing"
)

const protoErr = "-ERR Protocol error: "

// guardCases: what the guard makes of a client's bytes. The same inputs are sent to a real Redis in guard_redis_test.go.
var guardCases = []struct {
	name, in  string
	out, told string
	auth      bool // the client has not authenticated
}{
	{name: "array", in: bulks("GET", "a"), out: bulks("GET", "a")},
	{name: "pipeline", in: bulks("GET", "a") + bulks("PING"), out: bulks("GET", "a") + bulks("PING")},
	{name: "binary", in: bulks("ECHO", "a\r\n\x00$3\r\n*1"), out: bulks("ECHO", "a\r\n\x00$3\r\n*1")},
	{name: "empty argument", in: bulks("ECHO", ""), out: bulks("ECHO", "")},
	{name: "empty name", in: bulks(""), out: bulks("")},
	{name: "inline", in: "GET a\r\n", out: bulks("GET", "a")},
	{name: "inline bare line feed", in: "GET a\n", out: bulks("GET", "a")},
	{name: "inline blanks", in: "\t GET \v\f a \t\r\n", out: bulks("GET", "a")},
	{name: "inline vertical tab in a word", in: "ECHO a\vb\r\n", out: bulks("ECHO", "a\vb")},
	{name: "inline double quotes", in: `ECHO "a b\n\r\t\b\a\x41\xfF\xg1\q\""` + "\r\n",
		out: bulks("ECHO", "a b\n\r\t\b\aA\xffxg1q\"")},
	{name: "inline single quotes", in: `ECHO 'a "b\n\' \x41'` + "\r\n", out: bulks("ECHO", `a "b\n' \x41`)},
	{name: "inline quote inside a word", in: `ECHO a"b c"` + "\r\n", out: bulks("ECHO", "ab c")},
	{name: "inline empty quotes", in: `ECHO ""` + "\r\n", out: bulks("ECHO", "")},
	{name: "inline carriage returns", in: "ECHO a\rb\r\r\n", out: bulks("ECHO", "a", "b")},
	{name: "inline high bytes", in: "ECHO \xa0\x85\xff\r\n", out: bulks("ECHO", "\xa0\x85\xff")},
	{name: "inline short hex", in: "ECHO \"\\x4\"\r\n", out: bulks("ECHO", "x4")},
	{name: "inline backslash at the end", in: "ECHO \"a\\\r\n", told: errQuotes},
	{name: "inline open double quote", in: "ECHO \"a\r\n", told: errQuotes},
	{name: "inline open single quote", in: "ECHO 'a\r\n", told: errQuotes},
	{name: "inline text behind quote", in: "PING\r\nECHO \"a\"b\r\n", out: bulks("PING"), told: errQuotes},
	{name: "inline single text behind quote", in: "ECHO 'a'b\r\n", told: errQuotes},
	{name: "inline NUL hides the line", in: "ECHO a\x00b\r\nPING\r\n"},
	{name: "leading NUL", in: "\x00\r\nPING\r\n"},
	{name: "inline longest", in: "ECHO " + strings.Repeat("a", 65530) + "\r\n",
		out: bulks("ECHO", strings.Repeat("a", 65530))},
	{name: "empty lines", in: "\r\n\n \r\nPING\r\n\r\n\n", out: bulks("PING")},
	{name: "empty frames", in: "*0\r\n*-1\r\n*-5\r\n" + bulks("PING") + "*0\r\n" + bulks("PING"),
		out: bulks("PING") + bulks("PING")},
	{name: "most negative array", in: "*-9223372036854775808\r\nPING\r\n", out: bulks("PING")},
	{name: "mixed forms", in: "PING\r\n" + bulks("PING") + "\r\nPING\n" + bulks("ECHO", "x"),
		out: bulks("PING") + bulks("PING") + bulks("PING") + bulks("ECHO", "x")},
	{name: "line ends are not looked at", in: "*2\rX$4\r!ECHO??$1\r\ra\n\rPING\r\n", out: bulks("ECHO", "a") + bulks("PING")},
	{name: "array without carriage return", in: "*3\nPING\r\n", told: errMultibulkLength},
	{name: "array without number", in: "*\r\n", told: errMultibulkLength},
	{name: "array plus sign", in: "*+1\r\n", told: errMultibulkLength},
	{name: "array leading zero", in: "*01\r\n", told: errMultibulkLength},
	{name: "array minus zero", in: "*-0\r\n", told: errMultibulkLength},
	{name: "array lone minus", in: "*-\r\n", told: errMultibulkLength},
	{name: "array space", in: "* 1\r\n", told: errMultibulkLength},
	{name: "array letter", in: "*1a\r\n", told: errMultibulkLength},
	{name: "array too long", in: "*2147483648\r\n", told: errMultibulkLength},
	{name: "array overflow", in: "*9223372036854775808\r\n", told: errMultibulkLength},
	{name: "array underflow", in: "*-9223372036854775809\r\n", told: errMultibulkLength},
	{name: "array line long but ended", in: "*" + strings.Repeat("1", 60000) + "\r\n", told: errMultibulkLength},
	{name: "good before bad", in: bulks("PING") + bulks("ECHO", "x") + "*x\r\n" + bulks("PING"),
		out: bulks("PING") + bulks("ECHO", "x"), told: errMultibulkLength},
	{name: "bulk expected", in: "*1\r\nPING\r\n", told: "expected '$', got 'P'"},
	{name: "bulk expected, empty line", in: "*1\r\n\r\n", told: "expected '$', got ' '"},
	{name: "bulk expected, line feed", in: "*1\r\n\nx\r\n", told: "expected '$', got ' '"},
	{name: "bulk expected, bad number", in: "*1\r\n:x\r\n", told: "expected '$', got ':'"},
	{name: "bulk expected, high byte", in: "*1\r\n\xff1\r\n", told: "expected '$', got '\xff'"},
	{name: "bulk line not ended", in: "*1\r\nPING"},
	{name: "bulk NUL hides the line", in: "*1\r\n\x00$4\r\nPING\r\n"},
	{name: "bulk negative", in: "*1\r\n$-1\r\n", told: errBulkLength},
	{name: "bulk letter", in: "*1\r\n$x\r\n", told: errBulkLength},
	{name: "bulk leading zero", in: "*1\r\n$04\r\nPING\r\n", told: errBulkLength},
	{name: "bulk too long", in: "*1\r\n$536870913\r\n", told: errBulkLength},
	{name: "bulk longest number", in: "*1\r\n$9223372036854775807\r\n", told: errBulkLength},
	{name: "bulk allowed", in: "*1\r\n$536870912\r\nabc"},
	{name: "post", in: "POST / HTTP/1.1\r\nHost: x\r\nSET a b\r\n"},
	{name: "host", in: "hOsT: x\r\nPING\r\n"},
	{name: "post array", in: bulks("post") + bulks("PING")},
	{name: "post before a NUL", in: bulks("POST\x00x", "y") + bulks("PING")},
	{name: "post as argument", in: bulks("ECHO", "POST"), out: bulks("ECHO", "POST")},
	{name: "posting", in: bulks("POSTS"), out: bulks("POSTS")},
	{name: "host without colon", in: bulks("HOST"), out: bulks("HOST")},
	{name: "incomplete", in: bulks("PING") + "*2\r\n$4\r\nECHO\r\n$5\r\nabc", out: bulks("PING")},
	{name: "no line end at all", in: "PING"},
	{name: "inline endless", in: strings.Repeat("a", 65537), told: errLongInline},
	{name: "inline just not endless", in: strings.Repeat("a", 65536)},
	{name: "inline NUL endless", in: "a\x00\n" + strings.Repeat("b", 65534), told: errLongInline},
	{name: "array endless", in: "*" + strings.Repeat("1", 65536), told: errLongMultibulk},
	{name: "array just not endless", in: "*" + strings.Repeat("1", 65535)},
	{name: "bulk endless", in: "*1\r\n$" + strings.Repeat("1", 65536), told: errLongBulk},
	{name: "bulk endless of another type", in: "*1\r\n:" + strings.Repeat("1", 65536), told: errLongBulk},
	{name: "bulk just not endless", in: "*1\r\n$" + strings.Repeat("1", 65535)},
	{name: "auth: ten arguments", in: bulks("ECHO", "2", "3", "4", "5", "6", "7", "8", "9", "10"), auth: true,
		out: bulks("ECHO", "2", "3", "4", "5", "6", "7", "8", "9", "10")},
	{name: "auth: eleven arguments", in: bulks("PING") + "*11\r\n", auth: true, out: bulks("PING"), told: errPreAuthArgs},
	{name: "auth: two million arguments", in: "*2000000\r\n", auth: true, told: errPreAuthArgs},
	{name: "auth: longest bulk", in: bulks("ECHO", strings.Repeat("a", 16384)), auth: true,
		out: bulks("ECHO", strings.Repeat("a", 16384))},
	{name: "auth: bulk too long", in: "*2\r\n$4\r\nECHO\r\n$16385\r\n", auth: true, told: errPreAuthBulk},
	{name: "auth: bulk out of any range", in: "*2\r\n$4\r\nECHO\r\n$536870913\r\n", auth: true, told: errBulkLength},
	{name: "auth: many inline words", in: "ECHO 2 3 4 5 6 7 8 9 10 11 12\r\n", auth: true,
		out: bulks("ECHO", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12")},
}

func TestGuard(t *testing.T) {
	for _, tc := range guardCases {
		t.Run(tc.name, func(t *testing.T) {
			told := tc.told
			if told != "" {
				told = protoErr + told + "\r\n"
			}
			for _, packet := range []int{1, 2, 7, 4096, 1 << 20} {
				for _, room := range []int{1, 5, 64, 4096, 1 << 17} {
					out, got := guarded(t, []byte(tc.in), packet, room, !tc.auth)
					if string(out) != tc.out || got != told {
						t.Fatalf("packets of %d, room %d: handed over %.200q, told %q; want %.200q, %q",
							packet, room, out, got, tc.out, told)
					}
				}
			}
			commands(t, []byte(tc.out))
		})
	}
}

// TestGuardEverySplit cuts short inputs at every place.
func TestGuardEverySplit(t *testing.T) {
	for _, tc := range guardCases {
		if len(tc.in) > 200 {
			continue
		}
		for cut := range tc.in {
			w := &wire{in: []byte(tc.in), packet: max(1, cut)}
			c := NewConn(w, DefaultLimits())
			c.SetAuthenticated(!tc.auth)
			p := make([]byte, 4096)
			var out []byte
			for {
				n, err := c.Read(p)
				out = append(out, p[:n]...)
				w.packet = len(tc.in)
				if err != nil {
					break
				}
			}
			if string(out) != tc.out {
				t.Errorf("%s cut at %d: %q, want %q", tc.name, cut, out, tc.out)
			}
		}
	}
}

// TestGuardWholeCommands: a Read ends inside a command only when that command alone is larger than the buffer.
func TestGuardWholeCommands(t *testing.T) {
	big := bulks("SET", "k", strings.Repeat("v", 10000))
	in := strings.Repeat(bulks("SET", "key", strings.Repeat("v", 300)), 40) + "PING\r\n" + big + bulks("PING") + "*0\r\n" + big
	for _, packet := range []int{1, 100, 4096, 1 << 20} {
		c := NewConn(&wire{in: []byte(in), packet: packet}, DefaultLimits())
		c.SetAuthenticated(true)
		p := make([]byte, 4096)
		for {
			n, err := c.Read(p)
			if err != nil {
				break
			}
			chunk := append([]byte(nil), p[:n]...)
			for c.ready > c.off { // the rest of a large command is there already
				reads := c.nc.(*wire).reads
				m, err := c.Read(p)
				if err != nil || c.nc.(*wire).reads != reads {
					t.Fatalf("packets of %d: a piece had to be waited for (%v)", packet, err)
				}
				chunk = append(chunk, p[:m]...)
			}
			if cmds := commands(t, chunk); len(chunk) > len(p) && len(cmds) != 1 {
				t.Fatalf("packets of %d: %d commands in pieces", packet, len(cmds))
			}
		}
	}
}

// TestGuardBatches: commands that arrive together are handed over together, inline ones too.
func TestGuardBatches(t *testing.T) {
	for _, in := range []string{strings.Repeat(bulks("PING"), 50), strings.Repeat("PING\r\n", 50)} {
		c := NewConn(&wire{in: []byte(in), packet: 4096}, DefaultLimits())
		c.SetAuthenticated(true)
		p := make([]byte, 4096)
		n, err := c.Read(p)
		if err != nil || len(commands(t, p[:n])) != 50 {
			t.Errorf("first Read of 50 commands returned %d bytes, %v", n, err)
		}
	}
}

// TestGuardOneByOneBeforeAuth: what follows an AUTH is judged after it was handled.
func TestGuardOneByOneBeforeAuth(t *testing.T) {
	long := bulks("ECHO", strings.Repeat("a", 20000))
	c := NewConn(&wire{in: []byte(bulks("AUTH", "x") + "PING\r\n" + long), packet: 1 << 20}, DefaultLimits())
	p := make([]byte, 1<<16)
	for _, want := range []string{bulks("AUTH", "x"), bulks("PING"), long} {
		n, err := c.Read(p)
		if err != nil || string(p[:n]) != want {
			t.Fatalf("Read = %.60q, %v; want %.60q", p[:n], err, want)
		}
		if want == bulks("PING") {
			c.SetAuthenticated(true)
		}
	}
}

// TestLimits: every configured limit holds, and a zero field is the default.
func TestLimits(t *testing.T) {
	lim := Limits{MaxBulk: 10, MaxArgs: 2, MaxInline: 20, MaxQuery: 36}
	for in, told := range map[string]string{
		bulks("ECHO", "0123456789"):                       "",
		bulks("ECHO", "01234567890"):                      errBulkLength,
		bulks("MGET", "a", "b"):                           errMultibulkLength,
		"ECHO " + strings.Repeat("a", 20) + "\r\n":        errLongInline,
		bulks("0123456789", "0123456789") + bulks("PING"): "silent",
	} {
		w := &wire{in: []byte(in), packet: 100}
		c := NewConn(w, lim)
		c.SetAuthenticated(true)
		p := make([]byte, 100)
		n, _ := c.Read(p)
		_, err := c.Read(p)
		want := ""
		if told != "" && told != "silent" {
			want = protoErr + told + "\r\n"
		}
		if (n > 0) != (told == "") || err == nil || w.sent.String() != want {
			t.Errorf("%q: %q handed over, %q told, %v", in, p[:n], w.sent.String(), err)
		}
	}
	if got := (Limits{}).withDefaults(); got != DefaultLimits() {
		t.Errorf("zero limits become %+v", got)
	}
}
