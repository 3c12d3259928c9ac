package proxy

import (
	"context"
	"fmt"
	"slices"

	"credproxy/internal/session"
)

// A session that Postgres does not know may come from the application's own tables (restore.source). It is then saved as a whole,
// since from its first save on nobody asks there again. Until that is done its keys are marked and dirty like keys that a
// client has written.

// sourceKeys returns the keys that belong to the session. The operator's query may return others by mistake: those would be
// written where nothing evicts or saves them.
func (s *Server) sourceKeys(id session.ID, keys []session.Key) []session.Key {
	own := s.sessions.identityOf(id)
	return slices.DeleteFunc(keys, func(k session.Key) bool {
		if s.owns(nil, own, id.DB, k.Name) {
			return false
		}
		s.alarms.astray(id, k.Name)
		return true
	})
}

// markSource marks the keys before they are written to Redis.
func (s *Server) markSource(ctx context.Context, r ref, db int, keys []session.Key) error {
	for part := range slices.Chunk(keys, markStep) {
		var pairs []any
		for i := range part {
			if gen := s.sessions.beginWrite(r, []byte(part[i].Name), s.saver); gen != "" {
				pairs = append(pairs, part[i].Name, gen)
			}
		}
		if len(pairs) == 0 {
			continue
		}
		if err := s.meta.mark(ctx, db, pairs...); err != nil {
			return fmt.Errorf("mark keys of the source: %w", err)
		}
	}
	return nil
}

// dirtySourceLocked makes the keys dirty, all of them in one step, so that one save takes them together.
func (s *Server) dirtySourceLocked(r ref, keys []session.Key) {
	for i := range keys {
		s.sessions.dirtyLocked(r, writeScope{key: []byte(keys[i].Name)}, &s.saver.queue)
	}
}
