package resp

import (
	"context"
	"errors"
	"os"
	"time"
)

// hangupBuffer bounds what a client can send ahead while its command blocks, in bytes.
const hangupBuffer = 1 << 20

// Hangup watches the client while its handler waits for something else, a blocking command's reply. It returns true as
// soon as the client has closed its side or the connection is dead, false when ctx ends. It reads ahead: what the client
// sends meanwhile is kept for the next Read, up to 1 MB; with more than that it no longer sees a hangup.
func (c *Conn) Hangup(ctx context.Context) bool {
	if c.readErr != nil {
		return true
	}
	if ctx.Err() != nil {
		return false
	}
	// No deadline but the one that ends the watch: an idle timeout does not count against a client that waits for us.
	if c.nc.SetReadDeadline(time.Time{}) != nil {
		return true
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		// A connection that takes no deadline is closed: then the read below ends by itself.
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
		close(woken)
	})
	dead := c.watch(ctx)
	if !stop() {
		<-woken // its deadline must not come after ours
	}
	c.armed = time.Time{}
	return c.nc.SetReadDeadline(time.Time{}) != nil || dead
}

// watch reads ahead until the connection or ctx ends; true means the connection.
func (c *Conn) watch(ctx context.Context) bool {
	for len(c.buf)-c.off < hangupBuffer {
		err := c.fill()
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			if ctx.Err() != nil {
				return false
			}
			// Someone else's deadline. It would make every further read fail at once.
			if c.nc.SetReadDeadline(time.Time{}) != nil {
				return true
			}
		default:
			c.readErr = err
			return true
		}
	}
	<-ctx.Done()
	return false
}
