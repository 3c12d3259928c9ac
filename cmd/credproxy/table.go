package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// record is a reply of names and values, in the order in which the proxy gave them.
type record []struct {
	name  string
	value any
}

// asRecord reads a flat array of names and values.
func asRecord(reply any) (record, error) {
	flat, ok := reply.([]any)
	if !ok || len(flat)%2 != 0 {
		return nil, fmt.Errorf("read reply: the proxy answered with %T, not with names and values", reply)
	}
	rec := make(record, len(flat)/2)
	for i := range rec {
		rec[i].name = fmt.Sprint(flat[2*i])
		rec[i].value = flat[2*i+1]
	}
	return rec, nil
}

// MarshalJSON writes an object that keeps the order.
func (r record) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, p := range r {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := encode(&b, p.name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := encode(&b, p.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// encode leaves < and & in ids alone, which json.Marshal does not.
func encode(b *bytes.Buffer, v any) error {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	return enc.Encode(v) // the line break that it adds goes when the whole is indented
}

func writeJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table prints a line for each name.
func (r record) table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, p := range r {
		fmt.Fprintf(w, "%s\t%s\n", title(p.name), human(p.name, p.value))
	}
	return w.Flush()
}

// writeRows prints a table with a column for each name of the first record.
func writeRows(out io.Writer, records []record) error {
	if len(records) == 0 {
		_, err := fmt.Fprintln(out, "no sessions")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, p := range records[0] {
		fmt.Fprint(w, separator(i), strings.ToUpper(title(p.name)))
	}
	fmt.Fprintln(w)
	for _, rec := range records {
		for i, p := range rec {
			fmt.Fprint(w, separator(i), human(p.name, p.value))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

func separator(column int) string {
	if column == 0 {
		return ""
	}
	return "\t"
}

// units are the endings of names that say what a number counts; a table shows the number with its unit instead.
var units = []struct {
	suffix string
	show   func(float64) string
}{
	{"bytes", humanSize},
	{"_ms", func(n float64) string { return humanDuration(time.Duration(n * float64(time.Millisecond))) }},
	{"_us", func(n float64) string { return humanDuration(time.Duration(n * float64(time.Microsecond))) }},
	{"last_access", humanTime},
	{"sampled_at", humanTime},
	{"percent_used", func(n float64) string { return strconv.FormatFloat(n, 'f', 1, 64) + " %" }},
	{"threshold", func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) + " %" }},
	{"target", func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) + " %" }},
}

// title is a name without the unit that its value is shown with.
func title(name string) string {
	for _, u := range []string{"_bytes", "_ms", "_us"} {
		name = strings.TrimSuffix(name, u)
	}
	return strings.ReplaceAll(name, "_", " ")
}

// human renders a value for people.
func human(name string, v any) string {
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
		return thousands(whole)
	}
	return text
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// humanSize uses powers of 1024, as the configuration does.
func humanSize(n float64) string {
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

// humanDuration keeps three digits or so.
func humanDuration(d time.Duration) string {
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

func humanTime(ms float64) string {
	if ms <= 0 {
		return "never"
	}
	return time.UnixMilli(int64(ms)).Format(time.DateTime)
}
