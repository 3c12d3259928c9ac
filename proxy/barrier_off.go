//go:build !barriers

package proxy

// barrier marks a point of the durable protocol at which crash tests (tag barriers, see soak) kill the process.
func (s *Server) barrier(string) {}

// writeBarrier is barrier around a group that goes to Redis.
func (c *client) writeBarrier(string, string) {}

// keysApart forbids to write a restored session's keys and its entry at once; only crash tests do.
func keysApart() bool { return false }

// planted reports whether a fault is to be made here; only crash tests plant any.
func planted(string) bool { return false }

// afterLoss is what becomes of a request whose connection was lost: an error, and nothing is sent again.
func (c *client) afterLoss(err error, _ int, _ []byte) error { return err }
