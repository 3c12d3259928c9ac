package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"credproxy/internal/resp"
)

var errUnexpected = errors.New("reply from Redis that nobody waits for")

// delivery is the reader's side of a Conn: it cuts the byte stream into frames and knows whose they are.
type delivery struct {
	conn    *Conn
	framer  resp.Framer
	partial []byte // the start of a frame that is not for a call's buffer directly
	passing bool   // the frame is not kept: it goes to its call's stream, or nowhere
}

// take hands over the frames in b; an incomplete one is kept for the next read.
func (d *delivery) take(b []byte) error {
	for len(b) > 0 {
		if n := d.run(b); n > 0 {
			b = b[n:]
			continue
		}
		n, done, err := d.framer.Next(b)
		if err != nil {
			return fmt.Errorf("frame reply from Redis: %w", err)
		}
		if !done {
			return d.keep(b[:n])
		}
		if d.passing {
			if err := d.passed(b[:n]); err != nil {
				return err
			}
			b = b[n:]
			continue
		}
		frame := b[:n]
		if len(d.partial) > 0 {
			d.partial = append(d.partial, frame...)
			frame = d.partial
		}
		if err := d.deliver(frame); err != nil {
			return err
		}
		d.release()
		b = b[n:]
	}
	return nil
}

// run hands as many replies to the call in front as it wants and b begins with, if they are of the simple kind: with one look at
// the queue and one copy for all of them. It returns their length, 0 if the way of a single frame has to be taken.
func (d *delivery) run(b []byte) int {
	if len(d.partial) > 0 || !d.framer.Between() {
		return 0
	}
	call, _, relay := d.conn.front()
	if call == nil || relay || call.sentinel != nil || call.Hold != nil {
		return 0
	}
	n, start := 0, len(call.Replies)
	for len(call.Ends) < call.want {
		size := resp.Whole(b[n:])
		if size == 0 || call.drops(n+size) {
			break
		}
		call.failed = call.failed || b[n] == '-'
		n += size
		call.Ends = append(call.Ends, start+n)
	}
	call.add(b[:n])
	if n > 0 && len(call.Ends) == call.want {
		d.conn.pop()
		call.finish(nil)
	}
	return n
}

// keep takes the beginning, or the middle, of a frame.
func (d *delivery) keep(part []byte) error {
	call, _, relay := d.conn.front()
	plain := call != nil && !relay && call.sentinel == nil && d.framer.Kind() != '>'
	if !d.passing && plain && (call.stream != nil || call.drops(len(d.partial)+len(part)+d.framer.Missing())) {
		d.passing = true
		part = append(d.partial, part...)
		d.partial = nil
	}
	if d.passing {
		return call.pass(part)
	}
	d.partial = append(slices.Grow(d.partial, len(part)+d.framer.Missing()), part...)
	return nil
}

// pass hands a part of a reply that is not kept to whoever wants it.
func (c *Call) pass(part []byte) error {
	if c.stream == nil {
		return nil
	}
	c.streamed += len(part)
	if err := c.stream(part); err != nil {
		return fmt.Errorf("pass on a reply from Redis: %w", err)
	}
	return nil
}

// passed ends a frame that is not kept.
func (d *delivery) passed(part []byte) error {
	d.passing = false
	call, _, _ := d.conn.front()
	if err := call.pass(part); err != nil {
		return err
	}
	call.drop()
	d.end(call)
	return nil
}

// most is how large a frame may be that is copied to its call, and how much room for it stays here, in bytes. There are few driven connections,
// and who drives them would rather copy than give a reply up to another goroutine.
func (d *delivery) most() int {
	if d.conn.driven != nil {
		return mostCopied
	}
	return maxKeptReplies
}

func (d *delivery) release() {
	if cap(d.partial) > d.most() {
		d.partial = nil
	}
	d.partial = d.partial[:0]
}

func (d *delivery) deliver(frame []byte) error {
	call, push, relay := d.conn.front()
	if call != nil && call.sentinel != nil && isPong(frame, call.sentinel) {
		d.conn.pop()
		call.finish(nil)
		return nil
	}
	if frame[0] == '>' || relay || (call != nil && call.sentinel != nil) {
		if push != nil {
			push(frame)
		}
		return nil // a push nobody asked for (shared connections set none) is dropped
	}
	if call == nil {
		return errUnexpected
	}
	switch {
	case call.drops(len(frame)):
		call.drop()
	case len(d.partial) > d.most(): // it is the call's now
		call.large, d.partial = append(call.large, largeReply{len(call.Ends), frame}), nil
		call.Ends = append(call.Ends, len(call.Replies))
	default:
		call.failed = call.failed || frame[0] == '-'
		call.add(frame)
		call.Ends = append(call.Ends, len(call.Replies))
	}
	d.end(call)
	return nil
}

// end finishes a call that has all its replies.
func (d *delivery) end(call *Call) {
	if len(call.Ends) < call.want {
		return
	}
	hold := call.Hold // the call may be used again as soon as it is finished
	d.conn.pop()
	call.finish(nil)
	d.wait(hold)
}

func (d *delivery) wait(hold <-chan struct{}) {
	if hold == nil {
		return
	}
	select {
	case <-hold:
	case <-d.conn.closed:
	}
}

// isPong reports whether frame answers PING text: a bulk, or in RESP2 with subscriptions the pair "pong", text.
func isPong(frame, text []byte) bool {
	bulk := resp.AppendBulk(nil, text)
	if bytes.Equal(frame, bulk) {
		return true
	}
	return bytes.HasPrefix(frame, []byte("*2\r\n$4\r\npong\r\n")) && bytes.HasSuffix(frame, bulk)
}
