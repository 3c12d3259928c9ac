package main

import (
	"testing"
	"time"
)

func TestSchedule(t *testing.T) {
	// 1,000 commands a second in pipelines of 4: one each 4 ms, each client's every 12 ms.
	s := newSchedule(time.Second, 1000, 4, 3, 3)
	if got := s.at(2, 5); got != time.Second+68*time.Millisecond {
		t.Errorf("client 2 sends for the sixth time after %s", got)
	}
	if s.owed(0) != 0 || s.until(time.Second-time.Millisecond) != time.Millisecond {
		t.Error("something is due before the start")
	}
	if first, last := s.advance(time.Second); first != 0 || last != 1 {
		t.Errorf("at the start: %d to %d", first, last)
	}
	if first, last := s.advance(time.Second + 13*time.Millisecond); first != 1 || last != 4 {
		t.Errorf("later: %d to %d", first, last)
	}
	if a, b, c := s.owed(0), s.owed(1), s.owed(2); a != 2 || b != 1 || c != 1 {
		t.Errorf("owed are %d, %d, %d", a, b, c)
	}
	if got := s.until(time.Second + 13*time.Millisecond); got != 3*time.Millisecond {
		t.Errorf("the next is due in %s", got)
	}
	// Two loops with one client of four each share the rate.
	if got := newSchedule(0, 1000, 1, 1, 4).interval; got != 4*time.Millisecond {
		t.Errorf("interval is %s", got)
	}
}
