package main

import (
	"context"
	"math/rand/v2"
	"runtime"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// loop is many clients on one thread, as in redis-benchmark: what is read from a connection is compared, and the next pipeline
// written, without a goroutine's switch in between. So clients take little of the processors that they share with what they
// measure.
type loop struct {
	r       *runner
	arrive  *schedule // nil: the next pipeline follows the last reply
	epoll   epoll
	clients []loopClient
	in      []byte // what was read last, of any client
	rng     *rand.Rand
	busy    int // clients that wait for replies
	ops     int64
	latency *hdrhistogram.Histogram
}

// loopClient is one connection.
type loopClient struct {
	fd    int
	slot  int
	start time.Duration // when its pipeline was sent, or should have been
	out   []byte        // the pipeline
	sent  int           // bytes of out that the connection has taken
	full  bool          // it took less than all, and says when it takes more
	want  []expect
	next  int // in want
	judge judge
	turns int // pipelines sent, for the schedule
}

// waiting says whether replies are missing.
func (c *loopClient) waiting() bool { return c.next < len(c.want) }

// readSize is what one read may return: many replies of clients with deep pipelines.
const readSize = 256 << 10

// newLoop connects n clients.
func newLoop(r *runner, n int) (*loop, error) {
	l := &loop{r: r, in: make([]byte, readSize), rng: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), latency: newHistogram()}
	var err error
	if l.epoll, err = newEpoll(); err != nil {
		return nil, err
	}
	for slot := range n {
		fd, err := connectRaw(r.target.addr)
		if err == nil {
			l.clients = append(l.clients, loopClient{fd: fd, slot: slot, want: make([]expect, r.pipeline), next: r.pipeline})
			err = l.epoll.set(syscall.EPOLL_CTL_ADD, fd, slot, syscall.EPOLLIN)
		}
		if err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

func (l *loop) close() {
	for i := range l.clients {
		_ = syscall.Close(l.clients[i].fd) // nothing is under way in it that anybody waits for
	}
	l.epoll.close()
}

// longestWait is how often a loop looks at the phase when nothing else happens.
const longestWait = 20 * time.Millisecond

// run goes on until the phase is stopping and all replies are there, or until ctx ends.
func (l *loop) run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer func() { l.r.merge(l.latency, l.ops) }()
	events := make([]syscall.EpollEvent, 512)
	counting := false
	if err := l.begin(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		n, err := l.epoll.wait(events, l.patience())
		if err != nil {
			return err
		}
		phase := l.r.phase.Load()
		if counting && phase != measuring {
			l.unanswered(l.r.clock())
		}
		counting = phase == measuring
		for i := range n {
			if err := l.handle(&l.clients[events[i].Fd], phase); err != nil {
				return err
			}
		}
		if phase == stopping && l.busy == 0 {
			return nil
		}
		if err := l.arrivals(phase); err != nil {
			return err
		}
	}
	return nil // the cause is the context's
}

// begin lets all clients of a closed loop send.
func (l *loop) begin() error {
	if l.arrive != nil {
		return precise()
	}
	for i := range l.clients {
		if err := l.send(&l.clients[i], l.r.clock()); err != nil {
			return err
		}
	}
	return nil
}

// send writes a new pipeline. Its latencies count from start.
func (l *loop) send(c *loopClient, start time.Duration) error {
	c.out = c.out[:0]
	for i := range c.want {
		c.out = l.r.load.next(c.out, l.rng, &c.want[i])
	}
	c.start, c.sent, c.next = start, 0, 0
	c.turns++
	l.busy++
	return l.flush(c)
}

// flush writes the rest of a pipeline.
func (l *loop) flush(c *loopClient) error {
	n, err := send(c.fd, c.out[c.sent:])
	if err != nil {
		return err
	}
	c.sent += n
	if full := c.sent < len(c.out); full != c.full {
		c.full = full
		events := uint32(syscall.EPOLLIN)
		if full {
			events |= syscall.EPOLLOUT
		}
		return l.epoll.set(syscall.EPOLL_CTL_MOD, c.fd, c.slot, events)
	}
	return nil
}

// handle does what a connection is ready for.
func (l *loop) handle(c *loopClient, phase int32) error {
	if c.full {
		if err := l.flush(c); err != nil {
			return err
		}
	}
	n, err := receive(c.fd, l.in)
	if err != nil || n == 0 {
		return err
	}
	if err := l.replies(c, l.in[:n], phase == measuring); err != nil {
		return err
	}
	if c.waiting() {
		return nil
	}
	l.busy--
	switch {
	case phase == stopping:
		return nil
	case l.arrive != nil:
		return l.sendDue(c)
	}
	return l.send(c, l.r.clock())
}

// replies takes all replies in data.
func (l *loop) replies(c *loopClient, data []byte, counts bool) error {
	took := min(l.r.clock()-c.start, maxLatency)
	for len(data) > 0 {
		if !c.waiting() {
			return errReply // more replies than commands
		}
		n, v, err := c.judge.take(&c.want[c.next], data)
		if err != nil {
			return err
		}
		data = data[n:]
		if !v.done {
			continue
		}
		c.next++
		if v.wrong != "" {
			l.r.note(v.wrong)
		}
		if counts {
			l.ops++
			_ = l.latency.RecordValue(int64(took)) // within its range, so it cannot fail
		}
	}
	return nil
}
