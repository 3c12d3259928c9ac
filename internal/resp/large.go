package resp

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// redcon wants a command whole, in one piece, and copies it twice. One with a large argument is not handed to redcon: it gets a stand-in,
// and the handler who finds that there is a Large takes the command piece by piece, as it comes.
const (
	largeBulk  = 1 << 20   // from so many bytes on an argument is large
	largeWhole = 8 << 20   // from so many bytes on a command is, up to the argument that is coming
	largeShown = 128 << 10 // so much of the command has to have come: announcing costs nothing
)

// standIn is what redcon gets. Handlers do not look at it.
const standIn = "*1\r\n$5\r\nlarge\r\n"

// Large is a command of which a large argument is still coming.
type Large struct {
	Args  [][]byte // the arguments before it, copied
	Count int      // how many there are in all
	Size  int64    // bytes of the command as far as they are known
}

// TakeLarge makes Read hand over stand-ins. Whoever handles the commands must then ask Large whenever a command comes alone. Call
// it before the first Read.
func (c *Conn) TakeLarge() { c.takesLarge = true }

// isLarge reports whether the command under scan, with nothing before it, is one for a stand-in.
func (c *Conn) isLarge() bool {
	s := &c.scan
	return c.takesLarge && !c.declined && c.authed.Load() && len(c.out) == 0 && c.off == c.done && !c.refused &&
		(s.body >= largeBulk || s.body > 0 && s.pos+s.body >= largeWhole) && s.left < s.args && len(c.buf)-c.done >= largeShown
}

// Large returns the large command for which redcon got a stand-in, nil if what it got last is the client's own. The command has to
// be taken with NextPart until its end, or given back with Decline.
func (c *Conn) Large() *Large {
	if !c.standing {
		return nil
	}
	c.standing, c.parted = false, true
	s := &c.scan
	l := &Large{Count: s.args, Size: int64(s.pos) + int64(s.body)}
	raw := c.buf[c.done:]
	_, i := header(raw, 0, '*')
	for range s.args - s.left {
		n, at := header(raw, i, '$')
		l.Args = append(l.Args, append([]byte(nil), raw[at:at+n]...))
		i = at + n + 2
	}
	return l
}

// Decline has the large command collected, and handed to redcon as all others are.
func (c *Conn) Decline() { c.parted, c.declined = false, true }

// errBrokenPart says that the client is told, by the next Read, why its command is not one.
var errBrokenPart = errors.New("a large command breaks the protocol")

// NextPart returns the next bytes of a large command, canonical, valid until the next call or Read; last: it ends with them. After an
// error the next Read ends the client, with Redis's text where it has sent what Redis refuses.
func (c *Conn) NextPart() (part []byte, last bool, err error) {
	for {
		from := c.done
		n, v := c.scan.next(c.buf[from:], &c.lim, true)
		switch v {
		case command:
			c.count()
			c.parted = false
		case more:
			n = c.scan.cut(len(c.buf) - from)
		default:
			c.refused, c.parted = true, false
			return nil, false, errBrokenPart
		}
		if n > 0 {
			c.done += n
			c.off, c.ready = c.done, c.done
			return c.buf[from:c.done], v == command, nil
		}
		if err := c.awaitPart(); err != nil {
			c.readErr, c.parted = err, false
			return nil, false, err
		}
	}
}

// awaitPart blocks for more of a large command.
func (c *Conn) awaitPart() error {
	c.rest()
	if err := c.armRead(false); err != nil {
		return fmt.Errorf("set read deadline: %w", err)
	}
	had := len(c.buf) - c.off
	switch err := c.fill(); {
	case err == nil:
		c.pace.read(len(c.buf) - c.off - had)
		return nil
	case err == io.EOF:
		return io.EOF
	case c.nudged(err):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("wait for the rest of a command: %w", err)
	default:
		return err
	}
}

// cut takes what is judged out of the frame, of which have bytes are there: the scan goes on as if it were. It returns how many bytes
// that are. The end of an argument stays, as closeBulk will repair it.
func (s *scanner) cut(have int) int {
	n := s.pos
	if s.body > 0 {
		part := max(0, min(have-s.pos, s.body-2))
		n += part
		s.body -= part
	}
	s.look = max(0, s.look-n)
	s.pos = 0
	s.gone += int64(n)
	return n
}
