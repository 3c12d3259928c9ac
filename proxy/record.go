package proxy

import (
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"credproxy/internal/resp"
	"credproxy/internal/trace"
)

// recorder lets an operator record which sessions are used when (CREDPROXY RECORD), to replay it against other budgets and
// policies. While nobody records, it costs the gate one look at a pointer.
type recorder struct{ active atomic.Pointer[recording] }

// recording is one trace under way. Sessions appear in it as hashes with a secret of its own: a trace may be given to others.
type recording struct {
	seed maphash.Seed
	read atomic.Int64 // when somebody read last, unix milliseconds

	mu      sync.Mutex // guards what follows; taken under a shard's lock, a leaf
	encoder trace.Encoder
	chunks  [][]byte // full but for the last
	dropped int64    // events for which there was no room, ever
}

const (
	// recordTick is the time, in milliseconds, within which the uses of a session count as one: a bot sends its commands in bursts.
	recordTick = 100
	// recordChunk and recordChunks bound what waits to be read: 16 MB, more than a million events.
	recordChunk  = 64 << 10
	recordChunks = 256
	// recordBatch is the most that one reply holds, in chunks.
	recordBatch = 16
	// recordPatience is when a recording that nobody reads is given up, in milliseconds.
	recordPatience = 30_000
	// eventRoom is more than the longest event takes, in bytes.
	eventRoom = 32
)

// used notes the use of a session that is resident, before it is touched.
func (t *recorder) used(it *item, now int64) {
	if rec := t.active.Load(); rec != nil && now/recordTick != it.LastAccess/recordTick {
		t.add(rec, it, now)
	}
}

// restored notes the use of a session that has to be restored.
func (t *recorder) restored(it *item, now int64) {
	if rec := t.active.Load(); rec != nil {
		t.add(rec, it, now)
	}
}

func (t *recorder) add(rec *recording, it *item, now int64) {
	if rec.abandoned(now) {
		t.active.CompareAndSwap(rec, nil)
		return
	}
	rec.add(trace.Event{At: now, Session: maphash.String(rec.seed, it.Key), Bytes: it.Bytes})
}

func (rec *recording) abandoned(now int64) bool { return now-rec.read.Load() > recordPatience }

func (rec *recording) add(ev trace.Event) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	last := len(rec.chunks) - 1
	if last < 0 || cap(rec.chunks[last])-len(rec.chunks[last]) < eventRoom {
		if len(rec.chunks) == recordChunks {
			rec.dropped++
			return
		}
		rec.chunks = append(rec.chunks, make([]byte, 0, recordChunk))
		last++
	}
	rec.chunks[last] = rec.encoder.Append(rec.chunks[last], ev)
}

// take returns what has been recorded since it was called last, up to a batch of it, and how many events were dropped so far.
func (rec *recording) take(now int64) (chunks [][]byte, dropped int64) {
	rec.read.Store(now)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	n := min(len(rec.chunks), recordBatch)
	chunks, rec.chunks = rec.chunks[:n:n], rec.chunks[n:]
	return chunks, rec.dropped
}

// start begins a recording, unless one is under way.
func (t *recorder) start(now int64) error {
	old := t.active.Load()
	if old != nil && !old.abandoned(now) {
		return fmt.Errorf("a recording is under way: end it with CREDPROXY RECORD STOP, or wait %d seconds after its last READ", recordPatience/1000)
	}
	rec := &recording{seed: maphash.MakeSeed()}
	rec.read.Store(now)
	if !t.active.CompareAndSwap(old, rec) {
		return fmt.Errorf("a recording has just been started by somebody else")
	}
	return nil
}

// adminRecord starts a recording, hands out what it has (how many events were dropped, and encoded events: package trace), ends it.
func (c *client) adminRecord(args []string) {
	t, now := &c.s.sessions.recorder, time.Now().UnixMilli()
	switch strings.ToUpper(args[0]) {
	case "START":
		if err := t.start(now); err != nil {
			c.emit(errorReply(nil, "ERR credproxy: "+err.Error()))
			return
		}
		c.s.log.Info("an access trace is being recorded")
		c.emit(replyOK)
	case "READ":
		rec := t.active.Load()
		if rec == nil {
			c.emit(errorReply(nil, "ERR credproxy: nothing is being recorded: CREDPROXY RECORD START begins it"))
			return
		}
		chunks, dropped := rec.take(now)
		c.emit(resp.AppendBulk(resp.AppendInt(resp.AppendArray(nil, 2), dropped), joinChunks(chunks)))
	case "STOP":
		t.active.Store(nil)
		c.s.log.Info("the recording of an access trace is over")
		c.emit(replyOK)
	default:
		c.emit(errorReply(nil, textSyntax))
	}
}

func joinChunks(chunks [][]byte) []byte {
	var all []byte
	for _, c := range chunks {
		all = append(all, c...)
	}
	return all
}
