package proxy

// TakeStreams takes n of the places of clients that are in the middle of a large command.
func (s *Server) TakeStreams(n int64) { s.streams.Add(n) }

// MaxStreams is how many places there are.
const MaxStreams = maxStreams
