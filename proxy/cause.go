package proxy

import "time"

// cause is why a session was evicted.
type cause uint8

const (
	unrecorded  cause = iota // by an earlier process
	overMemory               // memory was over the threshold
	overSpace                // its keyspace was over a budget of its own
	idleTooLong              // idle for inactivity_ttl
	atMaxmemory              // Redis was at its own limit
	byHand                   // somebody wanted it
)

var causeTexts = [...]string{"by an earlier process", "because memory was over the threshold", "because its keyspace was over its max",
	"because it was idle for inactivity_ttl", "because Redis was at its maxmemory", "by hand"}

// leftLocked notes an eviction.
func (g *gate) leftLocked(why cause, ghost uint32) {
	g.why, g.left, g.ghost = why, uint32(time.Now().Unix()), ghost
}

// atWork reports whether a session was used within the inactivity_ttl of its keyspace.
func (v *vantage) atWork(it *item) bool {
	return v.now-it.LastAccess < v.plan.of(int(numberOf(it.Key))).ttl.Milliseconds()
}
