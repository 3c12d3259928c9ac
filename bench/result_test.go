package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	self := func(v float64) float64 { return v }
	for _, c := range []struct {
		rounds []float64
		want   spread
	}{
		{[]float64{5}, spread{5, 5, 5}},
		{[]float64{9, 1, 5}, spread{5, 1, 9}},
		{[]float64{4, 1, 3, 2}, spread{2.5, 1, 4}},
	} {
		if got := spreadOf(c.rounds, self); got != c.want {
			t.Errorf("%v: got %+v, want %+v", c.rounds, got, c.want)
		}
	}
	if got := (spread{Median: 100, Low: 90, High: 130}).Percent(); got != 20 {
		t.Errorf("±%v %%", got)
	}
	if got := (spread{}).Percent(); got != 0 {
		t.Errorf("±%v %% of nothing", got)
	}
}

// someReport has two targets in two shapes under each of two loads.
func someReport() report {
	r := report{About: about{Processor: "<Fast & Co>", CPUs: 2, Rounds: 3, Skipped: []string{"haproxy: it is not installed"}}}
	for _, name := range []string{"mix", "bots"} {
		for _, s := range []shape{{Clients: 1, Pipeline: 1}, {Clients: 50, Pipeline: 16}} {
			var both [2]result
			for i, target := range []string{"direct", "credproxy"} {
				res := result{Load: name, Shape: s, Target: target}
				for round := range 3 {
					res.Rounds = append(res.Rounds, sample{
						OpsPerSecond: float64(1000*(i+1) + round), P50: 10, P99: 40, P999: 90, Max: float64(100 + round),
						ProxyCPU: float64(i), ClientCPU: 3, RedisCPU: 2, PostgresCPU: 1, ProxyRSS: 3 << 20, RedisRSS: 5 << 20,
					})
				}
				both[i] = res
			}
			for i := range both {
				both[i].summarize(both[0])
			}
			r.Results = append(r.Results, both[:]...)
		}
	}
	return r
}

func TestSummary(t *testing.T) {
	got := someReport().Results[1]
	if got.Ops != (spread{2001, 2000, 2002}) || got.OfBase != 2001.0/1001 || got.Max != 102 || got.P999.Median != 90 ||
		got.ProxyCPU.Median != 1 || got.ClientCPU.Median != 3 || got.RedisRSS != 5<<20 || got.Wrong != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestWrongRepliesFail(t *testing.T) {
	r := someReport()
	if err := r.failure(); err != nil {
		t.Fatal(err)
	}
	r.Results[1].Rounds[1].Wrong, r.Results[1].Rounds[1].Example = 7, "null"
	r.Results[1].summarize(r.Results[0])
	err := r.failure()
	if err == nil || !strings.Contains(err.Error(), "credproxy, load mix") || !strings.Contains(err.Error(), "7 wrong replies, the first: null") {
		t.Errorf("error is %v", err)
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	if err := printTable(&out, someReport()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"mix, 1 clients, 1 deep", "bots, 50 clients, 16 deep"} {
		if strings.Count(out.String(), want) != 1 {
			t.Errorf("no single heading %q in\n%s", want, out.String())
		}
	}
	if n := strings.Count(out.String(), "credproxy"); n != 4 {
		t.Errorf("%d lines of credproxy, want 4", n)
	}
}

func TestJSONHoldsEverything(t *testing.T) {
	var out bytes.Buffer
	want := someReport()
	if err := writeJSON(&out, want); err != nil {
		t.Fatal(err)
	}
	var got report
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPageIsWellFormedAndSelfContained(t *testing.T) {
	var out bytes.Buffer
	if err := writeHTML(&out, someReport()); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	elements := map[string]int{}
	in := xml.NewDecoder(strings.NewReader(strings.TrimPrefix(text, "<!DOCTYPE html>")))
	for {
		token, err := in.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok {
			elements[e.Name.Local]++
		}
	}
	// Two loads of three charts; in each, four bars, which are tips too. At a glance, two targets in four shapes.
	if elements["section"] != 2 || elements["g"] != 24 || elements["line"] != 24 || elements["i"] != 8 {
		t.Errorf("elements are %v", elements)
	}
	for _, bad := range []string{"http:", "https:", "src=", "NaN", "Inf", "ZgotmplZ", "<Fast"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
}

func TestBarsStayInside(t *testing.T) {
	r := someReport()
	r.Results[0].Rounds[0].OpsPerSecond = 1e9 // one wild round
	r.Results[0].summarize(r.Results[0])
	for _, m := range []measured{throughput, latency, processor} {
		c := draw(m, r.Results[:4])
		for _, g := range c.Groups {
			for _, b := range g.Bars {
				if b.End < barLeft || b.End > barLeft+barMost+1 || b.Y+barHeight > c.Height || b.Range.From > b.Range.To {
					t.Errorf("%s: %s: bar %+v in a chart of height %d", m.title, g.Label, b, c.Height)
				}
			}
		}
	}
	empty := result{Load: "mix", Target: "dead", Rounds: []sample{{}}}
	empty.summarize(empty)
	if b := draw(throughput, []result{empty}).Groups[0].Bars[0]; b.End != barLeft {
		t.Errorf("a target without results has a bar: %+v", b)
	}
}
