package proxy

import (
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"credproxy/internal/session"
)

// alarms turns states that last into one log line when they begin, one a minute while they last, and one when they end.
type alarms struct {
	log hclog.Logger

	mu    sync.Mutex // guards since and said
	since map[string]time.Time
	said  map[string]time.Time
}

// alarmEvery is how often a lasting state is repeated in the log.
const alarmEvery = time.Minute

func newAlarms(log hclog.Logger) *alarms {
	return &alarms{log: log, since: map[string]time.Time{}, said: map[string]time.Time{}}
}

// raise notes that something is wrong and reports whether it is time to say so.
func (a *alarms) raise(what string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if _, on := a.since[what]; !on {
		a.since[what] = now
	}
	if now.Sub(a.said[what]) < alarmEvery {
		return false
	}
	a.said[what] = now
	return true
}

// clear ends what raise began and reports how long it was, 0 if it was not.
func (a *alarms) clear(what string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, on := a.since[what]
	if !on {
		return 0
	}
	delete(a.since, what)
	delete(a.said, what)
	return time.Since(at)
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
			a.log.Info("saving works again", "after", d.Round(time.Millisecond))
		}
	}
}

func (a *alarms) full(on bool, m sample) {
	if !on {
		if d := a.clear(alarmFull); d > 0 {
			a.log.Info("memory is under the threshold again", "used_bytes", m.used)
		}
		return
	}
	if a.raise(alarmFull) {
		a.log.Error("memory is over the threshold and no session may be evicted: Redis will refuse writes when it is full",
			"used_bytes", m.used)
	}
}

func (a *alarms) policy(err error) {
	if a.raise("policy") {
		a.log.Error("memory policy is not enforced", "error", err)
	}
}

func (a *alarms) restore(id session.ID, err error) {
	if a.raise("restore") {
		a.log.Error("a session cannot be restored; commands on it wait up to restore.wait", "session", id, "error", err)
	}
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
	if a.raise("foreign key") {
		a.log.Error("Postgres holds a key that is none of its session's; it is left out, further ones are logged once a minute",
			"session", id, "key", key)
	}
}

// refused is told of every wrong password that the proxy itself has refused.
func (a *alarms) refused(from net.Addr) {
	if a.raise("auth") {
		a.log.Warn("a client gave a wrong password; further ones are logged once a minute", "client", from)
	}
}

// handshake is told of every client that did not get through its TLS handshake.
func (a *alarms) handshake(from net.Addr, err error) {
	if a.raise("handshake") {
		a.log.Warn("a client was not let in; further ones are logged once a minute", "client", from, "error", err)
	}
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
