package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"credproxy/internal/human"
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

// asRecords reads an array of such arrays.
func asRecords(reply any) ([]record, error) {
	rows, ok := reply.([]any)
	if !ok {
		return nil, fmt.Errorf("read reply: the proxy answered with %T, not with a list", reply)
	}
	records := make([]record, len(rows))
	for i, row := range rows {
		var err error
		if records[i], err = asRecord(row); err != nil {
			return nil, err
		}
	}
	return records, nil
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
		fmt.Fprintf(w, "%s\t%s\n", human.Title(p.name), human.Printable(human.Value(p.name, p.value)))
	}
	return w.Flush()
}

// writeRows prints a table with a column for each name of the first record, in at most width cells if the ids let it; 0: as
// wide as it gets.
func writeRows(out io.Writer, records []record, width int) error {
	if len(records) == 0 {
		_, err := fmt.Fprintln(out, "no sessions")
		return err
	}
	rows := make([][]string, 0, len(records)+1)
	var titles []string
	for _, p := range records[0] {
		titles = append(titles, strings.ToUpper(human.Title(p.name)))
	}
	rows = append(rows, titles)
	for _, rec := range records {
		var row []string
		for _, p := range rec {
			row = append(row, human.Printable(human.Value(p.name, p.value)))
		}
		rows = append(rows, row)
	}
	if width > 0 {
		shortenFirst(rows, width)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// shortestID is what is left of an id however narrow the terminal is.
const shortestID = 12

// shortenFirst shortens the first column, which has the ids, until the rows have no more than width cells.
func shortenFirst(rows [][]string, width int) {
	for column := 1; column < len(rows[0]); column++ {
		widest := 0
		for _, row := range rows {
			if column < len(row) {
				widest = max(widest, human.Width(row[column]))
			}
		}
		width -= widest + 2
	}
	for _, row := range rows {
		row[0] = human.Shorten(row[0], max(width, shortestID))
	}
}
