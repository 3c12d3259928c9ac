package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// restoreTimes are the latencies of one shape, in the order of the rounds.
type restoreTimes struct {
	proxy    []time.Duration // first touch of the evicted session, at the client
	resident []time.Duration // the same command again
	read     []time.Duration // floor: rows selected and copied
	floor    []time.Duration // floor: and written, all replies read
	withGet  []time.Duration // floor: and one GET after that
}

// quantiles are microseconds.
type quantiles struct {
	P50 float64 `json:"p50_us"`
	P99 float64 `json:"p99_us"`
}

// quantilesOf takes the nearest ranks: with 60 rounds the 99th percentile is the highest but none.
func quantilesOf(all []time.Duration) quantiles {
	sorted := slices.Sorted(slices.Values(all))
	at := func(percent int) float64 {
		rank := (len(sorted)*percent + 99) / 100
		return float64(sorted[max(rank, 1)-1].Nanoseconds()) / 1e3
	}
	return quantiles{P50: at(50), P99: at(99)}
}

// restoreResult is one shape. The ratios are of Proxy by Floor: the floor has no GET, and the proxy's figure has one.
type restoreResult struct {
	Shape    string    `json:"shape"`
	Rounds   int       `json:"rounds"`
	Proxy    quantiles `json:"proxy"`
	Floor    quantiles `json:"floor"`
	Read     quantiles `json:"floor_select_only"`
	WithGet  quantiles `json:"floor_and_get"`
	Resident quantiles `json:"get_resident"`
	P50Ratio float64   `json:"p50_of_floor"`
	P99Ratio float64   `json:"p99_of_floor"`
}

func (t *restoreTimes) result(shape string) restoreResult {
	r := restoreResult{
		Shape: shape, Rounds: len(t.proxy), Proxy: quantilesOf(t.proxy), Floor: quantilesOf(t.floor), Read: quantilesOf(t.read),
		WithGet: quantilesOf(t.withGet), Resident: quantilesOf(t.resident),
	}
	r.P50Ratio, r.P99Ratio = r.Proxy.P50/r.Floor.P50, r.Proxy.P99/r.Floor.P99
	return r
}

// otherResult is what clients of other sessions see; microseconds.
type otherResult struct {
	While      string  `json:"while"`
	Requests   int64   `json:"requests"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	P999       float64 `json:"p99_9_us"`
	Max        float64 `json:"max_us"`
	P99OfQuiet float64 `json:"p99_of_quiet"`
}

type restoreReport struct {
	About    about           `json:"about"`
	Restores []restoreResult `json:"restores"`
	Others   []otherResult   `json:"others"`
}

func (r restoreReport) publish(opts options, out io.Writer) error {
	if err := r.print(out); err != nil {
		return err
	}
	if opts.jsonPath == "" {
		return nil
	}
	return writeFile(opts.jsonPath, func(w io.Writer) error { return writeJSON(w, r) })
}

func (r restoreReport) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\nFirst touch of an evicted session, microseconds. x: proxy by floor, where the floor is SELECT and pipelined writes, without a GET.\n\n"+
		"session\trounds\tproxy p50\tfloor p50\tx\tproxy p99\tfloor p99\tx\tSELECT p50\tfloor+GET p50\tfloor+GET p99\tresident p50\t\n")
	for _, s := range r.Restores {
		fmt.Fprintf(w, "%s\t%d\t%.0f\t%.0f\t%.2f\t%.0f\t%.0f\t%.2f\t%.0f\t%.0f\t%.0f\t%.0f\t\n", s.Shape, s.Rounds,
			s.Proxy.P50, s.Floor.P50, s.P50Ratio, s.Proxy.P99, s.Floor.P99, s.P99Ratio, s.Read.P50, s.WithGet.P50, s.WithGet.P99, s.Resident.P50)
	}
	fmt.Fprintf(w, "\n%d clients of other sessions, through the proxy, microseconds; x: p99 by that of quiet.\n\n"+
		"while\trequests\tp50\tp99\tx\tp99.9\tmax\t\n", readers)
	for _, o := range r.Others {
		fmt.Fprintf(w, "%s\t%d\t%.0f\t%.0f\t%.2f\t%.0f\t%.0f\t\n", o.While, o.Requests, o.P50, o.P99, o.P99OfQuiet, o.P999, o.Max)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return nil
}
