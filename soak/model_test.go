package main

import (
	"testing"

	"github.com/anishathalye/porcupine"
)

const ms = int64(1e6)

// at makes an operation that runs from a to b milliseconds; b 0: its outcome is unknown.
func at(part string, v verb, a, b int64, o op) *op {
	o.part, o.verb, o.call, o.ret = part, v, a*ms, b*ms
	if b == 0 {
		o.fate, o.ret = unknown, forever
	}
	return &o
}

func TestModels(t *testing.T) {
	const reg, ctr, lst, ttl = "w:s1:a", "w:s1:c", "w:s1:l", "w:s1:t"
	c := newClock()
	for _, tc := range []struct {
		name  string
		part  string
		legal bool
		ops   []*op
	}{
		{"a write is read", reg, true, []*op{at(reg, vSet, 1, 2, op{arg: 7, out: noClaim}), at(reg, vGet, 3, 4, op{out: 7})}},
		{"a false nil", reg, false, []*op{at(reg, vSet, 1, 2, op{arg: 7, out: noClaim}), at(reg, vGet, 3, 4, op{})}},
		{"a nil while the write is under way", reg, true, []*op{at(reg, vSet, 1, 5, op{arg: 7, out: noClaim}), at(reg, vGet, 3, 4, op{})}},
		{"a lost update", reg, false, []*op{at(reg, vSet, 1, 2, op{arg: 7, out: noClaim}), at(reg, vSet, 3, 4, op{arg: 8, out: noClaim}),
			at(reg, vGet, 5, 6, op{out: 7})}},
		{"a resurrection", reg, false, []*op{at(reg, vSet, 1, 2, op{arg: 7, out: noClaim}), at(reg, vDel, 3, 4, op{out: 1}),
			at(reg, vGet, 5, 6, op{out: 7})}},
		{"a removal that found nothing", reg, false, []*op{at(reg, vSet, 1, 2, op{arg: 7, out: noClaim}), at(reg, vDel, 3, 4, op{})}},
		{"an unknown write may run late", reg, true, []*op{at(reg, vSet, 1, 0, op{arg: 7}), at(reg, vGet, 3, 4, op{}), at(reg, vGet, 5, 6, op{out: 7})}},
		{"or never", reg, true, []*op{at(reg, vSet, 1, 0, op{arg: 7}), at(reg, vGet, 3, 4, op{}), at(reg, vGet, 5, 6, op{})}},
		{"but not come and go", reg, false, []*op{at(reg, vSet, 1, 0, op{arg: 7}), at(reg, vGet, 3, 4, op{out: 7}), at(reg, vGet, 5, 6, op{})}},
		{"a new field that was there", reg, false, []*op{at(reg, vSet, 1, 2, op{arg: 7, out: 1}), at(reg, vSet, 3, 4, op{arg: 8, out: 1})}},
		{"a refused write that ran", reg, false, []*op{at(reg, vSet, 1, 2, op{arg: 7, fate: refused}), at(reg, vGet, 3, 4, op{out: 7})}},
		{"an increment twice", ctr, false, []*op{at(ctr, vIncr, 1, 2, op{out: 1}), at(ctr, vIncr, 3, 4, op{out: 3})}},
		{"an unknown increment between", ctr, true, []*op{at(ctr, vIncr, 1, 2, op{out: 1}), at(ctr, vIncr, 2, 0, op{}), at(ctr, vIncr, 3, 4, op{out: 3})}},
		{"a lost element", lst, false, []*op{at(lst, vPush, 1, 2, op{arg: 5, out: 1}), at(lst, vRange, 3, 4, op{})}},
		{"an element twice", lst, false, []*op{at(lst, vPush, 1, 2, op{arg: 5, out: 1}), at(lst, vRange, 3, 4, op{list: "5,5,"})}},
		{"elements in order", lst, true, []*op{at(lst, vPush, 1, 2, op{arg: 5, out: 1}), at(lst, vPush, 3, 4, op{arg: 6, out: 2}),
			at(lst, vRange, 5, 6, op{list: "5,6,"})}},
		{"gone before its deadline", ttl, false, []*op{at(ttl, vSetPX, 1, 2, op{arg: 7, ttl: 1000}), at(ttl, vGet, 3, 4, op{})}},
		{"gone after its deadline", ttl, true, []*op{at(ttl, vSetPX, 1, 2, op{arg: 7, ttl: 1000}), at(ttl, vGet, 3, 4, op{out: 7}),
			at(ttl, vGet, 1500, 1501, op{})}},
		{"there after its deadline", ttl, false, []*op{at(ttl, vSetPX, 1, 2, op{arg: 7, ttl: 1000}), at(ttl, vGet, 1500, 1501, op{out: 7})}},
		{"a deadline that moved", ttl, false, []*op{at(ttl, vSetPX, 1, 2, op{arg: 7, ttl: 1000}),
			at(ttl, vExpireAt, 3, 4, op{out: c.unix + 2000})}},
		{"an unknown write seen in time", ttl, false, []*op{at(ttl, vSetPX, 1, 0, op{arg: 7, ttl: 1000}), at(ttl, vGet, 3, 4, op{out: 7}),
			at(ttl, vGet, 1500, 1501, op{out: 7})}},
		{"a longer life", ttl, true, []*op{at(ttl, vSetPX, 1, 2, op{arg: 7, ttl: 1000}), at(ttl, vExpire, 3, 4, op{ttl: 2000, out: 1}),
			at(ttl, vGet, 1500, 1501, op{out: 7})}},
	} {
		if got := porcupine.CheckOperations(modelOf(tc.part, blank(tc.part), c), operations(tc.ops, forever)); got != tc.legal {
			t.Errorf("%s: legal is %v, want %v", tc.name, got, tc.legal)
		}
	}
}

func TestLosses(t *testing.T) {
	const reg = "w:s1:a"
	saved, young := at(reg, vSet, 1, 2, op{arg: 7, out: noClaim}), at(reg, vSet, 5, 6, op{arg: 8, out: noClaim})
	del := at(reg, vDel, 3, 4, op{out: 1})
	for _, tc := range []struct {
		name         string
		ops          []*op
		begin, final int64
		lost         int
		bad          bool
	}{
		{"nothing is lost", []*op{saved, young}, 0, 8, 0, false},
		{"the young one is lost", []*op{saved, young}, 0, 7, 1, false},
		{"both are lost", []*op{saved, young}, 0, 0, 2, false},
		{"what Postgres held is gone", []*op{saved}, 5, 0, 1, true},
		{"a removed value is back", []*op{saved, del}, 0, 7, 0, true},
		{"what Postgres held is back", []*op{del}, 5, 5, 0, true},
		{"nobody wrote it", []*op{saved}, 0, 9, 0, true},
		{"removed for good", []*op{saved, del}, 0, 0, 0, false},
	} {
		l := loss{part: reg, begin: tc.begin, final: tc.final}
		l.sort(tc.ops)
		if why := l.judge(); (why != "") != tc.bad || len(l.lost) != tc.lost {
			t.Errorf("%s: %q and %d lost, want bad %v and %d lost", tc.name, why, len(l.lost), tc.bad, tc.lost)
		}
	}
}

func TestValues(t *testing.T) {
	for _, n := range []int64{1, 25, 899, 123456} {
		if got, ok := decode(encode(n)); !ok || got != n {
			t.Errorf("decode(encode(%d)) = %d, %v", n, got, ok)
		}
	}
	torn := encode(500)
	if _, ok := decode(torn[:len(torn)-1]); ok {
		t.Error("a torn value passes for whole")
	}
}
