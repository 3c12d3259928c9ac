package main

import (
	"bytes"
	"fmt"
	"time"
)

// timed sends one command that must find a value, and says how long its reply took.
func (c *conn) timed(request []byte) (time.Duration, error) {
	start := time.Now()
	if _, err := c.Write(request); err != nil {
		return 0, fmt.Errorf("send: %w", err)
	}
	r, err := c.read()
	took := time.Since(start)
	switch {
	case err != nil:
		return 0, err
	case !r.ok('$'):
		return 0, fmt.Errorf("wrong reply to the first touch: %s", r)
	}
	return took, nil
}

// line sends a command whose reply is one line, and returns that.
func (c *conn) line(args ...string) (string, error) {
	if _, err := c.Write(command(nil, args...)); err != nil {
		return "", fmt.Errorf("send: %w", err)
	}
	text, err := c.in.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("read reply: %w", err)
	}
	return text, nil
}

// has fails if the session is not wholly there.
func (c *conn) has(s restoreShape) error {
	want := ":1\r\n"
	if s.fields > 0 {
		want = fmt.Sprintf(":%d\r\n", s.fields)
	}
	if got, err := c.line(s.last()...); err != nil || got != want {
		return fmt.Errorf("session is not restored: got %q, want %q: %w", got, want, err)
	}
	return nil
}

// remove takes the session's keys away.
func (c *conn) remove(s restoreShape) error {
	keys := []string{"UNLINK"}
	for i := range s.keys {
		keys = append(keys, s.key(i))
	}
	if err := c.do(command(nil, keys...), 1); err != nil {
		return err
	}
	return c.freed()
}

// freed waits until Redis has given back what was unlinked, which it does in the background.
func (c *conn) freed() error {
	for {
		head, err := c.line("INFO", "memory")
		if err != nil {
			return err
		}
		var size int
		if _, err := fmt.Sscanf(head, "$%d\r\n", &size); err != nil {
			return errReply
		}
		text := make([]byte, size+2)
		for at := 0; at < len(text); {
			n, err := c.in.Read(text[at:])
			if err != nil {
				return fmt.Errorf("read reply: %w", err)
			}
			at += n
		}
		if bytes.Contains(text, []byte("lazyfree_pending_objects:0\r\n")) {
			return nil
		}
	}
}
