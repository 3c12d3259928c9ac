package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// verb is what an operation does to its partition: a string key, a field of a hash, a counter, a list, or a key with a TTL.
type verb uint8

const (
	vSet      verb = iota // arg: the value
	vGet                  // out: the value, 0 if there is none
	vDel                  // out: 1 there was something, 0 not, noClaim unknown
	vGetDel               // out: as get
	vIncr                 // out: the new number
	vPush                 // arg: the element; out: the length
	vRange                // list
	vSetPX                // arg: the value, ttl
	vExpire               // ttl; out: 1 there was a key, 0 not
	vExpireAt             // out: unix milliseconds, -2 there is no key
)

var verbNames = [...]string{"SET", "GET", "DEL", "GETDEL", "INCR", "RPUSH", "LRANGE", "SET PX", "PEXPIRE", "PEXPIRETIME"}

func (v verb) reads() bool { return v == vGet || v == vRange || v == vExpireAt }

// noClaim as a result says that the reply told nothing about this partition.
const noClaim = -1 << 40

// forever is the return time of an operation that has not returned.
const forever = math.MaxInt64

// fate is how an operation ended for its client.
type fate uint8

const (
	done    fate = iota // answered
	refused             // answered with an error that says that it did not run
	unknown             // nobody knows whether it ran
)

// op is one operation on one partition. Times are nanoseconds since the start of the run.
type op struct {
	part      string
	verb      verb
	fate      fate
	dialled   bool // refused because there was nobody to connect to: nothing has been sent
	aborted   bool // refused as a transaction
	client    int
	arg, out  int64
	ttl       int64 // milliseconds
	list      string
	call, ret int64
}

// String renders an operation for people.
func (o *op) String() string {
	var b strings.Builder
	until := "..."
	if o.ret != forever {
		until = fmt.Sprintf("%.3f", float64(o.ret)/1e6)
	}
	fmt.Fprintf(&b, "%12.3f - %-12s ms  client %3d  %s %s", float64(o.call)/1e6, until, o.client, verbNames[o.verb], o.part)
	if o.arg != 0 {
		fmt.Fprintf(&b, " %d", o.arg)
	}
	if o.ttl != 0 {
		fmt.Fprintf(&b, " ttl %d", o.ttl)
	}
	switch {
	case o.fate == refused:
		b.WriteString(" -> refused, not run")
	case o.fate == unknown:
		b.WriteString(" -> unknown")
	case o.verb == vRange:
		b.WriteString(" -> [" + o.list + "]")
	case o.out == noClaim:
		b.WriteString(" -> ok")
	default:
		fmt.Fprintf(&b, " -> %d", o.out)
	}
	return b.String()
}

// clock turns the operations' time into unix milliseconds.
type clock struct {
	start time.Time
	unix  int64
}

func newClock() clock {
	now := time.Now()
	return clock{start: now, unix: now.UnixMilli()}
}

func (c clock) now() int64 { return int64(time.Since(c.start)) }

// milli keeps forever far away without overflow.
func (c clock) milli(t int64) int64 {
	if t == forever {
		return math.MaxInt64 / 4
	}
	return c.unix + t/1e6
}

// encode is the text of a value: its number, and padding so that sessions have a size and torn values show.
func encode(n int64) string {
	head := "v" + strconv.FormatInt(n, 10) + ":"
	return head + strings.Repeat(string(rune('a'+n%26)), int(n*37%900))
}

// decode is the reverse; ok is false for bytes that encode has not made.
func decode(text string) (n int64, ok bool) {
	digits, _, found := strings.Cut(strings.TrimPrefix(text, "v"), ":")
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, found && err == nil && encode(n) == text
}
