package proxy

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"credproxy/keyspace"
)

// WaitPart is one of the things that a command can wait for before it may run on its session.
type WaitPart uint8

const (
	WaitQueue    WaitPart = iota // its turn: a place among the restores, another attempt after an error
	WaitRoom                     // other sessions to be evicted, so that this one fits
	WaitPostgres                 // Postgres to send the session, or to delete it
	WaitRedis                    // Redis to take the session
	WaitEviction                 // an eviction of the session to end
	WaitUnsaved                  // changes to be saved, of which too many are waiting
	waitParts
)

// waitNames are the parts as replies and the log call them.
var waitNames = [waitParts]string{"queue", "room", "postgres", "redis", "eviction", "unsaved"}

func (p WaitPart) String() string { return waitNames[p] }

// SlowWait is a command that has waited long for its session. It holds nothing that the client has sent but the session's id.
type SlowWait struct {
	ID      int64 // rises
	At      time.Time
	Took    time.Duration
	Parts   [waitParts]time.Duration
	Session string // the one that it waited for the longest, keyspace/id
	Command string // as the command table calls it
	Client  string // address
	Failed  bool   // it got an error instead of running
}

// Part is what most of the time went to.
func (w *SlowWait) Part() WaitPart {
	most := WaitQueue
	for p := range waitParts {
		if w.Parts[p] > w.Parts[most] {
			most = p
		}
	}
	return most
}

func (w *SlowWait) pairs() []pair {
	list := []pair{
		{"id", w.ID}, {"at", w.At.UnixMilli()}, {"took_us", w.Took.Microseconds()}, {"session", w.Session}, {"command", w.Command},
		{"part", w.Part().String()}, {"client", w.Client}, {"failed", boolInt(w.Failed)},
	}
	for p, d := range w.Parts {
		list = append(list, pair{waitNames[p] + "_us", d.Microseconds()})
	}
	return list
}

// slowLogLength is how many commands the slow log keeps.
const slowLogLength = 128

// slowLog keeps the last of them.
type slowLog struct {
	mu   sync.Mutex // guards the rest
	ring [slowLogLength]SlowWait
	last int64 // ID of the latest
	kept int   // how many of the ring count
}

// add gives an entry its number and keeps it.
func (l *slowLog) add(w SlowWait) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	w.ID = l.last
	l.ring[l.last%slowLogLength] = w
	l.kept = min(l.kept+1, slowLogLength)
}

// newest returns the last n, the youngest first; n < 0: all.
func (l *slowLog) newest(n int) []SlowWait {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n < 0 || n > l.kept {
		n = l.kept
	}
	list := make([]SlowWait, n)
	for i := range list {
		list[i] = l.ring[(l.last-int64(i))%slowLogLength]
	}
	return list
}

func (l *slowLog) length() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept
}

// reset forgets the entries; numbers go on, so that who has seen some takes no new one for an old one.
func (l *slowLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring, l.kept = [slowLogLength]SlowWait{}, 0
}

// SlowLog returns the last n commands that waited long for their sessions, the youngest first; n < 0: all that are kept.
func (s *Server) SlowLog(n int) []SlowWait { return s.slow.newest(n) }

// SlowThreshold is how long a command waits that goes into the slow log; 0: none does.
func (s *Server) SlowThreshold() time.Duration { return s.rules.Load().slow }

// stopwatch says what a flight spends its time on.
type stopwatch struct {
	mu    sync.Mutex // guards the rest
	part  WaitPart
	since time.Time // of part; zero: it does not run
	spent [waitParts]time.Duration
}

// to ends a part and begins another.
func (w *stopwatch) to(p WaitPart) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.since.IsZero() {
		w.spent[w.part] += now.Sub(w.since)
	}
	w.part, w.since = p, now
}

// read returns the parts until now.
func (w *stopwatch) read() [waitParts]time.Duration {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	spent := w.spent
	if !w.since.IsZero() {
		spent[w.part] += now.Sub(w.since)
	}
	return spent
}

// waited adds up what one command waits for at the gates of its sessions. A nil one adds nothing up.
type waited struct {
	began    time.Time
	parts    [waitParts]time.Duration
	identity string        // of the session that it waited for the longest
	longest  time.Duration // for that one
}

// watch looks at a flight until the returned function is called: that part of it the command has waited for. So who joins a
// restore late is told of its own wait only.
func (w *waited) watch(r ref, fl *flight) (done func()) {
	if w == nil {
		return func() {}
	}
	began, before := time.Now(), fl.watch.read()
	return func() {
		after := fl.watch.read()
		for p := range w.parts {
			w.parts[p] += after[p] - before[p]
		}
		if d := time.Since(began); d > w.longest {
			w.identity, w.longest = r.it.Key, d
		}
	}
}

// noteWait puts a command that has waited long into the slow log.
func (c *client) noteWait(w *waited, cmd *keyspace.Command, failed bool) {
	took := time.Since(w.began)
	if c.rules.slow <= 0 || took < c.rules.slow || cmd == nil {
		return
	}
	e := SlowWait{At: w.began, Took: took, Parts: w.parts, Command: cmd.Name, Client: c.conn.RemoteAddr().String(), Failed: failed}
	rest := took
	for _, d := range w.parts {
		rest -= d
	}
	e.Parts[WaitQueue] += max(rest, 0)
	if w.identity != "" {
		e.Session = c.s.sessions.id(w.identity).String()
	}
	c.s.stats.slow.Add(1)
	c.s.slow.add(e)
	c.s.alarms.waited(&e)
}

// SlowLogger is the last part of the name under which slow commands are logged.
const SlowLogger = "slow"

// waited logs a slow command.
func (a *alarms) waited(w *SlowWait) {
	level := hclog.Info
	if w.Failed {
		level = hclog.Warn
	}
	a.eventOf(a.slow, "slow", 5, level, "a command waited for its session", "session", w.Session, "command", w.Command,
		"took", w.Took.Round(time.Millisecond).String(), "mostly_for", w.Part().String(),
		"postgres", w.Parts[WaitPostgres].Round(time.Millisecond).String(), "redis", w.Parts[WaitRedis].Round(time.Millisecond).String(), "failed", w.Failed)
}
