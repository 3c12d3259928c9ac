package main

import "testing"

func TestOnce(t *testing.T) {
	const ctr, lst = "w:s1:c", "w:s1:l"
	incr, lost := at(ctr, vIncr, 1, 2, op{out: 1}), at(ctr, vIncr, 3, 0, op{})
	for _, tc := range []struct {
		name string
		end  int64
		want once
	}{
		{"the unanswered one did not run", 6, once{answered: 1, unanswered: 1}},
		{"it ran", 7, once{answered: 1, unanswered: 1, late: 1}},
		{"one ran twice", 8, once{answered: 1, unanswered: 1, late: 1, twice: 1}},
		{"the answered one is lost", 5, once{answered: 1, unanswered: 1, lost: 1}},
	} {
		if got := increments([]*op{incr, lost}, 5, tc.end); got != tc.want {
			t.Errorf("INCR: %s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
	push, gone := at(lst, vPush, 1, 2, op{arg: 7, out: 1}), at(lst, vPush, 3, 0, op{arg: 8})
	for _, tc := range []struct {
		name, list string
		want       once
	}{
		{"the unanswered one did not run", "7,", once{answered: 1, unanswered: 1}},
		{"it ran", "7,8,", once{answered: 1, unanswered: 1, late: 1}},
		{"it ran twice", "7,8,8,", once{answered: 1, unanswered: 1, late: 1, twice: 1}},
	} {
		if got := pushes([]*op{push, gone, at(lst, vRange, 4, 5, op{list: tc.list})}); got != tc.want {
			t.Errorf("RPUSH: %s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}
