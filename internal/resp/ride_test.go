package resp

import (
	"net"
	"strings"
	"testing"
)

// pipeline is a client whose commands have all arrived.
type pipeline struct {
	net.Conn
	in string
}

func (p *pipeline) TryRead(b []byte) (int, error) {
	n := copy(b, p.in)
	p.in = p.in[n:]
	return n, nil
}

func (*pipeline) TryWrite(b []byte) (int, error) { return len(b), nil }

// ridden takes all commands of a client as a lane would; it returns how many there were, how often it was read from, and its largest buffer.
func ridden(t *testing.T, in string) (commands, pulls, widest int) {
	t.Helper()
	c := NewConn(&pipeline{in: in}, DefaultLimits())
	c.Ride(func() (bool, error) { return false, nil })
	c.SetAuthenticated(true)
	for more := true; more; pulls++ {
		var err error
		if more, err = c.Pull(); err != nil {
			t.Fatal(err)
		}
		widest = max(widest, cap(c.buf))
		for {
			_, _, found := c.Next(nil)
			if found == Other {
				t.Fatalf("not a command, behind %d", commands)
			}
			if found == Nothing {
				break
			}
			commands++
		}
	}
	c.Rest()
	if c.buf != nil {
		t.Errorf("%d bytes are held of nothing", cap(c.buf))
	}
	return commands, pulls, widest
}

// Commands of 16 KB that have arrived together are taken together; small ones need no larger buffer for that.
func TestPipelinesAreTakenTogether(t *testing.T) {
	for _, c := range []struct{ size, count, pulls, widest int }{
		{16 << 10, 200, 200/15 + 8, packChunk}, // buffers find their size
		{16 << 10, 1, 4, wideChunk},
		{100, 2000, 2000*128/plainChunk + 1, plainChunk},
	} {
		command := bulks("SET", "k", strings.Repeat("v", c.size))
		commands, pulls, widest := ridden(t, strings.Repeat(command, c.count))
		if commands != c.count || pulls > c.pulls || widest > c.widest {
			t.Errorf("%d commands of %d bytes: %d were found in %d reads, in up to %d bytes", c.count, c.size, commands, pulls, widest)
		}
	}
}

// Who sends less again gets smaller buffers.
func TestBuffersShrink(t *testing.T) {
	p := &pipeline{in: strings.Repeat(bulks("SET", "k", strings.Repeat("v", 20<<10)), 100)}
	c := NewConn(p, DefaultLimits())
	c.Ride(func() (bool, error) { return false, nil })
	c.SetAuthenticated(true)
	take := func() {
		for more := true; more; {
			var err error
			if more, err = c.Pull(); err != nil {
				t.Fatal(err)
			}
			for found := Command; found == Command; {
				_, _, found = c.Next(nil)
			}
		}
		c.Rest()
	}
	take()
	if c.chunk != packChunk {
		t.Fatalf("the next buffer has %d bytes", c.chunk)
	}
	for range 3 {
		p.in = bulks("SET", "k", strings.Repeat("v", 20<<10))
		take()
	}
	if c.chunk != hugeChunk { // a quarter of that would be too small
		t.Errorf("the next buffer has %d bytes", c.chunk)
	}
	p.in = bulks("GET", "k")
	if take(); c.chunk != 0 {
		t.Errorf("the next buffer has %d bytes", c.chunk)
	}
}
