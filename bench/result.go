package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// sample is what one round of one target gave. Latencies are microseconds, processor times microseconds per operation
// (0 where the target has no such process), memory bytes.
type sample struct {
	OpsPerSecond float64 `json:"ops_per_second"`
	P50          float64 `json:"p50_us"`
	P99          float64 `json:"p99_us"`
	P999         float64 `json:"p99_9_us"`
	Max          float64 `json:"max_us"`
	ProxyCPU     float64 `json:"proxy_cpu_us_per_op"`
	RedisCPU     float64 `json:"redis_cpu_us_per_op"`
	PostgresCPU  float64 `json:"postgres_cpu_us_per_op"`
	ClientCPU    float64 `json:"client_cpu_us_per_op"`
	Restores     float64 `json:"restores_per_second,omitempty"`
	Beside       float64 `json:"beside_turns_per_second,omitempty"` // of whoever disturbs, warm-up included
	ProxyRSS     int64   `json:"proxy_rss_bytes"`
	RedisRSS     int64   `json:"redis_rss_bytes"`
	Wrong        int64   `json:"wrong_replies"`
	Example      string  `json:"wrong_reply_example,omitempty"`
}

// spread is a median with the lowest and the highest value.
type spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// Percent is half the distance of the extremes, in percent of the median: the "±" of the table.
func (s spread) Percent() float64 {
	if s.Median == 0 {
		return 0
	}
	return (s.High - s.Low) / 2 / s.Median * 100
}

// spreadOf summarizes rounds; there is at least one.
func spreadOf[T any](rounds []T, value func(T) float64) spread {
	all := make([]float64, len(rounds))
	for i, r := range rounds {
		all[i] = value(r)
	}
	slices.SortFunc(all, cmp.Compare)
	n := len(all)
	return spread{Median: (all[(n-1)/2] + all[n/2]) / 2, Low: all[0], High: all[n-1]}
}

// result is all rounds of one target under one load in one shape.
type result struct {
	Load   string   `json:"load"`
	Size   int      `json:"value_bytes,omitempty"` // 0: of many sizes
	Shape  shape    `json:"shape"`
	Target string   `json:"target"`
	While  string   `json:"while,omitempty"` // what somebody else does, "": nothing
	Rounds []sample `json:"rounds"`

	Ops         spread  `json:"ops_per_second"`
	OfBase      float64 `json:"of_base"` // median of ops/s by that of the first target
	P50         spread  `json:"p50_us"`
	P99         spread  `json:"p99_us"`
	P999        spread  `json:"p99_9_us"`
	Max         float64 `json:"max_us"` // of all rounds
	ProxyCPU    spread  `json:"proxy_cpu_us_per_op"`
	RedisCPU    spread  `json:"redis_cpu_us_per_op"`
	PostgresCPU spread  `json:"postgres_cpu_us_per_op"`
	ClientCPU   spread  `json:"client_cpu_us_per_op"`
	Restores    spread  `json:"restores_per_second"`
	Beside      spread  `json:"beside_turns_per_second"`
	OfQuiet     float64 `json:"p99_of_quiet,omitempty"` // p99 by that of the same target while nobody else does anything
	ProxyRSS    int64   `json:"proxy_rss_bytes"`        // at the end of the last round
	RedisRSS    int64   `json:"redis_rss_bytes"`
	Wrong       int64   `json:"wrong_replies"`
	Example     string  `json:"wrong_reply_example,omitempty"`
}

// Title names the load for people.
func (r result) Title() string { return loadTitle(r.Load, r.Size) }

// Heading names the load with its shape.
func (r result) Heading() string { return r.Title() + ", " + r.Circumstances() }

// Circumstances are the shape, and what somebody else does.
func (r result) Circumstances() string {
	if r.While != "" {
		return r.Shape.String() + ", while " + r.While
	}
	return r.Shape.String()
}

// summarize fills in everything after Rounds. base is the first target's result, with its rounds.
func (r *result) summarize(base result) {
	of := func(value func(sample) float64) spread { return spreadOf(r.Rounds, value) }
	r.Ops = of(func(s sample) float64 { return s.OpsPerSecond })
	r.P50 = of(func(s sample) float64 { return s.P50 })
	r.P99 = of(func(s sample) float64 { return s.P99 })
	r.P999 = of(func(s sample) float64 { return s.P999 })
	r.Max = of(func(s sample) float64 { return s.Max }).High
	r.ProxyCPU = of(func(s sample) float64 { return s.ProxyCPU })
	r.RedisCPU = of(func(s sample) float64 { return s.RedisCPU })
	r.PostgresCPU = of(func(s sample) float64 { return s.PostgresCPU })
	r.ClientCPU = of(func(s sample) float64 { return s.ClientCPU })
	r.Restores = of(func(s sample) float64 { return s.Restores })
	r.Beside = of(func(s sample) float64 { return s.Beside })
	last := r.Rounds[len(r.Rounds)-1]
	r.ProxyRSS, r.RedisRSS = last.ProxyRSS, last.RedisRSS
	if b := spreadOf(base.Rounds, func(s sample) float64 { return s.OpsPerSecond }).Median; b > 0 {
		r.OfBase = r.Ops.Median / b
	}
	for _, s := range r.Rounds {
		r.Wrong += s.Wrong
		r.Example = cmp.Or(r.Example, s.Example)
	}
}

// report is the content of the JSON file.
type report struct {
	About   about          `json:"about"`
	Results []result       `json:"results"`
	Memory  []memoryResult `json:"memory,omitempty"`
}

// failure is an error if any target gave a wrong reply.
func (r report) failure() error {
	for _, res := range r.Results {
		if res.Wrong > 0 {
			return fmt.Errorf("target %s, load %s: %d wrong replies, the first: %s", res.Target, res.Heading(), res.Wrong, res.Example)
		}
	}
	return nil
}

func writeJSON(w io.Writer, r any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(r)
}

func megabytes(n int64) float64 { return float64(n) / (1 << 20) }
