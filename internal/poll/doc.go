// Package poll waits for many sockets in one goroutine, with an epoll instance of its own.
//
// Go's own poller wakes a goroutine for every socket that becomes readable. For a proxy whose unit of work is a few
// microseconds that hand-over costs more than the work. A Poller calls one function for all sockets that are ready (a turn),
// so that the work is done where the readiness was seen, and what several clients have sent goes upstream in one system call.
// For everybody else a Conn behaves like any net.Conn: Read and Write wait, deadlines and Close end the wait.
//
// Sockets are registered edge-triggered: an edge is a hint that a try is worth it, never a promise. So a spurious one costs a
// system call and harms nothing; and the rule against losing one is: whoever stops reading must have seen less than
// was asked for (EAGAIN or a short read) since the last edge, or remembers that there may be more.
package poll
