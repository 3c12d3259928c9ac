package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"credproxy/internal/human"
)

func TestRecord(t *testing.T) {
	rec, err := asRecord([]any{"zulu", int64(1), "alpha_bytes", int64(2048), "id", "a<b"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := writeJSON(&out, rec); err != nil {
		t.Fatal(err)
	}
	// The order is the proxy's, the numbers are whole, and ids are not escaped for HTML.
	if got := strings.Join(strings.Fields(out.String()), ""); got != `{"zulu":1,"alpha_bytes":2048,"id":"a<b"}` {
		t.Errorf("JSON is %s", got)
	}
	if !json.Valid(out.Bytes()) {
		t.Error("this is not JSON")
	}
	out.Reset()
	if err := rec.table(&out); err != nil {
		t.Fatal(err)
	}
	if want := "zulu   1\nalpha  2.0 KB\nid     a<b\n"; out.String() != want {
		t.Errorf("table is\n%s", out.String())
	}
	out.Reset()
	if err := writeRows(&out, []record{rec, rec}, 0); err != nil {
		t.Fatal(err)
	}
	if want := "ZULU  ALPHA   ID\n1     2.0 KB  a<b\n1     2.0 KB  a<b\n"; out.String() != want {
		t.Errorf("rows are\n%s", out.String())
	}
	for _, bad := range []any{nil, "OK", []any{"odd"}} {
		if _, err := asRecord(bad); err == nil {
			t.Errorf("%v was taken for a record", bad)
		}
	}
}

// On a terminal a row is one line: the ids give way, in their middles, and what clients put into them is not obeyed.
func TestRowsFit(t *testing.T) {
	row := func(id string) record {
		return record{{"id", id}, {"state", "resident"}, {"bytes", int64(1 << 20)}}
	}
	long := "4915112345678@s.whatsapp.net-" + strings.Repeat("x", 100) + "-end"
	for _, width := range []int{40, 80, 200} {
		var out bytes.Buffer
		if err := writeRows(&out, []record{row(long), row("short\x1b[2J")}, width); err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(out.String(), "\n") {
			if human.Width(line) > width {
				t.Errorf("%d cells on a terminal of %d: %s", human.Width(line), width, line)
			}
		}
		if !strings.Contains(out.String(), "4915") || !strings.Contains(out.String(), "-end") || strings.Contains(out.String(), "\x1b") {
			t.Errorf("in %d cells:\n%s", width, out.String())
		}
	}
}
