package proxy

import (
	"bytes"
	"testing"

	"credproxy/internal/trace"
)

// recorded reads what a recording has.
func recorded(t *testing.T, rec *recording, now int64) (events []trace.Event) {
	t.Helper()
	chunks, _ := rec.take(now)
	file := append([]byte(trace.Magic), joinChunks(chunks)...)
	if err := trace.Read(bytes.NewReader(file), func(ev trace.Event) { events = append(events, ev) }); err != nil {
		t.Fatal(err)
	}
	return events
}

// A recording holds one event for each burst of a session, under the same number, and nothing before it is started.
func TestRecordingOfTheGate(t *testing.T) {
	s := tracked(t, 10)
	keys, buf := newKeyWriter(), []byte(nil)
	pass := func(i uint32, now int64) {
		var ok bool
		if buf, ok = passGate(s, buf, keys.key(i), now); !ok {
			t.Fatal("the gate is closed")
		}
	}
	now := int64(1_000_000)
	pass(1, now)
	if err := s.recorder.start(now); err != nil {
		t.Fatal(err)
	}
	if err := s.recorder.start(now); err == nil {
		t.Error("a second recording was started")
	}
	for _, use := range []struct {
		session uint32
		after   int64
	}{{1, recordTick}, {1, 1}, {2, 1}, {1, recordTick}, {1, recordTick}} {
		now += use.after
		pass(use.session, now)
	}
	got := recorded(t, s.recorder.active.Load(), now)
	if len(got) != 4 || got[0].Session != got[2].Session || got[0].Session != got[3].Session || got[0].Session == got[1].Session ||
		got[1].At != 1_000_000+recordTick+2 || got[3].At != now || got[0].Bytes != 4096 {
		t.Errorf("events: %+v", got)
	}
	if more := recorded(t, s.recorder.active.Load(), now); len(more) != 0 {
		t.Errorf("read twice: %+v", more)
	}
}

// Whoever records and dies must not leave a proxy that records for ever, nor keep others from recording.
func TestRecordingThatNobodyReadsEnds(t *testing.T) {
	s := tracked(t, 10)
	now := int64(1_000_000)
	if err := s.recorder.start(now); err != nil {
		t.Fatal(err)
	}
	now += recordPatience + 1
	if _, ok := passGate(s, nil, newKeyWriter().key(1), now); !ok || s.recorder.active.Load() != nil {
		t.Error("it is still being recorded")
	}
	if err := s.recorder.start(now); err != nil {
		t.Error(err)
	}
	if err := s.recorder.start(now + recordPatience + 1); err != nil {
		t.Errorf("an abandoned recording keeps others from recording: %v", err)
	}
}

func TestRecordingIsBounded(t *testing.T) {
	s := tracked(t, 10)
	if err := s.recorder.start(0); err != nil {
		t.Fatal(err)
	}
	rec := s.recorder.active.Load()
	const most = recordChunks * recordChunk / 10 // an event takes more than 10 bytes
	for i := range most {
		rec.add(trace.Event{At: int64(i), Session: uint64(i)})
	}
	if len(rec.chunks) != recordChunks || rec.dropped == 0 {
		t.Fatalf("%d chunks, %d dropped", len(rec.chunks), rec.dropped)
	}
	n, last := int64(0), int64(-1)
	dropped := rec.dropped
	var file = []byte(trace.Magic)
	for {
		chunks, _ := rec.take(0)
		if len(chunks) == 0 {
			break
		}
		file = append(file, joinChunks(chunks)...)
	}
	rec.add(trace.Event{At: 2 * most})
	chunks, _ := rec.take(0)
	file = append(file, joinChunks(chunks)...)
	if err := trace.Read(bytes.NewReader(file), func(ev trace.Event) {
		if ev.At <= last {
			t.Fatalf("event %d is of %d, after one of %d", n, ev.At, last)
		}
		n, last = n+1, ev.At
	}); err != nil {
		t.Fatal(err)
	}
	if n+dropped != most+1 || last != 2*most {
		t.Errorf("%d events read, the last of %d, and %d dropped, of %d", n, last, dropped, most+1)
	}
}
