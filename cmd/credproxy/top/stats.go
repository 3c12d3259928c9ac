package top

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"credproxy/internal/human"
)

// Stats is one answer of CREDPROXY STATS, by name.
type Stats map[string]string

// readPairs reads a flat array of names and values.
func readPairs(reply any) (Stats, error) {
	flat, ok := reply.([]any)
	if !ok || len(flat)%2 != 0 {
		return nil, fmt.Errorf("read reply: the proxy answered with %T, not with names and values", reply)
	}
	st := make(Stats, len(flat)/2)
	for i := 0; i < len(flat); i += 2 {
		st[fmt.Sprint(flat[i])] = fmt.Sprint(flat[i+1])
	}
	return st, nil
}

// n is a number, 0 if it was not told: older proxies do not know all of them.
func (st Stats) n(name string) float64 {
	n, err := strconv.ParseFloat(st[name], 64)
	if err != nil {
		return 0
	}
	return n
}

func (st Stats) count(name string) string { return human.Count(int64(st.n(name))) }
func (st Stats) size(name string) string  { return human.Size(st.n(name)) }

func (st Stats) micros(name string) string {
	return human.Duration(time.Duration(st.n(name)) * time.Microsecond)
}

func (st Stats) millis(name string) string {
	return human.Duration(time.Duration(st.n(name)) * time.Millisecond)
}

// lasting is for how long something is so, "" if that is not known.
func (st Stats) lasting(name string) string {
	if st.n(name) == 0 {
		return ""
	}
	return " (for " + human.Age(time.Duration(st.n(name))*time.Millisecond) + ")"
}

// advice is what would end thrashing.
func (st Stats) advice() string {
	if st.n("advised_max_bytes") == 0 {
		return "Raise their keyspace's max."
	}
	return "memory.max " + st.size("advised_max_bytes") + " would do."
}

// hitRatio is how many of the commands on sessions found theirs in Redis, in percent; NaN when there were none.
func (st Stats) hitRatio() float64 {
	hits, misses := st.n("hits"), st.n("misses")
	return 100 * hits / (hits + misses)
}

// percent writes a share, "-" for none. It calls nothing 100 % of which a little is missing.
func percent(p float64) string {
	if math.IsNaN(p) {
		return "-"
	}
	if p < 100 {
		p = min(p, 99.9)
	}
	return strconv.FormatFloat(p, 'f', 1, 64) + " %"
}

// Session is one entry of CREDPROXY SESSIONS.
type Session struct {
	Name       string // keyspace@db/id, which EVICT and its like take
	ID         string
	Keyspace   string
	State      string
	LastAccess int64 // unix milliseconds
	Idle       time.Duration
	Hits       int64
	Bytes      int64
	Dirty      int64
	Pinned     bool
}

func readSessions(reply any) ([]Session, error) {
	rows, ok := reply.([]any)
	if !ok {
		return nil, fmt.Errorf("read sessions: the proxy answered with %T", reply)
	}
	list := make([]Session, len(rows))
	for i, row := range rows {
		st, err := readPairs(row)
		if err != nil {
			return nil, err
		}
		list[i] = Session{
			Name: st["keyspace"] + "@" + st["db"] + "/" + st["id"], ID: st["id"], Keyspace: st["keyspace"], State: st["state"],
			LastAccess: int64(st.n("last_access")), Idle: time.Duration(st.n("idle_ms")) * time.Millisecond,
			Hits: int64(st.n("hits")), Bytes: int64(st.n("bytes")), Dirty: int64(st.n("dirty")), Pinned: st.n("pinned") != 0,
		}
	}
	return list, nil
}

// idleText is for how long nothing has used the session.
func (s *Session) idleText() string {
	if s.LastAccess <= 0 {
		return "never"
	}
	return human.Age(s.Idle)
}
