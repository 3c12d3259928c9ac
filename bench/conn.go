package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// conn is a RESP2 client that sends whole pipelines and reads replies without keeping them. It does less than any client
// library would, so that the target is measured and not the client.
type conn struct {
	net.Conn
	in *bufio.Reader
}

// dial connects; from deadline on every call fails.
func dial(ctx context.Context, addr string, deadline time.Time) (*conn, error) {
	return dialTLS(ctx, addr, nil, deadline)
}

// dialTLS speaks TLS, if a configuration is given.
func dialTLS(ctx context.Context, addr string, config *tls.Config, deadline time.Time) (*conn, error) {
	var d interface {
		DialContext(ctx context.Context, network, addr string) (net.Conn, error)
	} = &net.Dialer{}
	if config != nil {
		d = &tls.Dialer{Config: config}
	}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if err := c.SetDeadline(deadline); err != nil {
		c.Close()
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	return &conn{Conn: c, in: bufio.NewReaderSize(c, 64<<10)}, nil
}

// dialMany connects n clients; with an error it returns those that it has connected.
func dialMany(ctx context.Context, t *target, n int, deadline time.Time) ([]*conn, error) {
	conns := make([]*conn, 0, n)
	for range n {
		c, err := t.dial(ctx, deadline)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

// errReply is a reply that is not RESP2.
var errReply = errors.New("malformed reply")

// maxDepth bounds arrays in arrays.
const maxDepth = 8

// reply is what is left of one reply after reading it.
type reply struct {
	kind byte   // its first byte: + - : $ *
	null bool   // "$-1" or "*-1"
	line string // the text of an error, else ""
}

// ok says whether it is of the wanted kind and there: a null means that a value is lost.
func (r reply) ok(want byte) bool { return r.kind == want && !r.null }

func (r reply) String() string {
	switch {
	case r.kind == '-':
		return r.line
	case r.null:
		return "null"
	default:
		return "reply of kind " + string(r.kind)
	}
}

// read reads one reply.
func (c *conn) read() (reply, error) { return c.readNested(0) }

func (c *conn) readNested(depth int) (reply, error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return reply{}, fmt.Errorf("read reply: %w", err)
	}
	if len(line) < 3 || depth > maxDepth {
		return reply{}, errReply
	}
	r := reply{kind: line[0]}
	body := bytes.TrimRight(line[1:], "\r\n")
	switch r.kind {
	case '+', ':':
		return r, nil
	case '-':
		r.line = string(body)
		return r, nil
	case '$', '*':
		n, err := strconv.Atoi(string(body))
		if err != nil || n < -1 {
			return reply{}, errReply
		}
		r.null = n < 0
		return r, c.skip(r, n, depth)
	}
	return reply{}, errReply
}

// skip reads the content of a bulk string or an array.
func (c *conn) skip(r reply, n, depth int) error {
	if r.null {
		return nil
	}
	if r.kind == '$' {
		if _, err := c.in.Discard(n + 2); err != nil {
			return fmt.Errorf("read reply: %w", err)
		}
		return nil
	}
	for range n {
		if _, err := c.readNested(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

// do sends requests, n commands in all, and wants n replies that are no errors.
func (c *conn) do(requests []byte, n int) error {
	if _, err := c.Write(requests); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	for range n {
		r, err := c.read()
		if err != nil {
			return err
		}
		if r.kind == '-' {
			return fmt.Errorf("refused: %s", r.line)
		}
	}
	return nil
}

// info returns one figure of a section of INFO, "" if it cannot be had.
func (c *conn) info(section, name string) string {
	if _, err := c.Write(command(nil, "INFO", section)); err != nil {
		return ""
	}
	found := ""
	for {
		line, err := c.in.ReadString('\n')
		if err != nil || line == "\r\n" || strings.HasPrefix(line, "-") {
			return found
		}
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			found = strings.TrimSpace(value)
		}
	}
}

// fillBatch is how many sessions are sent before their replies are read.
const fillBatch = 20

// fill makes all sessions of a load through the target.
func (t *target) fill(ctx context.Context, l load, sessions int) error {
	c, err := t.dial(ctx, time.Now().Add(startTime))
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	var b []byte
	commands := 0
	for id := range sessions {
		var n int
		b, n = l.seed(b, id)
		commands += n
		if id%fillBatch == fillBatch-1 || id == sessions-1 {
			if err := c.do(b, commands); err != nil {
				return fmt.Errorf("fill %s: %w", l.name, err)
			}
			b, commands = b[:0], 0
		}
	}
	return nil
}
