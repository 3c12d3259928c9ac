// Package human writes numbers and names for people: in tables, on dev's screen and on top's.
package human

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
)

// Count writes 1234567 as 1,234,567.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Size writes bytes with powers of 1024, as the configuration does.
func Size(n float64) string {
	for _, unit := range []string{"B", "KB", "MB", "GB"} {
		if n < 1024 {
			if unit == "B" {
				return strconv.FormatFloat(n, 'f', 0, 64) + " B"
			}
			return strconv.FormatFloat(n, 'f', 1, 64) + " " + unit
		}
		n /= 1024
	}
	return strconv.FormatFloat(n, 'f', 1, 64) + " TB"
}

// Duration keeps three digits or so.
func Duration(d time.Duration) string {
	switch {
	case d >= time.Hour:
		return d.Round(time.Minute).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.String()
}

// Age is a duration in at most six letters, for narrow columns.
func Age(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	case s < 100*86400:
		return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
	}
	return fmt.Sprintf("%dd", s/86400)
}

// Time writes a moment given in Unix milliseconds; 0 is never.
func Time(ms float64) string {
	if ms <= 0 {
		return "never"
	}
	return time.UnixMilli(int64(ms)).Format(time.DateTime)
}

// Printable replaces what a terminal would obey or could not show: session ids are chosen by clients.
func Printable(s string) string {
	if strings.IndexFunc(s, unprintable) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unprintable(r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func unprintable(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }

// Width is how many cells of a terminal s takes.
func Width(s string) int { return displaywidth.String(s) }

// Shorten takes cells out of the middle: ids that begin alike differ at their ends.
func Shorten(s string, width int) string {
	if Width(s) <= width {
		return s
	}
	if width < 3 {
		return displaywidth.TruncateString(s, max(width, 0), "")
	}
	head := displaywidth.TruncateString(s, width/2, "")
	tail := s
	for g := displaywidth.StringGraphemes(s); g.Next() && Width(tail) > width-1-Width(head); {
		tail = tail[len(g.Value()):]
	}
	return head + "…" + tail
}

// units are the endings of names that say what a number counts; people are shown the number with its unit instead.
var units = []struct {
	suffix string
	show   func(float64) string
}{
	{"bytes", Size},
	{"_ms", func(n float64) string { return Duration(time.Duration(n * float64(time.Millisecond))) }},
	{"_us", func(n float64) string { return Duration(time.Duration(n * float64(time.Microsecond))) }},
	{"last_access", Time},
	{"sampled_at", Time},
	{"percent_used", func(n float64) string { return strconv.FormatFloat(n, 'f', 1, 64) + " %" }},
	{"threshold", func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) + " %" }},
	{"target", func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) + " %" }},
}

// Field renders a name and a value of the proxy's answers for people.
func Field(name string, v any) (title, value string) { return Title(name), Value(name, v) }

// Title is a name without the unit that its value is shown with.
func Title(name string) string {
	for _, u := range []string{"_bytes", "_ms", "_us"} {
		name = strings.TrimSuffix(name, u)
	}
	return strings.ReplaceAll(name, "_", " ")
}

// Value renders the value of a name.
func Value(name string, v any) string {
	if list, ok := v.([]any); ok {
		parts := make([]string, len(list))
		for i, e := range list {
			parts[i] = fmt.Sprint(e)
		}
		return strings.Join(parts, "; ")
	}
	if v == nil {
		return "-"
	}
	text := fmt.Sprint(v)
	if name == "id" || name == "keyspace" { // names that may be digits
		return text
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return text
	}
	for _, u := range units {
		if strings.HasSuffix(name, u.suffix) {
			return u.show(n)
		}
	}
	if whole, ok := v.(int64); ok {
		return Count(whole)
	}
	return text
}
