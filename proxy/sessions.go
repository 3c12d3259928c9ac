package proxy

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"sync/atomic"

	"credproxy/internal/session"
	"credproxy/keyspace"
	"credproxy/lru"
	"credproxy/proxy/upstream"
)

// state is where a session's keys are.
type state uint8

const (
	unknown  state = iota // nobody has looked since this run of Redis began
	loading               // a restore is under way
	resident              // every key of it is in Redis
	evicting              // being taken out; the outcome comes within milliseconds
	evicted               // none of its keys is in Redis, all are in Postgres, be it in the application's tables
)

var stateNames = [...]string{"unknown", "loading", "resident", "evicting", "evicted"}

func (s state) String() string { return stateNames[s] }

// gate is what the proxy keeps for each session beside its heat. The lock of the session's shard guards it.
type gate struct {
	run    upstream.Run // the run of Redis in which it became resident
	in     int32        // how often it was entered, less who left it with the lock; see inFlight
	state  state
	pinned bool
	away   bool    // sync = "off": the application's tables hold it, nothing of it is saved (off.go)
	queued bool    // stands in the saver's queue
	aging  bool    // found by a scan that goes on: it stands in no order until all its keys have said how old it is
	fresh  bool    // made by a touch: its heat of earlier days has not been read yet
	why    cause   // of its last eviction
	more   *detail // nil for a session at rest: clean, nothing under way
	out    int32   // how often it was left without the lock, by whoever has changed nothing; atomic
	left   uint32  // when that was, unix seconds
	sizeKB uint32  // what Redis last said that it takes, for estimates to begin from
	ghost  uint32  // number of its last eviction for want of memory, 0: none (thrash.go)
	loaded int64   // when it last became resident, unix nanoseconds
}

// inFlight counts what keeps the session where it is: commands in flight, open transactions, watched keys, blocked clients.
func (g *gate) inFlight() int32 { return g.in - atomic.LoadInt32(&g.out) }

// detail is what only a session in motion needs.
type detail struct {
	flight   *flight              // the restore or eviction under way
	dirty    map[string]*dirtyKey // changed in Redis, not in Postgres yet
	marks    map[string]*mark     // keys whose mark stands in Redis
	settled  string               // a key whose mark is sure, and that is dirty as a whole; whoever takes from dirty or marks empties it
	held     map[string]int       // keys with a removal in flight: not saved meanwhile
	saving   chan struct{}        // closed when the save that took the dirty keys is over
	storing  chan struct{}        // closed when that has been committed, or has failed: before saving is; nil then
	poison   map[string]string    // keys whose stored form cannot be restored, with the reason
	avoid    int64                // the policy passes it over until then, unix milliseconds
	dirtySeq uint64               // rises with every change
	savedSeq uint64               // changes up to here are in Postgres
	saved    chan struct{}        // closed when savedSeq rises or nothing is left to save; nil if nobody waits
	names    map[string]struct{}  // keys that a session which is away may have (O5)
	grown    bool                 // it is away and was written to: its size is to be measured
	holds    [holdKinds]int32     // what clients keep it busy with for longer than a command, for explanations
}

// flight is one restore or eviction that others may wait for.
type flight struct {
	done   chan struct{}
	cancel func() // asks an eviction to give up, nil for a restore
	err    error  // set before done is closed
	watch  stopwatch
}

type (
	item  = lru.Item[gate]
	shard = lru.Shard[gate]
)

// ref is a session together with the shard whose lock guards it.
type ref struct {
	sh *shard
	it *item
}

// detailLocked returns the session's detail, making it if there is none.
func (g *gate) detailLocked() *detail {
	if g.more == nil {
		g.more = &detail{}
	}
	return g.more
}

// restLocked drops the detail of a session that needs none.
func (g *gate) restLocked() {
	d := g.more
	if d != nil && d.flight == nil && len(d.dirty) == 0 && len(d.marks) == 0 && len(d.held) == 0 && d.saving == nil &&
		len(d.poison) == 0 && d.saved == nil && len(d.names) == 0 && !d.grown && d.holds == [holdKinds]int32{} && d.avoid <= nowMilli() {
		g.more = nil
	}
}

// sessions is the session table together with the key patterns that say which session a key belongs to.
type sessions struct {
	table    *lru.Table[gate]
	patterns atomic.Pointer[patterns]
	recorder recorder
	off      bool // sync = "off"

	mu    sync.Mutex // guards names
	names []string   // keyspaces by number; a number is never given twice
}

// patterns is one generation of key patterns.
type patterns struct {
	matcher *keyspace.Matcher
	numbers []uint16 // keyspace number by the matcher's index
}

func newSessions(specs []keyspace.Spec) (*sessions, error) {
	s := &sessions{table: lru.NewGrouped[gate](0, func(identity string) int { return int(numberOf(identity)) })}
	return s, s.setPatterns(specs)
}

