package resp

import (
	"strings"
	"time"
)

// redcon keeps the buffer of a connection's largest command for as long as the connection idles: it only shortens the
// slice and keeps the array. Ten thousand clients that once sent 1 MB would hold 20 GB. It takes a new array when a
// command crosses the end of its (short) slice, so an idle guard makes that happen with blank lines, which mean nothing
// in RESP. They have to cross that end between a carriage return and its line feed, so the guard counts.
const (
	redconBuffer = 4096            // redcon's slice when it has nothing to parse
	hoardSize    = 16 << 10        // array behind that slice that is worth the trouble
	trimAfter    = 1 * time.Second // how long a client has to idle: trimming costs about 10 us
)

// trimLines ends in a line end; what precedes its line feed fills redcon's slice. Shared, never written to.
var trimLines = []byte("\n" + strings.Repeat("\r\n", redconBuffer/2))

// trimmer knows what the reader of a Conn holds, as far as its buffers tell. For a reader that is not redcon it finds
// nothing to do, or sends some blank lines for nothing after a large command.
type trimmer struct {
	large  bool // a large command was handed over since the last trimming
	hoards bool // redcon's slice is the short end of a large array
	used   int  // bytes of that slice which are behind redcon
}

// command notes a command of n bytes.
func (t *trimmer) command(n int) { t.large = t.large || n > hoardSize/2 }

// see notes the buffer of a Read. redcon's slice shows itself, with its capacity, when redcon starts over at its first
// byte; other buffers (redcon reads ends of its slice through a bufio.Reader) tell nothing.
func (t *trimmer) see(p []byte) {
	if len(p) == redconBuffer && cap(p) > redconBuffer {
		t.hoards, t.used = t.large && cap(p) > hoardSize, 0
	}
}

// handed notes that a Read returned n bytes. Where they cross the end of the slice, redcon has either started over or
// taken a new array, which the next see shows.
func (t *trimmer) handed(n int) { t.used = (t.used + n) % redconBuffer }

// lines returns the blank lines that make redcon take a new array, and forgets about the old one.
func (t *trimmer) lines() []byte {
	room := redconBuffer - t.used
	t.hoards, t.large = false, false
	return trimLines[redconBuffer-room:]
}
