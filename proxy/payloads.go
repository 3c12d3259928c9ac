package proxy

import (
	"context"
	"slices"

	"credproxy/internal/session"
)

// This file keeps somebody who may write to Postgres, and not to Redis, from reaching Redis by way of what is restored. That
// payloads are what Redis gave is the store's to know (Config.Signed).

// sanitizing is Redis's setting for looking into the payloads of RESTORE before it believes them.
const sanitizing = "sanitize-dump-payload"

// checkPayloads warns when neither the store nor Redis looks at payloads. Redis's setting is left alone: others use it too.
func (s *Server) checkPayloads(ctx context.Context) {
	if s.cfg.Signed {
		return
	}
	got, err := s.control.db(0).ConfigGet(ctx, sanitizing).Result()
	switch mode := got[sanitizing]; {
	case err != nil:
		s.log.Info("whether Redis checks the payloads of RESTORE cannot be seen; restore.secret makes it unimportant", "error", err)
	case mode != "yes" && mode != "clients":
		s.log.Warn("who can write to Postgres could attack Redis by a crafted payload: set restore.secret, or CONFIG SET "+
			sanitizing+" clients in Redis", "sanitize_dump_payload", mode)
	}
}

// ownKeys returns those of a session's stored keys that are keys of it. A row may name any other: restored, that would be written
// where nothing evicts it; evicted, it would be copied to Postgres and taken out of Redis, whose ever it is.
func (s *Server) ownKeys(id session.ID, keys []session.Key) []session.Key {
	var buf [128]byte
	own := s.sessions.identityOf(id)
	return slices.DeleteFunc(keys, func(k session.Key) bool {
		if s.owns(buf[:], own, id.DB, k.Name) {
			return false
		}
		s.alarms.foreign(id, k.Name)
		return true
	})
}

// owns reports whether a key is of the session with that identity. buf is room for the identity of the key's own.
func (s *Server) owns(buf []byte, identity string, db int, key string) bool {
	found, ok := s.sessions.match(buf, db, []byte(key))
	return ok && string(found) == identity
}
