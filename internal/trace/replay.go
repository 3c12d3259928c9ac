package trace

import (
	"encoding/binary"

	"credproxy/lru"
)

// Setting is what a trace is replayed against.
type Setting struct {
	Budget lru.Budget
	Policy lru.Policy
}

// Result is what would have happened.
type Result struct {
	Accesses  int64 // uses of sessions
	Sessions  int64 // how many there are; the first use of each is no restore, whatever the policy
	Restores  int64 // uses that had to wait for Postgres, first uses left out
	Bytes     int64 // that the restores brought back
	Evictions int64
}

// Rate is which part of the uses had to wait for a restore, from 0 to 1; first uses count on neither side.
func (r Result) Rate() float64 {
	if r.Accesses <= r.Sessions {
		return 0
	}
	return float64(r.Restores) / float64(r.Accesses-r.Sessions)
}

// Replay is one setting on its way through a trace: Access for every event in order, then Result. It is for one goroutine.
type Replay struct {
	setting Setting
	table   *lru.Table[struct{}]
	victims []*lru.Item[struct{}]
	result  Result
}

// NewReplay starts with an empty Redis.
func NewReplay(s Setting) *Replay {
	// One shard: a single thread replays, and policies that keep their order within shards then keep it exactly.
	r := &Replay{setting: s, table: lru.New[struct{}](1)}
	r.table.SetPolicy(s.Policy)
	return r
}

// Access plays one event.
func (r *Replay) Access(ev Event) {
	var id [8]byte
	binary.BigEndian.PutUint64(id[:], ev.Session)
	r.result.Accesses++
	sh, it := r.table.Acquire(id[:])
	if it == nil {
		r.result.Sessions++
		it = sh.Add(string(id[:]), ev.At)
	} else if !sh.Listed(it) {
		r.result.Restores++
		r.result.Bytes += max(ev.Bytes, it.Bytes)
	}
	sh.Touch(it, ev.At)
	if ev.Bytes > 0 { // a recorded size of 0 is one that was not known yet
		sh.SetBytes(it, ev.Bytes)
	}
	sh.List(it)
	sh.Unlock()
	r.enforce(it)
}

// enforce evicts as the proxy does: above the threshold, down to the target. The session in use stays.
func (r *Replay) enforce(using *lru.Item[struct{}]) {
	for excess := r.setting.Budget.Excess(r.table.Bytes()); excess > 0; {
		r.victims = r.table.Victims(r.victims[:0], 64, func(it *lru.Item[struct{}]) bool { return it != using })
		if len(r.victims) == 0 {
			return
		}
		for _, it := range r.victims {
			if excess <= 0 {
				return
			}
			sh := r.table.ShardString(it.Key)
			sh.Lock()
			sh.Unlist(it)
			sh.Unlock()
			excess -= it.Bytes
			r.result.Evictions++
		}
	}
}

// Result is what has happened so far.
func (r *Replay) Result() Result { return r.result }
