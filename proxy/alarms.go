package proxy

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"credproxy/internal/session"
)

// alarms turns states that last into one log line when they begin, one a minute while they last, and one when they end; of events
// that repeat it logs some and counts the rest (repeats.go). Values that are neither texts nor plain numbers are made texts here: in
// JSON an id would be an object, and a duration a number of nobody knows what.
type alarms struct {
	log  hclog.Logger
	slow hclog.Logger // of the slow log

	mu      sync.Mutex // guards the rest
	since   map[string]time.Time
	said    map[string]time.Time // the last time
	told    map[string]bool      // said since it began
	repeats map[string]*repeats  // by kind
}

const (
	// alarmEvery is how often a lasting state is repeated in the log.
	alarmEvery = time.Minute
	// alarmLasts is how long a state that was in the log less than that ago must last to be there again: one that comes and goes many
	// times a second makes no lines.
	alarmLasts = 5 * time.Second
)

func newAlarms(log hclog.Logger) *alarms {
	return &alarms{log: log, slow: log.Named(SlowLogger), since: map[string]time.Time{}, said: map[string]time.Time{}, told: map[string]bool{},
		repeats: map[string]*repeats{}}
}

// raise notes that something is wrong and reports whether it is time to say so.
func (a *alarms) raise(what string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if _, on := a.since[what]; !on {
		a.since[what] = now
	}
	if now.Sub(a.said[what]) < alarmEvery && (a.told[what] || now.Sub(a.since[what]) < alarmLasts) {
		return false
	}
	a.said[what], a.told[what] = now, true
	return true
}

// clear ends what raise began and reports how long it was, 0 if it was not, or nobody was told.
func (a *alarms) clear(what string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, on := a.since[what]
	if !on {
		return 0
	}
	told := a.told[what]
	delete(a.since, what)
	delete(a.told, what)
	if !told {
		return 0
	}
	return max(time.Since(at), 1)
}

// on reports whether something is wrong now.
func (a *alarms) on(what string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, on := a.since[what]
	return on
}

// lasts returns for how long something has been wrong, 0 if it is not.
func (a *alarms) lasts(what string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, on := a.since[what]
	if !on {
		return 0
	}
	return max(time.Since(at), 1)
}

const (
	alarmSaving = "saving"
	alarmFull   = "full"
)

func (a *alarms) saving(err error, waiting int64) {
	switch {
	case err == errStaleRun:
	case err != nil:
		if a.raise(alarmSaving) {
			a.log.Error("changed keys cannot be saved: they stay in Redis, marked, and nothing is evicted until Postgres is back",
				"waiting_keys", waiting, "error", err)
		}
	default:
		if d := a.clear(alarmSaving); d > 0 {
			a.log.Info("saving works again", "after", d.Round(time.Millisecond).String())
		}
	}
}

// full is told whether memory is over the threshold while nothing may go, and what keeps it.
func (a *alarms) full(on bool, m sample, why string) {
	if !on {
		if d := a.clear(alarmFull); d > 0 {
			a.log.Info("memory is under the threshold again", "used_bytes", m.used)
		}
		return
	}
	if a.raise(alarmFull) {
		a.log.Error("memory is over the threshold and no session may be evicted: Redis will refuse writes when it is full",
			"used_bytes", m.used, "why", why)
	}
}

// space is told whether a keyspace is over its own budget and none of its sessions may go.
func (a *alarms) space(name string, on bool) {
	what := "budget of " + name
	if !on {
		a.clear(what)
		return
	}
	if a.raise(what) {
		a.log.Warn("a keyspace is over its max and none of its sessions may be evicted now: CREDPROXY SESSION says why for each", "keyspace", name)
	}
}

// policy is told why memory could not be brought under the target. A session that a client used just then is no trouble: others go, or
// it the next time.
func (a *alarms) policy(err error) {
	if errors.As(err, new(errNotEvictable)) {
		return
	}
	if a.raise("policy") {
		a.log.Error("memory policy is not enforced", "error", err)
	}
}

func (a *alarms) restore(id session.ID, err error) {
	a.event("restore", 5, hclog.Error, "a session cannot be restored; commands on it wait up to restore.wait", "session", id.String(), "error", err)
}

func (a *alarms) adopting(db int, err error) {
	if a.raise("adopting") {
		a.log.Error("sessions that were in Redis before the proxy cannot be adopted yet", "db", db, "error", err)
	}
}

func (a *alarms) strange(space string) {
	if a.raise("keyspace " + space) {
		a.log.Warn("Postgres holds sessions of a keyspace that the configuration does not name: they are out of reach until it does",
			"keyspace", space)
	}
}

// foreign is told of a stored key that is not of the session with which it is stored.
func (a *alarms) foreign(id session.ID, key string) {
	a.event("foreign key", 5, hclog.Error, "Postgres holds a key that is none of its session's; it is left out", "session", id.String(), "key", key)
}

// poisoned is told of the keys of a session that cannot be restored, with the reasons.
func (a *alarms) poisoned(id session.ID, keys map[string]string) {
	for key, why := range keys {
		a.event("poison", 20, hclog.Error, "a stored key cannot be restored; commands that name it get an error, the rest of the session is served",
			"session", id.String(), "key", key, "reason", why)
	}
}

// avoided is told of a session that the policy could not evict.
func (a *alarms) avoided(id session.ID, why error) {
	a.event("evict", 10, hclog.Warn, "a session could not be evicted and is passed over for a while", "session", id.String(), "error", why)
}

// astray is told of a key that restore.source has returned for a session of which it is none.
func (a *alarms) astray(id session.ID, key string) {
	a.event("source key", 5, hclog.Error, "restore.source returned a key that is not the session's; it is left out", "session", id.String(), "key", key)
}

// refused is told of every wrong password that the proxy itself has refused.
func (a *alarms) refused(from net.Addr) {
	a.event("auth", 5, hclog.Warn, "a client gave a wrong password", "client", from.String())
}

// handshake is told of every client that did not get through its TLS handshake.
func (a *alarms) handshake(from net.Addr, err error) {
	a.event("handshake", 5, hclog.Warn, "a client was not let in", "client", from.String(), "error", err)
}

func (a *alarms) heat(err error) {
	if err == nil {
		a.clear("heat")
		return
	}
	if a.raise("heat") {
		a.log.Warn("access times cannot be written to Redis", "error", err)
	}
}
