package upstream

import "sync"

// maxKeptReplies is how large a reply buffer may stay with an idle client, in bytes.
const maxKeptReplies = 64 << 10

// mostCopied is how large a single reply may be that a driven connection copies, in bytes.
const mostCopied = 256 << 10

// Larger ones, from leastPooled up to mostPooled bytes, go from call to call: to make one for each group of replies of 16 KB, and to collect
// it, cost more than the replies.
const (
	leastPooled = 4 * maxKeptReplies
	mostPooled  = 1 << 20
)

var pooledReplies = sync.Pool{New: func() any { return new([]byte) }}

// Free gives a large buffer of replies away, for which nobody has any use any more.
func (c *Call) Free() {
	if len(c.Replies) > 0 {
		c.ample = len(c.Replies) > maxKeptReplies
	}
	switch {
	case c.box != nil:
		c.giveBack()
	case cap(c.Replies) > maxKeptReplies:
		c.Replies = nil
	default:
		return
	}
	c.Reset()
}

func (c *Call) giveBack() {
	if *c.box = c.Replies[:0]; cap(c.Replies) > mostPooled { // it has outgrown its buffer
		*c.box = nil
	}
	pooledReplies.Put(c.box)
	c.box, c.Replies = nil, nil
}

// add appends to the replies.
func (c *Call) add(b []byte) {
	need := len(c.Replies) + len(b)
	if need > cap(c.Replies) && (c.ample || need > maxKeptReplies) && need <= mostPooled {
		c.grow(need)
	}
	c.Replies = append(c.Replies, b...)
}

// grow makes room for need bytes in all, in a buffer of the pool.
func (c *Call) grow(need int) {
	box := pooledReplies.Get().(*[]byte)
	grown := (*box)[:0]
	if cap(grown) < need {
		grown = make([]byte, 0, min(max(2*need, leastPooled), mostPooled))
	}
	grown = append(grown, c.Replies...)
	if c.box != nil {
		c.giveBack()
	}
	c.box, c.Replies = box, grown
}
