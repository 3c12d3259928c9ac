package admin

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"credproxy/proxy"
)

func codes(list []Finding) (text string, blocks bool) {
	for _, f := range list {
		text += f.Code + " "
		blocks = blocks || f.Blocks
	}
	return strings.TrimSpace(text), blocks
}

func TestFindings(t *testing.T) {
	now := time.Unix(1000, 0)
	up := proxy.Pulse{Known: true, Up: true, Since: now.Add(-time.Hour)}
	down := func(d time.Duration) proxy.Pulse { return proxy.Pulse{Known: true, Since: now.Add(-d)} }
	for _, test := range []struct {
		name            string
		st              proxy.Stats
		redis, postgres proxy.Pulse
		codes           string
		blocks          bool
	}{
		{"all is well", proxy.Stats{Enforcing: true, RedisPolicy: "noeviction"}, up, up, "", false},
		{"just started, after both have answered", proxy.Stats{Enforcing: true}, proxy.Pulse{}, proxy.Pulse{}, "", false},
		{"Postgres away for a moment", proxy.Stats{Enforcing: true}, up, down(patience - 1), "postgres_away", false},
		{"Postgres away for long", proxy.Stats{Enforcing: true}, up, down(patience), "postgres_away", true},
		{"and saving fails of course", proxy.Stats{Enforcing: true, NotSaving: time.Hour}, up, down(time.Hour), "postgres_away", true},
		{"saving fails for a moment", proxy.Stats{Enforcing: true, NotSaving: patience - 1}, up, up, "saving_fails", false},
		{"saving fails for long", proxy.Stats{Enforcing: true, NotSaving: patience}, up, up, "saving_fails", true},
		{"Redis away", proxy.Stats{Enforcing: true}, down(0), up, "redis_away", true},
		{"no lock", proxy.Stats{}, up, up, "not_enforcing", true},
		{"full", proxy.Stats{Enforcing: true, MemoryFull: true, FullFor: patience}, up, up, "memory_full", true},
		{"full for a moment", proxy.Stats{Enforcing: true, MemoryFull: true, FullFor: patience - 1}, up, up, "memory_full", false},
		{"no lock while Postgres is away", proxy.Stats{}, up, down(patience - 1), "postgres_away", false},
		{"no lock yet when it is back", proxy.Stats{}, up, proxy.Pulse{Known: true, Up: true, Since: now.Add(-time.Second)}, "not_enforcing", false},
		{"paused", proxy.Stats{Enforcing: true, Paused: true}, up, up, "paused", false},
		{"adopting", proxy.Stats{Enforcing: true, AdoptionPending: 1}, up, up, "adopting", false},
		{"draining", proxy.Stats{Enforcing: true, Closing: true}, up, up, "closing", true},
		{"limits of Redis's own", proxy.Stats{Enforcing: true, MemoryWarnings: []string{"a"}}, up, up, "redis_memory", false},
		{"thrashing", proxy.Stats{Enforcing: true, Thrashing: proxy.Thrashing{On: true}}, up, up, "thrashing", false},
		{"a Redis that evicts", proxy.Stats{Enforcing: true, RedisPolicy: "allkeys-lru"}, up, up, "redis_policy", false},
	} {
		if got, blocks := codes(findings(&test.st, test.redis, test.postgres, now)); got != test.codes || blocks != test.blocks {
			t.Errorf("%s: %q, blocks %v", test.name, got, blocks)
		}
	}
	list := findings(&proxy.Stats{Enforcing: true, DirtyKeys: 1204}, up, down(0), now)
	if want := "1,204 keys wait to be saved."; !strings.Contains(list[0].Text, want) {
		t.Errorf("%q tells nothing of %q", list[0].Text, want)
	}
	list = findings(&proxy.Stats{Enforcing: true, MemoryFull: true, FullWhy: "of the sessions in Redis 3 are pinned; unpin some"}, up, up, now)
	if want := " Of the sessions in Redis 3 are pinned; unpin some."; !strings.HasSuffix(list[0].Text, want) {
		t.Errorf("%q does not end in %q", list[0].Text, want)
	}
}

