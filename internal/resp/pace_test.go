package resp

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// driven is a wire that could be driven by a poller: waiting may bring more.
type driven struct{ *wire }

func (d driven) TryRead(p []byte) (int, error)  { return d.Read(p) }
func (d driven) TryWrite(p []byte) (int, error) { return d.Write(p) }

// spent returns how long the guard paused over in, in packets of that size.
func spent(t *testing.T, in string, packet int) (d time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		c := NewConn(driven{&wire{in: []byte(in), packet: packet}}, DefaultLimits())
		c.SetAuthenticated(true)
		began := time.Now()
		for p := make([]byte, 4096); ; {
			if _, err := c.Read(p); err != nil {
				break
			}
		}
		d = time.Since(began)
	})
	return d
}

// TestUselessIsSlowedDown: who keeps the guard busy for nothing is read less often, who does anything sensible is not.
func TestUselessIsSlowedDown(t *testing.T) {
	command := bulks("SET", "k", strings.Repeat("v", 1000))
	for _, tc := range []struct {
		name   string
		in     string
		packet int
		slow   bool
	}{
		{"empty frames", strings.Repeat("*0\r\n\r\n*-1\r\n", 1<<17), 16 << 10, true},
		{"a large command byte by byte", bulks("SET", "k", strings.Repeat("v", 10_000)), 1, true},
		{"commands", strings.Repeat(command, 1000), 16 << 10, false},
		{"commands in small packets", strings.Repeat(command, 100), 100, false},
		{"short commands byte by byte", strings.Repeat(bulks("GET", "a"), 1000), 1, false},
		{"a large command", bulks("SET", "k", strings.Repeat("v", 1<<20)), 1400, false},
		{"a blank line now and then", strings.Repeat("\r\n"+command, 10_000), 16 << 10, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := spent(t, tc.in, tc.packet)
			if tc.slow && d < 100*time.Millisecond || !tc.slow && d != 0 {
				t.Errorf("paused for %v", d)
			}
		})
	}
}

// TestPauseEnds: commands make good for what was of no use.
func TestPauseEnds(t *testing.T) {
	p := pacer{empty: 10 * maxEmpty}
	for range 5 {
		p.rest()
	}
	for range 10 * maxEmpty / forgiven {
		p.command()
	}
	if d := p.rest(); d != 0 || p.pause != 0 {
		t.Errorf("still paused for %v", d)
	}
}

// TestTricklesCostFewReads: who sends a command bit by bit, and many of them do, gets few reads for it from the first second on.
func TestTricklesCostFewReads(t *testing.T) {
	var p pacer
	reads := 0
	for paused := time.Duration(0); paused < time.Second; reads++ {
		p.read(1)
		paused += p.rest()
	}
	if reads > maxSmall+20 {
		t.Errorf("%d reads in the first second", reads)
	}
}