func (s *sessions) setPatterns(specs []keyspace.Spec) error {
	m, err := keyspace.Compile(specs)
	if err != nil {
		return err
	}
	p := &patterns{matcher: m}
	for _, spec := range specs {
		p.numbers = append(p.numbers, s.number(spec.Name))
	}
	s.patterns.Store(p)
	return nil
}

func (s *sessions) number(name string) uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, n := range s.names {
		if n == name {
			return uint16(i)
		}
	}
	s.names = append(s.names, name)
	return uint16(len(s.names) - 1)
}

// count is how many keyspaces have a number.
func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.names)
}

func (s *sessions) name(number uint16) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[number]
}

// adoptionMark says that everything that the keyspaces of now match has been looked at in a run of Redis.
func (s *sessions) adoptionMark(runID string) string {
	h := fnv.New64a()
	m := s.patterns.Load().matcher
	for ks := range m.Len() {
		spec := m.Spec(ks)
		fmt.Fprintf(h, "%q %d %q\n", spec.Name, spec.DB, spec.Patterns)
	}
	mark := fmt.Sprintf("%s %016x", runID, h.Sum64())
	if s.off {
		mark += offTag
	}
	return mark
}

// identity is the key of a session in the table: database, keyspace number, id.
const identityHead = 4

func appendIdentity(dst []byte, db int, number uint16, id []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(db))
	dst = binary.BigEndian.AppendUint16(dst, number)
	return append(dst, id...)
}

// match returns the identity of the session that a key belongs to, built in buf.
func (s *sessions) match(buf []byte, db int, key []byte) (identity []byte, ok bool) {
	p := s.patterns.Load()
	ks, id, ok := p.matcher.Match(db, key)
	if !ok {
		return nil, false
	}
	return appendIdentity(buf[:0], db, p.numbers[ks], id), true
}

// identityOf is the table key of an id.
func (s *sessions) identityOf(id session.ID) string {
	return string(appendIdentity(nil, id.DB, s.number(id.Keyspace), []byte(id.Name)))
}

// id is the reverse of identityOf.
func (s *sessions) id(identity string) session.ID {
	return session.ID{
		DB:       int(binary.BigEndian.Uint16([]byte(identity[:2]))),
		Keyspace: s.name(binary.BigEndian.Uint16([]byte(identity[2:4]))),
		Name:     identity[identityHead:],
	}
}

// numberOf is the number of the identity's keyspace.
func numberOf(identity string) uint16 { return binary.BigEndian.Uint16([]byte(identity[2:4])) }

func (s *sessions) dbOf(identity string) int {
	return int(binary.BigEndian.Uint16([]byte(identity[:2])))
}

// literals returns the keys of a session that follow from its id, and whether there may be others.
func (s *sessions) literals(id session.ID) (keys []string, wild bool) {
	p := s.patterns.Load()
	for ks := range p.matcher.Len() {
		if p.matcher.Spec(ks).Name == id.Keyspace {
			return p.matcher.Literals(ks, id.Name), p.matcher.Wild(ks)
		}
	}
	return nil, true
}

func (s *sessions) lookup(identity string) (ref, bool) {
	sh := s.table.ShardString(identity)
	sh.Lock()
	it := sh.GetString(identity)
	sh.Unlock()
	return ref{sh, it}, it != nil
}

// resolve finds the identity of a session as operators name it: "keyspace/id", "keyspace@db/id", or the bare id where only
// one session has it.
func (s *sessions) resolve(text string) (session.ID, error) {
	p := s.patterns.Load()
	if head, name, ok := strings.Cut(text, "/"); ok {
		if id, ok := s.qualified(p, head, name); ok {
			return id, nil
		}
	}
	var found []session.ID
	s.table.Range(func(_ *shard, it *item) bool {
		if it.Key[identityHead:] == text {
			found = append(found, s.id(it.Key))
		}
		return len(found) < 2
	})
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return session.ID{}, fmt.Errorf("session %q is in more than one keyspace or database: name it keyspace/id, or keyspace@db/id", text)
	case p.matcher.Len() == 1:
		return session.ID{DB: max(p.matcher.Spec(0).DB, 0), Keyspace: p.matcher.Spec(0).Name, Name: text}, nil
	}
	return session.ID{}, fmt.Errorf("session %q is not known: name it keyspace/id", text)
}

func (s *sessions) qualified(p *patterns, head, name string) (session.ID, bool) {
	space, dbText, hasDB := strings.Cut(head, "@")
	for ks := range p.matcher.Len() {
		spec := p.matcher.Spec(ks)
		if spec.Name != space || name == "" {
			continue
		}
		db := max(spec.DB, 0)
		if hasDB {
			if _, err := fmt.Sscanf(dbText, "%d", &db); err != nil {
				return session.ID{}, false
			}
		}
		return session.ID{DB: db, Keyspace: space, Name: name}, true
	}
	return session.ID{}, false
}
