package bots

import (
	"bytes"
	"fmt"
	"time"
)

// entry is what a bot knows of one item. Version 0 is "not there".
type entry struct {
	Version uint32   `json:"v"`
	Last    uint32   `json:"l"`           // highest version ever used; versions are never reused, so that a stale value shows
	Maybe   []uint32 `json:"m,omitempty"` // other versions that it may hold: writes of unknown outcome since the last sure one
}

// model is a bot's memory of its session. One goroutine uses it.
type model struct {
	seed    uint64
	bot     int
	entries [kinds][]entry
	credsAt time.Time // when creds were last written for sure, for its expiry
	scratch []byte
}

func newModel(seed uint64, bot, preKeys int) *model {
	m := &model{seed: seed, bot: bot}
	for k := range m.entries {
		n := kindTable[k].count
		if kind(k) == preKey {
			n = preKeys + preKeys/4 + 1 // room for new keys while old ones are still there
		}
		m.entries[k] = make([]entry, n)
	}
	return m
}

func (m *model) at(it item) *entry { return &m.entries[it.kind][it.n] }

// value appends the bytes of a version of an item to dst.
func (m *model) value(dst []byte, it item, version uint32) []byte {
	return appendValue(dst, m.seed, m.bot, it, version)
}

// next reserves a version for a write of the item.
func (m *model) next(it item) uint32 {
	e := m.at(it)
	e.Last++
	return e.Last
}

// wrote records the outcome of a write of version v (0: a delete).
func (m *model) wrote(it item, v uint32, o outcome) {
	e := m.at(it)
	switch o {
	case done:
		e.Version, e.Maybe = v, nil
	case unknown:
		e.Maybe = append(e.Maybe, v)
	}
}

// outcome is what is known of a command after its reply, or after none came.
type outcome uint8

const (
	done    outcome = iota // Redis said yes
	refused                // the reply says that it was not run
	unknown                // it may have run
)

// check judges a value that was read (nil: not there) and returns "" when it is one that the item may hold.
func (m *model) check(it item, got []byte) string {
	e := m.at(it)
	if m.holds(it, e.Version, got) {
		return ""
	}
	for _, v := range e.Maybe {
		if m.holds(it, v, got) {
			return ""
		}
	}
	return m.explain(it, e, got)
}

func (m *model) holds(it item, version uint32, got []byte) bool {
	if version == 0 || got == nil {
		return version == 0 && got == nil
	}
	m.scratch = m.value(m.scratch[:0], it, version)
	return bytes.Equal(m.scratch, got)
}

// explain says what a wrong value is, never its bytes.
func (m *model) explain(it item, e *entry, got []byte) string {
	switch {
	case got == nil:
		return fmt.Sprintf("nil, but version %d was written", e.Version)
	case e.Version == 0 && m.olderThan(it, e.Last+1, got) > 0:
		return "came back after it was deleted"
	case e.Version == 0:
		return fmt.Sprintf("%d bytes, but it was never written", len(got))
	}
	if v := m.olderThan(it, e.Version, got); v > 0 {
		return fmt.Sprintf("version %d, but version %d was written", v, e.Version)
	}
	return fmt.Sprintf("%d bytes that were never written", len(got))
}

// olderThan finds the version below limit that the bytes belong to, looking a little way back; 0: none.
func (m *model) olderThan(it item, limit uint32, got []byte) uint32 {
	const lookBack = 100
	for v := limit - 1; v > 0 && limit-v <= lookBack; v-- {
		if m.holds(it, v, got) {
			return v
		}
	}
	return 0
}

// each visits the items of a kind that hold a value for sure (present) or surely none.
func (m *model) each(k kind, present bool, visit func(item)) {
	for n := range m.entries[k] {
		if e := &m.entries[k][n]; len(e.Maybe) == 0 && (e.Version > 0) == present {
			visit(item{k, n})
		}
	}
}

// all returns every item that was ever written.
func (m *model) all() []item {
	var items []item
	for k := range m.entries {
		for n := range m.entries[k] {
			if m.entries[k][n].Last > 0 {
				items = append(items, item{kind(k), n})
			}
		}
	}
	return items
}
