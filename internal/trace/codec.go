package trace

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Event is one use of a session.
type Event struct {
	At      int64  // unix milliseconds
	Session uint64 // a number that stands for the session: a keyed hash, in recorded traces
	Bytes   int64  // its size in Redis at that time, as far as known
}

// Magic is the first line of a trace file. Behind it stand the events: the time since the event before as a signed varint, the
// session as 8 bytes, little-endian, and the size as an unsigned varint. About 12 bytes for an event.
const Magic = "credproxy trace 1\n"

// Encoder appends events to buffers. The zero value is ready; one encoder is for one trace.
type Encoder struct{ last int64 }

// Append appends an event to dst.
func (e *Encoder) Append(dst []byte, ev Event) []byte {
	dst = binary.AppendVarint(dst, ev.At-e.last)
	e.last = ev.At
	dst = binary.LittleEndian.AppendUint64(dst, ev.Session)
	return binary.AppendUvarint(dst, uint64(max(ev.Bytes, 0)))
}

// Read calls f for every event of a trace file. A file that ends within an event (its recording was killed) ends before it.
func Read(r io.Reader, f func(Event)) error {
	in := bufio.NewReaderSize(r, 1<<16)
	head := make([]byte, len(Magic))
	if _, err := io.ReadFull(in, head); err != nil || string(head) != Magic {
		return errors.New("read trace: this is no trace file: record one with `credproxy record`")
	}
	var at int64
	for n := 1; ; n++ {
		ev, err := readEvent(in, at)
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return nil
		case err != nil:
			return fmt.Errorf("read event %d of the trace: %w", n, err)
		}
		at = ev.At
		f(ev)
	}
}

func readEvent(in *bufio.Reader, last int64) (ev Event, err error) {
	delta, err := binary.ReadVarint(in)
	if err != nil {
		return ev, err
	}
	var id [8]byte
	if _, err := io.ReadFull(in, id[:]); err != nil {
		return ev, err
	}
	size, err := binary.ReadUvarint(in)
	if err != nil {
		return ev, err
	}
	const most = 1 << 50 // bytes of one session: more is a damaged file
	if size > most {
		return ev, fmt.Errorf("a session of %d bytes: the file is damaged", size)
	}
	return Event{At: last + delta, Session: binary.LittleEndian.Uint64(id[:]), Bytes: int64(size)}, nil
}
