package proxy

import (
	"strings"
	"testing"
	"time"
)

const mb = 1 << 20

// cycle evicts n sessions of 1 MB and restores them in the same order, each about so long after it went.
func (t *thrash) cycle(why cause, n int, used int64, out time.Duration, now *time.Time) {
	var away []departure
	for range n {
		away = append(away, departure{t.left(why, mb), why, uint32(now.Unix())})
		*now = now.Add(out / time.Duration(n))
	}
	for _, d := range away {
		t.returned(d, used, *now)
	}
}

func TestThrashing(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	for name, c := range map[string]struct {
		why  cause
		n    int
		out  time.Duration
		on   bool
		text string
	}{
		"soon":             {overMemory, 100, time.Minute, true, "100 % of 100 restores in the last 5 minutes were of sessions evicted less than 2 minutes before; a budget (memory.max) of about "},
		"at maxmemory":     {atMaxmemory, 100, time.Minute, true, "memory.max"},
		"late":             {overMemory, 100, 5 * time.Minute, false, ""},
		"few":              {overMemory, thrashLeast - 1, time.Minute, false, ""},
		"by hand":          {byHand, 100, time.Minute, false, ""},
		"idle":             {idleTooLong, 100, time.Minute, false, ""},
		"keyspace's own":   {overSpace, 100, time.Minute, true, "because their keyspace was over its max"},
		"an older process": {unrecorded, 100, time.Minute, false, ""},
	} {
		var th thrash
		now := start
		th.cycle(c.why, c.n, 50*mb, c.out, &now)
		got := th.judge(now, 70)
		if got.On != c.on || !strings.Contains(got.Text, c.text) || got.Restores != int64(c.n) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// More memory is not advised where most sessions left because their keyspace was over its own max.
func TestThrashingOfAKeyspace(t *testing.T) {
	var th thrash
	now := time.Unix(1_700_000_000, 0)
	th.cycle(overMemory, 40, 50*mb, time.Minute, &now)
	th.cycle(overSpace, 60, 50*mb, time.Minute, &now)
	if got := th.judge(now, 70); !got.On || got.Quick != 100 || got.Advised != 0 {
		t.Errorf("%+v", got)
	}
}

// The advised budget holds what is resident and what is out, with the part that an eviction leaves free.
func TestThrashingAdvice(t *testing.T) {
	var th thrash
	now := time.Unix(1_700_000_000, 0)
	th.cycle(overMemory, 100, 200*mb, time.Minute, &now) // the first to come back has 99 after it, the last none
	const want = (200 + 90) * mb * 100 / 70
	if got := th.judge(now, 70).Advised; got < want-5*mb || got > want+want/20 {
		t.Errorf("%d MB, want %d", got>>20, want>>20)
	}
	if got := th.judge(now.Add(thrashWindow-thrashWindow/thrashSpans), 70); !got.On {
		t.Error("the end of the window comes early")
	}
	if got := th.judge(now.Add(thrashWindow), 70); got.On || got.Restores != 0 || got.Advised != 0 || got.QuickEver != 100 {
		t.Errorf("a window later: %+v", got)
	}
	th.cycle(overMemory, 100, 200*mb, time.Minute, &now)
	th.forget() // there is another budget
	if got := th.judge(now, 70); got.On || got.Restores != 0 {
		t.Errorf("with another budget: %+v", got)
	}
}

// Other restores than quick ones are the share's other part.
func TestThrashingIsAShare(t *testing.T) {
	for others, on := range map[int]bool{99: true, 100: false} {
		var th thrash
		now := time.Unix(1_700_000_000, 0)
		for range others {
			th.returned(departure{}, 0, now)
		}
		th.cycle(overMemory, 100, 50*mb, time.Second, &now)
		if got := th.judge(now, 70); got.On != on {
			t.Errorf("beside %d others: %+v", others, got)
		}
	}
}
