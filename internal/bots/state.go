package bots

import (
	"fmt"
	"time"
)

// State is what a fleet must remember to verify its sessions in a later run. It encodes as JSON.
type State struct {
	Seed       uint64     `json:"seed"`
	Generation int        `json:"generation"`
	PreKeys    int        `json:"pre_keys"`
	Shapes     []Shape    `json:"shapes"`
	Bots       []BotState `json:"bots"`
}

// BotState is one bot's memory.
type BotState struct {
	CredsAt time.Time      `json:"creds_at"`
	Entries [kinds][]entry `json:"entries"`
}

// State returns what the bots know. After Run.
func (f *Fleet) State() *State {
	s := &State{Seed: f.cfg.Seed, Generation: f.cfg.Generation, PreKeys: f.cfg.PreKeys, Shapes: f.cfg.Shapes}
	for _, b := range f.bots {
		s.Bots = append(s.Bots, BotState{CredsAt: b.model.credsAt, Entries: b.model.entries})
	}
	return s
}

// restore gives the bots the memory of an earlier fleet. A fleet may grow or shrink; its seed, generation and shapes
// may not change, because they decide which bytes are under which key.
func (f *Fleet) restore(s *State) error {
	if s == nil {
		return nil
	}
	same := s.Seed == f.cfg.Seed && s.Generation == f.cfg.Generation && s.PreKeys == f.cfg.PreKeys && len(s.Shapes) == len(f.cfg.Shapes)
	for i := range s.Shapes {
		same = same && s.Shapes[i] == f.cfg.Shapes[i]
	}
	if !same {
		return fmt.Errorf("restore fleet: the saved one has another seed, generation, shapes or number of pre-keys")
	}
	for i := range min(len(s.Bots), len(f.bots)) {
		m := f.bots[i].model
		m.credsAt = s.Bots[i].CredsAt
		for k := range m.entries {
			if len(s.Bots[i].Entries[k]) != len(m.entries[k]) {
				return fmt.Errorf("restore fleet: bot %d has %d items of kind %d, not %d", i, len(s.Bots[i].Entries[k]), k, len(m.entries[k]))
			}
			copy(m.entries[k], s.Bots[i].Entries[k])
		}
	}
	return nil
}
