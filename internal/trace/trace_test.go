package trace

import (
	"bytes"
	"container/list"
	"math"
	"slices"
	"strings"
	"testing"

	"credproxy/lru"
)

func TestCodecKeepsEvents(t *testing.T) {
	var want []Event
	for i := range 1000 {
		want = append(want, Event{At: 1_700_000_000_000 + int64(i*i%977), Session: uint64(i) * 0x9e3779b97f4a7c15, Bytes: int64(i) * 131})
	}
	var e Encoder
	file := []byte(Magic)
	for _, ev := range want {
		file = e.Append(file, ev)
	}
	var got []Event
	if err := Read(bytes.NewReader(file), func(ev Event) { got = append(got, ev) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Error("the events that come back are others")
	}
	if n := len(file) / len(want); n > 14 {
		t.Errorf("%d bytes an event", n)
	}
	for cut := len(file) - 1; cut > len(file)-40; cut-- { // whoever recorded was killed
		got = nil
		if err := Read(bytes.NewReader(file[:cut]), func(ev Event) { got = append(got, ev) }); err != nil || !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("cut at %d: %d events, %v", cut, len(got), err)
		}
	}
}

func TestReadRefusesOtherFiles(t *testing.T) {
	damaged := Magic + "\x02abcdefgh" + strings.Repeat("\xff", 8) + "\x7f"
	for _, text := range []string{"", "hello, this is a text of some length", damaged} {
		if err := Read(strings.NewReader(text), func(Event) { t.Error("an event") }); err == nil {
			t.Errorf("%q is read without an error", text)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(Magic + "\x02abcdefgh\x7f"))
	f.Fuzz(func(t *testing.T, file []byte) {
		_ = Read(bytes.NewReader(file), func(ev Event) {
			if ev.Bytes < 0 {
				t.Error("a size below zero")
			}
		})
	})
}

func TestSyntheticKindsAreChecked(t *testing.T) {
	for _, kind := range []string{"", "zipf", "zipf:x", "zipf:-1", "loop:3", "dayly"} {
		if err := Synthetic(kind, func(Event) {}); err == nil {
			t.Errorf("%q is taken", kind)
		}
	}
}

// textbook is LRU with a linked list and a map, as books have it.
type textbook struct {
	max, used, restores int64
	order               *list.List
	at                  map[uint64]*list.Element
	seen                map[uint64]bool
}

func (b *textbook) access(ev Event) {
	if e := b.at[ev.Session]; e != nil {
		b.order.MoveToFront(e)
		return
	}
	if b.seen[ev.Session] {
		b.restores++
	}
	b.seen[ev.Session] = true
	b.at[ev.Session] = b.order.PushFront(ev)
	for b.used += ev.Bytes; b.used > b.max; {
		last := b.order.Remove(b.order.Back()).(Event)
		delete(b.at, last.Session)
		b.used -= last.Bytes
	}
}

// totalOf is the bytes of all sessions of a good kind.
func totalOf(kind string) (total int64) {
	seen := map[uint64]bool{}
	_ = Synthetic(kind, func(ev Event) {
		if !seen[ev.Session] {
			seen[ev.Session], total = true, total+ev.Bytes
		}
	})
	return total
}

// TestLRUIsTheTextbooks wants lru to restore as often as a textbook's implementation, within one percent, at every budget. The
// policy works between a threshold and a target, a book at the limit: here they are one percent apart.
func TestLRUIsTheTextbooks(t *testing.T) {
	if testing.Short() {
		t.Skip("replays eighteen times a million uses")
	}
	for _, kind := range []string{"zipf:0.8", "zipf:0.99", "zipf:1.2", "loop", "daily", "boot"} {
		total := totalOf(kind)
		for _, percent := range []int64{10, 50, 90} {
			budget := total * percent / 100
			book := &textbook{max: budget * 995 / 1000, order: list.New(), at: map[uint64]*list.Element{}, seen: map[uint64]bool{}}
			replay := NewReplay(Setting{lru.Budget{Max: budget, Threshold: 100, Target: 99}, lru.LRU})
			_ = Synthetic(kind, func(ev Event) { // the kinds are good
				book.access(ev)
				replay.Access(ev)
			})
			got, want := replay.Result().Restores, book.restores
			if math.Abs(float64(got-want)) > 0.01*float64(want) {
				t.Errorf("%s at %d %%: %d restores, a textbook's LRU has %d", kind, percent, got, want)
			}
			t.Logf("%s at %d %%: %d restores, textbook %d (%+.2f %%)", kind, percent, got, want, 100*float64(got-want)/float64(max(want, 1)))
		}
	}
}