func TestHistoryKeepsAnHour(t *testing.T) {
	var h history
	at := time.Unix(0, 0)
	st := proxy.Stats{SampledAt: at}
	for i := range int64(historyPoints + 100) {
		st.Commands, st.Evictions.Memory = i*500, i*2
		at = at.Add(historyEvery)
		events := h.add(at, st, true, true)
		want := "[]"
		switch {
		case i == 1: // the first is told at once, the others twice a minute
			want = "[2 sessions evicted: memory was over the threshold]"
		case i > 1 && (i-1)%6 == 0:
			want = "[12 sessions evicted: memory was over the threshold]"
		}
		if got := fmt.Sprint(texts(events)); got != want {
			t.Fatalf("at point %d: %s, want %s", i, got, want)
		}
	}
	all := h.since(0)
	if n := len(all.Points["t"]); n != historyPoints || all.Next != historyPoints+100 {
		t.Errorf("%d points, next %d", n, all.Next)
	}
	if rate := all.Points["commands"][5]; rate != 100.0 {
		t.Errorf("%v commands a second", rate)
	}
	if n := len(h.since(all.Next - 3).Points["t"]); n != 3 {
		t.Errorf("%d points since the third last", n)
	}
	if n := len(h.since(1 << 40).Points["t"]); n != historyPoints { // a page of an earlier process
		t.Errorf("%d points for a number from the future", n)
	}
	// CREDPROXY CLEAR: counters begin anew, and nothing is negative.
	h.add(at.Add(historyEvery), proxy.Stats{SampledAt: at, Commands: 50}, true, true)
	if last := h.since(h.count - 1).Points; last["commands"][0] != 10.0 || last["by_memory"][0] != int64(0) {
		t.Errorf("after a reset: %v", last)
	}
}

func texts(events []Event) (list []string) {
	for _, e := range events {
		list = append(list, e.Text)
	}
	return list
}

func TestNothingIsDrawnBeforeTheFirstSample(t *testing.T) {
	var h history
	h.add(time.Unix(5, 0), proxy.Stats{Commands: 1000}, true, true)
	if p := h.since(0).Points; p["used"][0] != nil || p["commands"][0] != 0.0 {
		t.Errorf("the first point: %v", p)
	}
}

func TestEventsComeFromTheLog(t *testing.T) {
	log := hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: hclog.Off})
	e := NewEvents()
	log.RegisterSink(e)
	log.Debug("nobody needs this")
	log.Named("credproxy").Named(proxy.SlowLogger).Info("a command waited")
	for i := range maxEvents + 10 {
		log.Warn("a line", "number", i, "error", errors.New("two\nlines"))
	}
	log.Named("sub").Error(strings.Repeat("ä", 5000))
	list := e.after(0)
	if len(list) != maxEvents || list[0].Text != "a line  number=11  error=two lines" || list[0].Level != "warn" {
		t.Errorf("%d events, the first %+v", len(list), list[0])
	}
	if last := list[len(list)-1]; last.Level != "error" || len(last.Text) > maxEventText+8 {
		t.Errorf("the last: %d bytes, %s", len(last.Text), last.Level)
	}
	if n := len(e.after(list[len(list)-2].ID)); n != 1 {
		t.Errorf("%d events after the last but one", n)
	}
}

// Further connections wait; one that ends makes room.
func TestConnectionsAreLimited(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	limited := newLimitListener(ln, 2)
	accepted := make(chan net.Conn)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			conn, err := limited.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	for range 3 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		must(t, err)
		defer conn.Close()
	}
	first, second := <-accepted, <-accepted
	if len(limited.places) != 2 {
		t.Errorf("%d places are taken", len(limited.places))
	}
	select {
	case <-accepted:
		t.Error("a third connection is accepted")
	default:
	}
	first.Close()
	first.Close() // gives back one place, not two
	third := <-accepted
	second.Close()
	third.Close()
	limited.Close()
	<-over
}
