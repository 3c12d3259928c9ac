//go:build !linux

package poll

import (
	"errors"
	"net"
	"time"
)

// Elsewhere than on Linux there is no Poller: New says so, and connections stay with Go's own.

// Event is a socket that is worth a try.
type Event struct {
	Conn        *Conn
	Hup, Kicked bool
}

// Poller cannot be had.
type Poller struct{}

// Conn cannot be had.
type Conn struct {
	net.Conn
	Tag any
}

var errSystem = errors.New("epoll is Linux's")

// New says that there is none.
func New() (*Poller, error) { return nil, errSystem }

// Adopt takes nothing over.
func (*Poller) Adopt(net.Conn) (*Conn, error) { return nil, errSystem }

// Kick does nothing.
func (*Poller) Kick(*Conn) {}

// Wake does nothing.
func (*Poller) Wake() {}

// Run returns at once.
func (*Poller) Run(time.Duration, func([]Event)) {}

// Stop does nothing.
func (*Poller) Stop() {}

// Poller returns nil.
func (*Conn) Poller() *Poller { return nil }

// Drive does nothing.
func (*Conn) Drive(bool) {}

// IsClosed reports true.
func (*Conn) IsClosed() bool { return true }

// Expired reports false.
func (*Conn) Expired() bool { return false }

// TryRead returns net.ErrClosed.
func (*Conn) TryRead([]byte) (int, error) { return 0, net.ErrClosed }

// TryWrite returns net.ErrClosed.
func (*Conn) TryWrite([]byte) (int, error) { return 0, net.ErrClosed }

// WatchWrites returns net.ErrClosed.
func (*Conn) WatchWrites() error { return net.ErrClosed }

// Yield does nothing.
func Yield() {}
