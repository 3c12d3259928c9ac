package proxy

import (
	"testing"
	"testing/synctest"
	"time"
)

const paceInterval = 200 * time.Millisecond

// pacedSaves simulates a saver whose batches take a while, and n sessions that are written again as soon as they were taken. It returns
// how long a change waited at most until it was saved, how often a session was saved, and the longest time without a pause.
func pacedSaves(n int, took, during time.Duration) (oldest time.Duration, each float64, longest time.Duration) {
	q, p := &saveQueue{}, &pace{interval: paceInterval}
	for range n {
		q.addLocked(ref{it: &item{}})
	}
	begun, saved, busy := time.Now(), 0, time.Duration(0)
	for time.Since(begun) < during {
		if wait := p.wait(q, time.Now()); wait > 0 {
			time.Sleep(min(wait, p.recheck()))
			busy = 0
			continue
		}
		var batch []ref
		var waited time.Duration
		at, last := time.Now(), q.last()
		for range saveBatch {
			if since, ok := q.waitsSince(); ok {
				waited = max(waited, at.Sub(since))
			}
			r, ok := q.pop(last)
			if !ok {
				break
			}
			r.it.Value.queued = false
			batch = append(batch, r)
			q.addLocked(r) // it is written at once
		}
		time.Sleep(took)
		if time.Since(begun) > 2*paceInterval { // what it takes is known by then
			oldest, saved = max(oldest, waited+took), saved+len(batch)
		}
		busy += took
		longest = max(longest, busy)
		p.note(len(batch), took, time.Now())
	}
	return oldest, float64(saved) / float64(n) / (during - 2*paceInterval).Seconds(), longest
}

// Every change is saved within the interval as long as saving takes no more than half of the time; no session is saved much more often
// than that needs; and clients have their half between any two batches.
func TestSavesKeepTheInterval(t *testing.T) {
	for _, c := range []struct {
		sessions int
		took     time.Duration
	}{{1, time.Millisecond}, {1, 50 * time.Millisecond}, {100, 5 * time.Millisecond}, {1000, 2 * time.Millisecond}, {1000, 10 * time.Millisecond}} {
		synctest.Test(t, func(t *testing.T) {
			oldest, each, longest := pacedSaves(c.sessions, c.took, 20*time.Second)
			if oldest > paceInterval {
				t.Errorf("%d sessions, batches of %s: a change waits %s", c.sessions, c.took, oldest)
			}
			if most := 1.25 / (paceInterval*3/4 - c.took).Seconds(); each > most {
				t.Errorf("%d sessions, batches of %s: each is saved %.1f times a second, want %.1f", c.sessions, c.took, each, most)
			}
			if longest > c.took {
				t.Errorf("%d sessions, batches of %s: batches follow each other without a pause for %s", c.sessions, c.took, longest)
			}
		})
	}
}

// When all that waits cannot be saved within the interval, saving goes on all the time, but for the pauses.
func TestSavesThatAreLateLeaveHalfOfTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		oldest, each, longest := pacedSaves(10_000, 10*time.Millisecond, 20*time.Second)
		const pass = 10_000.0 / saveBatch * 0.02
		if each < 0.9/pass || each > 1.1/pass || longest > 10*time.Millisecond {
			t.Errorf("each session is saved %.2f times a second, want %.2f; a change waits %s; no pause for %s", each, 1/pass, oldest, longest)
		}
	})
}

// With nothing to save the saver sleeps, also after a batch that took longer than the interval: once it did not, and kept a processor busy
// until something was saved faster.
func TestIdleSaverSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, took := range []time.Duration{0, paceInterval, 100 * paceInterval} {
			q, p := &saveQueue{}, &pace{interval: paceInterval}
			p.note(1, took, time.Now())
			time.Sleep(time.Hour)
			if wait := p.wait(q, time.Now()); wait < p.recheck() {
				t.Errorf("after a batch of %v: waits %v", took, wait)
			}
			q.retryLocked(ref{it: &item{}})
			if wait := p.wait(q, time.Now()); wait < p.recheck() {
				t.Errorf("after a batch of %v, a session in flight: waits %v", took, wait)
			}
		}
	})
}

// The pause after a batch is bounded, however long that took; and a slow batch is forgotten.
func TestRestsAreBounded(t *testing.T) {
	now := time.Now()
	q, p := &saveQueue{}, &pace{interval: paceInterval}
	p.note(1, time.Minute, now)
	if rest := p.wait(q, now); rest != longestRest*paceInterval {
		t.Errorf("a pause of %s, want %s", rest, longestRest*paceInterval)
	}
	for range 200 {
		p.note(1, time.Millisecond, now)
	}
	if slack := p.slack(); slack < paceInterval*7/10 {
		t.Errorf("a slow batch long ago still makes a session's turn come after %s", slack)
	}
}

// Sessions that came together and need several batches begin early enough.
func TestManyAtOnceBeginEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, p := &saveQueue{}, &pace{interval: paceInterval}
		p.note(saveBatch, 10*time.Millisecond, time.Now().Add(-time.Hour))
		for range 100 {
			p.note(saveBatch, 10*time.Millisecond, time.Now().Add(-time.Hour))
		}
		q.addLocked(ref{it: &item{}})
		one := p.wait(q, time.Now())
		for range 6 * saveBatch {
			q.addLocked(ref{it: &item{}})
		}
		if many := p.wait(q, time.Now()); many > one-100*time.Millisecond || one < paceInterval/2 {
			t.Errorf("one session waits %s, the first of %d waits %s", one, 6*saveBatch+1, many)
		}
	})
}

// A session whose turn came in vain is looked at again soon, but not in the same pass.
func TestTurnInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, p := &saveQueue{}, &pace{interval: paceInterval}
		r := ref{it: &item{}}
		q.addLocked(r)
		last := q.last()
		if _, ok := q.pop(last); !ok {
			t.Fatal("it is not there")
		}
		r.it.Value.queued = false
		q.retryLocked(r)
		if _, ok := q.pop(last); ok {
			t.Error("it has two turns in one pass")
		}
		if wait := p.wait(q, time.Now()); wait > p.recheck() {
			t.Errorf("its next turn comes after %s", wait)
		}
	})
}
