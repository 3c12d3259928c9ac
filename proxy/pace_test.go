package proxy

import (
	"testing"
	"time"
)

// A change that has just missed a pass is committed within the interval, as long as a pass takes no more than half of it.
func TestSavesKeepTheInterval(t *testing.T) {
	const interval = 200 * time.Millisecond
	for _, took := range []time.Duration{0, time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond} {
		p := pace{interval: interval}
		p.rest(took)
		if age := took + p.rest(took) + took; age > interval {
			t.Errorf("passes of %s: a change waits %s", took, age)
		}
	}
	p := pace{interval: interval}
	if rest := p.rest(time.Minute); rest != longestRest*interval {
		t.Errorf("a pass that was late is followed by a rest of %s, want %s: clients are to have half of the time, but not for ever", rest, longestRest*interval)
	}
	for _, took := range []time.Duration{interval, 3 * interval} {
		if rest := (&pace{interval: interval}).rest(took); rest != took {
			t.Errorf("a pass of %s is followed by a rest of %s", took, rest)
		}
	}
	if rest := p.rest(0); rest != interval/4 {
		t.Errorf("after a slow pass the next one begins after %s, want %s", rest, interval/4)
	}
	for range 100 {
		p.rest(0)
	}
	if rest := p.rest(0); rest < interval*9/10 {
		t.Errorf("a slow pass long ago still makes the next one begin after %s", rest)
	}
}
