package resp

import (
	"bytes"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/redcon"
)

// allocated returns the bytes that f allocates, whatever becomes of them.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// heap returns the bytes that are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // empties the pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestCrashers: what takes redcon down when it stands alone is an error of its sender here, and cheap.
func TestCrashers(t *testing.T) {
	addr, _ := serve(t, ListenerConfig{}, func(c redcon.Conn, cmd redcon.Command) { c.WriteString("OK") }, nil, nil)
	for name, tc := range map[string]struct{ in, want string }{
		"bulk length overflows":      {"*1\r\n$9223372036854775807\r\n", protoErr + errBulkLength + "\r\n"},
		"two billion arguments":      {"*2147483647\r\n", protoErr + errPreAuthArgs + "\r\n"},
		"nested arrays":              {"*1\r\n*1\r\n*1\r\n", protoErr + "expected '$', got '*'\r\n"},
		"negative bulk":              {"*2\r\n$-1\r\n$4\r\nPING\r\n", protoErr + errBulkLength + "\r\n"},
		"good before bad":            {"PING\r\n*1\r\n$x\r\n", "+OK\r\n" + protoErr + errBulkLength + "\r\n"},
		"inline without end":         {strings.Repeat("A", 8<<20), protoErr + errLongInline + "\r\n"},
		"header without end":         {"*" + strings.Repeat("1", 8<<20), protoErr + errLongMultibulk + "\r\n"},
		"bulk header without end":    {"*1\r\n$" + strings.Repeat("1", 8<<20), protoErr + errLongBulk + "\r\n"},
		"large bulk before AUTH":     {"*2\r\n$4\r\nECHO\r\n$100000000\r\n" + strings.Repeat("x", 8<<20), protoErr + errPreAuthBulk + "\r\n"},
		"nothing but empty frames":   {strings.Repeat("*0\r\n\r\n*-1\r\n", 100000), ""},
		"quotes in the middle":       {"SET a\"b c\"\r\n", "+OK\r\n"},
		"empty quotes, blanks, tabs": {"\t'' \t\"\"\r\n", "+OK\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			in := []byte(tc.in)
			var got []byte
			mem := allocated(func() { got = exchange(t, addr, in) })
			if string(got) != tc.want {
				t.Errorf("%.100q, want %q", got, tc.want)
			}
			if mem > 2<<20 {
				t.Errorf("%d bytes allocated", mem)
			}
			if got := exchange(t, addr, []byte("PING\r\n")); string(got) != "+OK\r\n" {
				t.Errorf("the next client gets %q", got)
			}
		})
	}
}

// TestAnnouncedLengthIsFree: an authenticated client's header of half a gigabyte costs nothing.
func TestAnnouncedLengthIsFree(t *testing.T) {
	in := "*1048576\r\n$536870912\r\nabc"
	got := allocated(func() { guarded(t, []byte(in), len(in), 4096, true) })
	if got > 1<<17 {
		t.Errorf("%d bytes allocated", got)
	}
}

// TestBufferFollowsArrivals: at most twice what arrived is held, and exactly an argument's size in the end.
func TestBufferFollowsArrivals(t *testing.T) {
	in := append([]byte("*2\r\n$3\r\nSET\r\n$10000000\r\n"), make([]byte, 9_000_000)...)
	w := &wire{in: in, packet: 5000}
	c := NewConn(w, DefaultLimits())
	c.SetAuthenticated(true)
	arrived := 0
	for len(w.in) > 0 {
		if err := c.fill(); err != nil {
			t.Fatal(err)
		}
		c.gather(4096)
		arrived = len(in) - len(w.in)
		if limit := max(plainChunk, 2*arrived); cap(c.buf) > limit {
			t.Fatalf("%d bytes held after %d arrived", cap(c.buf), arrived)
		}
	}
	if cap(c.buf) > 10_000_100 {
		t.Errorf("%d bytes held for an argument of 10,000,000", cap(c.buf))
	}
}

// TestOneByteReads: a bulk that arrives byte by byte reaches redcon in a few large pieces, so that its recursion (one
// level for each Read) stays flat, and in linear time: a few MB would take redcon alone days.
func TestOneByteReads(t *testing.T) {
	took := func(size int) time.Duration {
		want := bulks("SET", "key", strings.Repeat("v", size))
		w := &wire{in: []byte(want), packet: 1}
		c := NewConn(w, DefaultLimits())
		c.SetAuthenticated(true)
		counted := &countingReader{c: c}
		start := time.Now()
		cmd, err := redcon.NewReader(counted).ReadCommand()
		if err != nil || !bytes.Equal(cmd.Raw, []byte(want)) {
			t.Fatalf("ReadCommand: %d bytes, %v", len(cmd.Raw), err)
		}
		if counted.n > 64 {
			t.Errorf("redcon made %d reads", counted.n)
		}
		return time.Since(start)
	}
	// 32 times as much costs 1,024 times as much if it is not linear; the machine may be busy with something else for one of them.
	if short, long := min(took(64<<10), took(64<<10)), took(2<<20); long > 400*short {
		t.Errorf("64 KB took %v, 2 MB %v", short, long)
	}
}

type countingReader struct {
	c *Conn
	n int
}

func (r *countingReader) Read(p []byte) (int, error) { r.n++; return r.c.Read(p) }

// TestEndlessPipeline: redcon's buffer stays small however long a pipeline goes on.
func TestEndlessPipeline(t *testing.T) {
	in := []byte(strings.Repeat(bulks("SET", "key", strings.Repeat("v", 177)), 50000)) // 10 MB
	c := NewConn(&wire{in: in, packet: 10007}, DefaultLimits())
	c.SetAuthenticated(true)
	widest := 0
	rd := redcon.NewReader(readerFunc(func(p []byte) (int, error) { widest = max(widest, len(p)); return c.Read(p) }))
	n := 0
	for {
		cmds, err := rd.ReadCommands()
		if err != nil {
			break
		}
		n += len(cmds)
	}
	if n != 50000 || widest > 16384 {
		t.Errorf("%d commands; redcon read up to %d bytes at a time", n, widest)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestIdleClientsAreSmall: after a large command, an idle client holds a few KB in the guard and in redcon.
func TestIdleClientsAreSmall(t *testing.T) {
	const clients = 20
	addr, _ := serve(t, ListenerConfig{}, func(c redcon.Conn, cmd redcon.Command) { c.WriteString("OK") },
		func(c redcon.Conn) bool { c.NetConn().(*Conn).SetAuthenticated(true); return true }, nil)
	before := heap()
	big := []byte(bulks("SET", "k", strings.Repeat("v", 1<<20)))
	p := make([]byte, 5)
	for i := range clients {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		script := [][]byte{[]byte("PING\r\n"), big}
		for j := range i { // each client leaves redcon's buffer in a state of its own
			script = append(script, []byte(bulks("SET", strings.Repeat("k", 100+i*j))))
		}
		for _, in := range script {
			if _, err := nc.Write(in); err != nil {
				t.Fatal(err)
			}
			if _, err := nc.Read(p); err != nil || string(p) != "+OK\r\n" {
				t.Fatalf("%q, %v", p, err)
			}
		}
	}
	// redcon's own start at 20 KB: a reader of 4 KB behind a bufio.Reader of 4 KB, a bufio.Writer, and after trimming
	// 8 KB instead of 4.
	var each int64
	eventually(t, "idle clients give their memory back", func() bool {
		each = (heap() - before) / clients
		return each < 40<<10
	})
	t.Logf("%d bytes for each idle client, redcon's share included", each)
}
