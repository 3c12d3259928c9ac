package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"time"
)

// worker is one client with a goroutine of its own, for connections that speak TLS.
type worker struct {
	r      *runner
	number int
	arrive *schedule // nil: the next pipeline follows the last reply
	conn   net.Conn
	hangUp func() bool
	in     []byte
	unread []byte // what is left of in
	judge  judge
}

// workerRead is what one read may return: it holds one reply of most loads, or a pipeline of small ones.
const workerRead = 16 << 10

// run is a client's life: send a pipeline, read its replies, again.
func (w *worker) run(ctx context.Context) error {
	rng := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	var out []byte
	want := make([]expect, w.r.pipeline)
	settled := false // what is not answered within the measured time has been counted
	for turn := 0; ; turn++ {
		start, err := w.begin(ctx, turn)
		if err != nil || w.r.phase.Load() == stopping {
			return err
		}
		out = out[:0]
		for i := range want {
			out = w.r.load.next(out, rng, &want[i])
		}
		if _, err := w.conn.Write(out); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		for i := range want {
			if err := w.reply(&want[i]); err != nil {
				return err
			}
			if took := w.r.clock() - start; w.r.phase.Load() == measuring {
				w.r.count(took, 1)
			}
		}
		if !settled && w.r.ended.Load() > 0 {
			settled = true
			w.unanswered(turn)
		}
	}
}

// begin waits for the time at which the pipeline should be sent, or for the end, and returns it.
func (w *worker) begin(ctx context.Context, turn int) (time.Duration, error) {
	if w.arrive == nil {
		return w.r.clock(), nil
	}
	at := w.arrive.at(w.number, turn)
	for w.r.phase.Load() != stopping {
		left := at - w.r.clock()
		if left <= 0 {
			break
		}
		if err := wait(ctx, min(left, longestWait)); err != nil {
			return at, err
		}
	}
	return at, nil
}

// reply reads one.
func (w *worker) reply(want *expect) error {
	for {
		if len(w.unread) == 0 {
			n, err := w.conn.Read(w.in)
			if err != nil {
				return fmt.Errorf("read reply: %w", err)
			}
			w.unread = w.in[:n]
		}
		n, v, err := w.judge.take(want, w.unread)
		if err != nil {
			return err
		}
		w.unread = w.unread[n:]
		if !v.done {
			continue
		}
		if v.wrong != "" {
			w.r.note(v.wrong)
		}
		return nil
	}
}

// unanswered counts what should have been sent within the measured time, from a turn on, and was not answered in it.
func (w *worker) unanswered(turn int) {
	if w.arrive == nil {
		return
	}
	end := time.Duration(w.r.ended.Load())
	for at := w.arrive.at(w.number, turn); at < end; at = w.arrive.at(w.number, turn) {
		w.r.late(end-at, w.r.pipeline)
		turn++
	}
}

// newWorker connects a client.
func newWorker(ctx context.Context, r *runner, number int) (*worker, error) {
	c, err := r.target.dial(ctx, time.Now().Add(maxDuration))
	if err != nil {
		return nil, err
	}
	w := &worker{r: r, number: number, conn: c.Conn, in: make([]byte, workerRead)}
	// A read that waits for a reply ends with the measurement.
	w.hangUp = context.AfterFunc(ctx, func() { c.Close() })
	return w, nil
}

func (w *worker) close() {
	w.hangUp()
	w.conn.Close()
}
