package proxy

import "time"

// pace decides when the next batch begins: late enough that what is written again meanwhile is saved once, early enough that each change is
// in Postgres within the interval of being made. So batches stand apart, and clients have the processors between them.
type pace struct {
	interval time.Duration
	batch    time.Duration // what batches have taken lately, the longest
	each     time.Duration // of that, for one session
	rested   time.Time     // when the next batch may begin, unless somebody waits for it
}

// longestRest bounds the pause after a batch, however long that took, in intervals.
const longestRest = 5

// note learns from what n sessions have taken, up to now. The pause that follows is as long: where clients change more than can be saved
// beside them, half of the time is theirs.
func (p *pace) note(n int, took time.Duration, now time.Time) {
	p.batch = max(took, p.batch*7/8)
	p.each += (took/time.Duration(max(n, 1)) - p.each) / 4
	p.rested = now.Add(min(took, longestRest*p.interval))
}

// slack is how long a session may wait for its batch to begin. A quarter of the interval is for timers that are late, and for batches
// that are slower than those before, as they are on a busy machine.
func (p *pace) slack() time.Duration { return p.interval*3/4 - p.batch }

// wait returns how long nothing needs to be begun, if nothing more is queued.
func (p *pace) wait(q *saveQueue, now time.Time) time.Duration {
	return max(q.due(p, now).Sub(now), p.rested.Sub(now), 0)
}

// recheck is how often the queue is looked at that was not due: so much may have come that saving it takes the rest of the interval.
func (p *pace) recheck() time.Duration { return p.interval / 4 }
