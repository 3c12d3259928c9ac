package human

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestShorten(t *testing.T) {
	for _, c := range []struct {
		s     string
		width int
		want  string
	}{
		{"short", 5, "short"},
		{"4915112345678@s.whatsapp.net", 11, "49151…p.net"},
		{"abcdef", 3, "a…f"},
		{"abcdef", 2, "ab"},
		{"abcdef", 0, ""},
		{"日本語日本語", 7, "日…本語"},
	} {
		if got := Shorten(c.s, c.width); got != c.want || Width(got) > c.width {
			t.Errorf("%q in %d cells is %q (%d), want %q", c.s, c.width, got, Width(got), c.want)
		}
	}
}

func FuzzShorten(f *testing.F) {
	f.Add("4915112345678@s.whatsapp.net", 11)
	f.Add("e\u0301日本\U0001f468\u200d\U0001f469", 3)
	f.Fuzz(func(t *testing.T, s string, width int) {
		s = Printable(s)
		if got := Shorten(s, width); Width(got) > max(width, 0) && got != s {
			t.Errorf("%q in %d cells is %q: %d cells", s, width, got, Width(got))
		}
	})
}

// What a client has put into an id does not reach the terminal as a command.
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain id":       "plain id",
		"\x1b[2Jgone":    `\x1b[2Jgone`,
		"a\r\nb\tc\x00":  `a\r\nb\tc\x00`,
		"\xff\xfe":       `\xff\xfe`,
		"\u202eright":    `\u202eright`,
		"日本":             "日本",
		"\u009b31mcolor": `\u009b31mcolor`,
	} {
		got := Printable(in)
		if got != want || !utf8.ValidString(got) || strings.ContainsAny(got, "\x1b\r\n") {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m01s", 2*time.Hour + 5*time.Minute: "2h05m",
		49 * time.Hour: "2d01h", 2400 * time.Hour: "100d",
	} {
		if got := Age(d); got != want || len(got) > 6 {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestValue(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.Local)
	for _, c := range []struct {
		name  string
		value any
		want  string
	}{
		{"used_bytes", int64(1536), "1.5 KB"},
		{"bytes", int64(12), "12 B"},
		{"memory_max_bytes", int64(3 << 40), "3.0 TB"},
		{"idle_ms", int64(1500), "1.5s"},
		{"idle_ms", int64(7_260_000), "2h1m0s"},
		{"restore_p99_us", int64(2345), "2.35ms"},
		{"percent_used", "75.25", "75.2 %"},
		{"threshold", int64(80), "80 %"},
		{"last_access", at.UnixMilli(), "2026-03-04 05:06:07"},
		{"last_access", int64(0), "never"},
		{"hits", int64(1234567), "1,234,567"},
		{"hits", int64(-1000), "-1,000"},
		{"hits", int64(999), "999"},
		{"state", "resident", "resident"},
		{"id", "4915112345678", "4915112345678"},
		{"why", []any{"pinned", "busy"}, "pinned; busy"},
		{"db", nil, "-"},
	} {
		if got := Value(c.name, c.value); got != c.want {
			t.Errorf("%s of %v reads %q, want %q", c.name, c.value, got, c.want)
		}
	}
}
