package proxy

// Reserved is how many bytes of memory are reserved for what has not landed: a leak of them would shrink the room until a restart.
func (s *Server) Reserved() int64 {
	landed := s.policy.room.landed.Load() // first: what lands meanwhile must not make it negative
	return s.policy.room.written.Load() - landed
}
