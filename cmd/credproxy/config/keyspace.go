package config

import (
	"time"

	"credproxy/proxy"
)

// KeyspaceMemory is what a keyspace block says about memory; what it leaves out follows the memory block.
type KeyspaceMemory struct {
	Max           int64          // bytes, by estimate, that its sessions in Redis may take; 0: no budget of its own
	InactivityTTL *time.Duration // nil: as memory.inactivity_ttl
	MinIdle       *time.Duration // nil: as memory.min_idle
}

// decodeKeyspaceMemory reads the settings of a keyspace block that are about memory.
func (s *section) decodeKeyspaceMemory(m *Memory, name string) {
	var k KeyspaceMemory
	s.size("max", &k.Max)
	s.optional("inactivity_ttl", &k.InactivityTTL)
	s.optional("min_idle", &k.MinIdle)
	if s.body.Attributes["max"] == nil && k == (KeyspaceMemory{}) {
		return
	}
	if m.Keyspaces == nil {
		m.Keyspaces = map[string]KeyspaceMemory{}
	}
	m.Keyspaces[name] = k
}

// optional reads a duration that tells "not set" from zero.
func (s *section) optional(name string, dst **time.Duration) {
	if s.body.Attributes[name] == nil {
		return
	}
	var d time.Duration
	s.duration(name, &d)
	*dst = &d
}

// KeyspacesInEffect returns what holds for the keyspaces that say anything about memory.
func (m *Memory) KeyspacesInEffect() map[string]proxy.KeyspaceMemory {
	if m.Keyspaces == nil {
		return nil
	}
	out := map[string]proxy.KeyspaceMemory{}
	for name, k := range m.Keyspaces {
		e := proxy.KeyspaceMemory{Max: k.Max, InactivityTTL: m.InactivityTTL, MinIdle: m.MinIdle}
		if k.InactivityTTL != nil {
			e.InactivityTTL = *k.InactivityTTL
		}
		if k.MinIdle != nil {
			e.MinIdle = *k.MinIdle
		}
		out[name] = e
	}
	return out
}

// validateIdle looks at the two durations of the memory block, and at those that hold for each keyspace.
func (f *file) validateIdle(c *Config) {
	f.memory.checkIdle(c.Memory.InactivityTTL, c.Memory.MinIdle)
	effective := c.Memory.KeyspacesInEffect()
	for i, spec := range c.Keyspaces {
		k, ok := effective[spec.Name]
		if !ok {
			continue
		}
		s := f.keyspaces[i]
		if own := c.Memory.Keyspaces[spec.Name]; own.InactivityTTL != nil || own.MinIdle != nil {
			s.checkIdle(k.InactivityTTL, k.MinIdle)
		}
		if k.Max <= 0 && s.body.Attributes["max"] != nil {
			s.report("max", `max must be positive: write for instance "256MB", or leave it out for no budget of its own`)
		}
		if k.Max > c.Memory.Max && !c.Memory.MaxUnset {
			s.warn("max", "max %s is above memory.max, %s, which is reached first: lower it, or raise memory.max",
				FormatSize(k.Max), FormatSize(c.Memory.Max))
		}
	}
}

// checkIdle reports at most one thing.
func (s *section) checkIdle(ttl, least time.Duration) {
	name := "min_idle"
	if s.body.Attributes[name] == nil {
		name = "inactivity_ttl"
	}
	switch {
	case ttl < 0:
		s.report("inactivity_ttl", `inactivity_ttl is negative: write for instance "168h", or "0s" for never`)
	case least < 0:
		s.report("min_idle", `min_idle is negative: write for instance "30s", or "0s" to let any session go`)
	case ttl > 0 && least > ttl:
		s.report(name, "min_idle %s is above inactivity_ttl %s: what has to leave would have to stay; lower min_idle",
			FormatDuration(least), FormatDuration(ttl))
	}
}

// warn notes what is allowed but will not do what it seems to.
func (s *section) warn(name, format string, args ...any) {
	before := s.r.problems
	s.report(name, format, args...)
	s.r.warnings = append(s.r.warnings, s.r.problems[len(before):]...)
	s.r.problems = before
}

// render writes what the block of a keyspace says about memory.
func (k KeyspaceMemory) render(p *printer) {
	if k.Max > 0 {
		p.text("max", FormatSize(k.Max))
	}
	if k.InactivityTTL != nil {
		p.text("inactivity_ttl", FormatDuration(*k.InactivityTTL))
	}
	if k.MinIdle != nil {
		p.text("min_idle", FormatDuration(*k.MinIdle))
	}
}
