package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestHuman(t *testing.T) {
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
		{"why", []any{"pinned", "busy"}, "pinned; busy"},
		{"db", nil, "-"},
	} {
		if got := human(c.name, c.value); got != c.want {
			t.Errorf("%s of %v reads %q, want %q", c.name, c.value, got, c.want)
		}
	}
}

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
	if err := writeRows(&out, []record{rec, rec}); err != nil {
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
