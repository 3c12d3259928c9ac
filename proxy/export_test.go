package proxy

// Reserved is how many bytes of memory are reserved for what has not landed: a leak of them would shrink the room until a restart.
func (s *Server) Reserved() int64 {
	landed := s.policy.room.landed.Load() // first: what lands meanwhile must not make it negative
	return s.policy.room.written.Load() - landed
}

// AllApart has every value saved and restored as large ones are, until the test ends.
func AllApart(t interface{ Cleanup(func()) }) {
	from, hash, fields := apartFrom, apartHash, apartFields
	t.Cleanup(func() { apartFrom, apartHash, apartFields = from, hash, fields })
	apartFrom, apartHash, apartFields = 0, 0, 0
}
