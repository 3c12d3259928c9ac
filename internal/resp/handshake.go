package resp

import (
	"errors"
	"io"
	"time"
)

// defaultHandshakeTimeout is how long a client may take over its TLS handshake, unless the listener says otherwise.
const defaultHandshakeTimeout = 10 * time.Second

// handshaker is a connection that begins with a handshake: *tls.Conn.
type handshaker interface{ Handshake() error }

// HandshakeError says why a client that was to speak TLS did not get that far.
type HandshakeError struct{ Err error }

func (e *HandshakeError) Error() string { return "TLS handshake: " + e.Err.Error() }

func (e *HandshakeError) Unwrap() error { return e.Err }

// handshake makes the TLS handshake within its time. A client that only connects and closes (a health check) is io.EOF.
func (c *Conn) handshake() error {
	greet := c.greet
	c.greet = nil
	defer c.shaken.Store(true)
	if err := c.SetDeadline(time.Now().Add(c.handshakeTimeout)); err != nil {
		return &HandshakeError{err}
	}
	if err := greet.Handshake(); err != nil {
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		return &HandshakeError{err}
	}
	c.armed = time.Time{}
	return c.SetDeadline(time.Time{})
}

// blameHandshake charges the source for a handshake that failed, as it is the most expensive thing that a stranger can ask for.
// Who only connects and closes has not asked.
func (c *Conn) blameHandshake() {
	if c.readErr != io.EOF {
		c.trouble.Store(int64(handshakeCost))
	}
}
