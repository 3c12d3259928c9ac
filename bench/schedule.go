package main

import (
	"syscall"
	"time"
)

// schedule says when pipelines should be sent in the open loop: evenly, whatever the target does, and by the clients in turn. A
// client that still waits for replies sends later; the latency counts from when it should have sent. So a target that stalls
// is charged for all who had to wait (coordinated omission).
type schedule struct {
	start    time.Duration // of the first
	interval time.Duration // between two, of all clients together
	clients  int
	due      int // pipelines whose time has come
}

// newSchedule is of one of several loops, each of which has a share of the rate.
func newSchedule(start time.Duration, rate float64, pipeline, clients, all int) *schedule {
	share := rate * float64(clients) / float64(all)
	return &schedule{start: start, clients: clients, interval: time.Duration(float64(time.Second) * float64(pipeline) / share)}
}

// at returns when a client should send its n-th pipeline.
func (s *schedule) at(client, n int) time.Duration {
	return s.start + time.Duration(n*s.clients+client)*s.interval
}

// until is how long nothing becomes due.
func (s *schedule) until(now time.Duration) time.Duration {
	return s.start + time.Duration(s.due)*s.interval - now
}

// advance returns the clients' numbers, from first to before last, whose time has come; modulo the number of clients.
func (s *schedule) advance(now time.Duration) (first, last int) {
	first = s.due
	if now >= s.start {
		s.due = max(s.due, int((now-s.start)/s.interval)+1)
	}
	return first, s.due
}

// owed is how many pipelines of a client are due in all.
func (s *schedule) owed(client int) int {
	if s.due <= client {
		return 0
	}
	return (s.due-client-1)/s.clients + 1
}

// patience is how long a loop may wait for events.
func (l *loop) patience() time.Duration {
	if l.arrive == nil {
		return longestWait
	}
	return min(max(l.arrive.until(l.r.clock()), 0), longestWait)
}

// arrivals lets the clients send whose time has come. Who still waits for replies sends when they are there.
func (l *loop) arrivals(phase int32) error {
	if l.arrive == nil || phase == stopping {
		return nil
	}
	first, last := l.arrive.advance(l.r.clock())
	for k := first; k < min(last, first+len(l.clients)); k++ {
		if c := &l.clients[k%len(l.clients)]; !c.waiting() {
			if err := l.sendDue(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// sendDue sends the next pipeline of a client, if its time has come.
func (l *loop) sendDue(c *loopClient) error {
	if c.turns >= l.arrive.owed(c.slot) {
		return nil
	}
	return l.send(c, l.arrive.at(c.slot, c.turns))
}

// unanswered counts, at the end of the measured time, what should have been sent and has no reply: it has waited at least until
// now.
func (l *loop) unanswered(now time.Duration) {
	if l.arrive == nil {
		return
	}
	l.arrive.advance(now)
	for i := range l.clients {
		c := &l.clients[i]
		record := func(since time.Duration, commands int) {
			took := min(max(now-since, 0), maxLatency)
			_ = l.latency.RecordValues(int64(took), int64(commands)) // within its range
		}
		record(c.start, len(c.want)-c.next)
		for n := c.turns; n < l.arrive.owed(i); n++ {
			record(l.arrive.at(i, n), len(c.want))
		}
	}
}

// precise lets this thread's timers end when they should: the kernel allows itself 50 microseconds else.
func precise() error {
	const setTimerSlack = 29
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, 1, 0); errno != 0 {
		return errno
	}
	return nil
}
