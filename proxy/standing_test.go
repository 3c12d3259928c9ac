package proxy

import (
	"fmt"
	"testing"
	"time"

	"credproxy/internal/session"
	"credproxy/lru"
)

// residentItem makes a session that may go.
func residentItem(s *Server, name string, bytes int64, used int64) ref {
	r := s.add(session.ID{Keyspace: "a", Name: name}, session.Heat{LastAccess: used, Bytes: bytes})
	r.sh.Lock()
	defer r.sh.Unlock()
	r.it.Value.state, r.it.Value.run = resident, s.runs.Current()
	r.sh.List(r.it)
	return r
}

// Each thing that keeps a session in Redis is told from the others.
func TestStanding(t *testing.T) {
	s := newServer(t)
	cfg := s.cfg
	for name, c := range map[string]struct {
		change func(g *gate, d *detail)
		want   reason
	}{
		"free":            {func(*gate, *detail) {}, mayGo},
		"evicted":         {func(g *gate, _ *detail) { g.state = evicted }, notResident},
		"other run":       {func(g *gate, _ *detail) { g.run++ }, otherRun},
		"pinned":          {func(g *gate, _ *detail) { g.pinned = true }, isPinned},
		"busy":            {func(g *gate, _ *detail) { g.in = 1 }, isBusy},
		"dirty":           {func(_ *gate, d *detail) { d.dirty = map[string]*dirtyKey{"k": {}} }, notSaved},
		"being saved":     {func(_ *gate, d *detail) { d.saving = make(chan struct{}) }, notSaved},
		"removal":         {func(_ *gate, d *detail) { d.held = map[string]int{"k": 1} }, notSaved},
		"refused":         {func(_ *gate, d *detail) { d.avoid = nowMilli() + 10_000 }, wasRefused},
		"refused earlier": {func(_ *gate, d *detail) { d.avoid = nowMilli() - 1 }, mayGo},
		"restored":        {func(g *gate, _ *detail) { g.loaded = time.Now().UnixNano() }, isFresh},
		"restored before": {func(g *gate, _ *detail) { g.loaded = time.Now().Add(-time.Minute).UnixNano() }, mayGo},
	} {
		r := residentItem(s, name, 100, nowMilli()-60_000)
		r.sh.Lock()
		c.change(&r.it.Value, r.it.Value.detailLocked())
		got := s.policy.vantage().sparing().standing(r.it)
		if r.sh.Unlock(); got != c.want {
			t.Errorf("%s: %s, want %s", name, reasonNames[got], reasonNames[c.want])
		}
	}
	// min_idle, of all and of the keyspace.
	r := residentItem(s, "idle", 100, nowMilli()-60_000)
	for _, c := range []struct {
		all, own time.Duration
		has      bool
		want     reason
	}{{time.Hour, 0, false, usedLately}, {time.Second, 0, false, mayGo}, {time.Hour, 0, true, mayGo}, {0, time.Hour, true, usedLately}} {
		cfg.Memory.MinIdle, cfg.Memory.Keyspaces = c.all, nil
		if c.has {
			cfg.Memory.Keyspaces = map[string]KeyspaceMemory{"a": {MinIdle: c.own}}
		}
		if _, err := s.Reload(cfg); err != nil {
			t.Fatal(err)
		}
		if got := s.policy.vantage().standing(r.it); got != c.want {
			t.Errorf("%+v: %s, want %s", c, reasonNames[got], reasonNames[c.want])
		}
	}
	// A database that is being adopted.
	cfg.Memory.MinIdle, cfg.Memory.Keyspaces = 0, nil
	if _, err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	s.adopter.set(0, true)
	if got := s.policy.vantage().standing(r.it); got != notAdopted {
		t.Errorf("while its database is adopted: %s", reasonNames[got])
	}
}

// A large session that has just been restored would be the first to go under gdsf: others go before it, and it goes when there
// are none.
func TestJustRestoredIsSpared(t *testing.T) {
	s := newServer(t)
	cfg := s.cfg
	cfg.Memory.Policy = lru.GDSF
	if _, err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	old := nowMilli() - 60_000
	large := residentItem(s, "large", 50<<20, old)
	large.it.Value.loaded = time.Now().UnixNano()
	small := residentItem(s, "small", 100, old)
	first := func() *item {
		refs := s.policy.pickIn(lru.Every, 1, false)
		if len(refs) == 0 {
			t.Fatal("no victim")
		}
		return refs[0].it
	}
	if got := first(); got != small.it {
		t.Errorf("the first to go is %s", got.Key[identityHead:])
	}
	if s.stats.passed[isFresh].Load() == 0 {
		t.Error("it is not counted as passed over")
	}
	small.it.Value.pinned = true
	if got := first(); got != large.it {
		t.Errorf("with nothing else to go it is %s", got.Key[identityHead:])
	}
}

// Only sessions that stood before the one that goes were passed over.
func TestPassedOverIsCounted(t *testing.T) {
	s := newServer(t)
	now := nowMilli()
	for i, name := range []string{"pinned1", "free", "pinned2"} {
		r := residentItem(s, name, 100, now-60_000+int64(i)*1000)
		r.it.Value.pinned = name != "free"
	}
	if refs := s.policy.pickIn(lru.Every, 1, false); len(refs) != 1 {
		t.Fatalf("%d victims", len(refs))
	}
	if n := s.stats.passed[isPinned].Load(); n != 1 {
		t.Errorf("%d were passed over, want 1", n)
	}
}

// Between the search and the eviction a session may be used: what min_idle or inactivity_ttl say is asked again at the gate, but not
// for what an operator wants.
func TestGateAsksAgain(t *testing.T) {
	s := newServer(t)
	cfg := s.cfg
	cfg.Memory.MinIdle, cfg.Memory.InactivityTTL = 10*time.Second, time.Minute
	if _, err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		idle int64 // seconds
		why  cause
		goes bool
	}{{5, overMemory, false}, {5, overSpace, false}, {5, byHand, true}, {20, overMemory, true}, {20, idleTooLong, false}, {61, idleTooLong, true}} {
		r := residentItem(s, fmt.Sprint(c.idle, c.why), 100, nowMilli()-c.idle*1000)
		if _, err := s.evictor.close(r, s.runs.Current(), c.why, func() {}); (err == nil) != c.goes {
			t.Errorf("idle for %d s, cause %d: %v", c.idle, c.why, err)
		}
	}
}
