//go:build barriers

package proxy

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"credproxy/keyspace"
	"credproxy/proxy/upstream"
)

// Compiled in for crash tests only. CREDPROXY_BARRIER="name:nth" kills the process with SIGKILL at the nth pass of that
// barrier, "name:nth:stop" freezes it with SIGSTOP. CREDPROXY_PLANT="name" makes a fault on purpose, which the tests must
// find: a checker that has never found anything proves nothing.

// crash is what the environment asks for.
type crash struct {
	name string
	nth  int64
	sig  syscall.Signal
	seen atomic.Int64
}

var (
	crashAt = readCrash(os.Getenv("CREDPROXY_BARRIER"))
	plant   = os.Getenv("CREDPROXY_PLANT")
	plants  atomic.Int64
)

// plantEvery is how rare planted faults are: a bug that strikes every time is no test of a checker.
const plantEvery = 3

func readCrash(text string) *crash {
	name, rest, ok := strings.Cut(text, ":")
	count, action, _ := strings.Cut(rest, ":")
	nth, err := strconv.ParseInt(count, 10, 64)
	if !ok || err != nil {
		return nil
	}
	c := &crash{name: name, nth: nth, sig: syscall.SIGKILL}
	if action == "stop" {
		c.sig = syscall.SIGSTOP
	}
	return c
}

func (s *Server) barrier(name string) {
	if crashAt == nil || crashAt.name != name || crashAt.seen.Add(1) != crashAt.nth {
		return
	}
	_ = syscall.Kill(os.Getpid(), crashAt.sig)
	if crashAt.sig == syscall.SIGKILL {
		select {} // the signal may take a moment to arrive; nothing behind the barrier may happen
	}
}

// writeBarrier passes marked if the group carries marks, and every if it writes at all.
func (c *client) writeBarrier(marked, every string) {
	for i := range c.g.touches {
		if c.g.touches[i].gen != "" {
			c.s.barrier(marked)
		}
		if c.g.touches[i].access != keyspace.Read {
			c.s.barrier(every)
		}
	}
}

// keysApart makes a restore write keys and entry one after the other: something is to happen between them, or to single keys.
func keysApart() bool {
	return crashAt != nil && crashAt.name == "restore-filled" || plant == "restore-overwrites"
}

func planted(name string) bool {
	return plant == name && plants.Add(1)%plantEvery == 0
}

// afterLoss plants what a proxy must never do: it sends a request of unknown outcome again.
func (c *client) afterLoss(err error, n int, req []byte) error {
	if !errors.Is(err, upstream.ErrLost) || c.own != nil || plant != "reply-repeated" {
		return err
	}
	conn, dialErr := c.s.upstream.Shared(c.ctx, c.ident)
	if dialErr != nil || conn.Send(c.call, n, req) != nil {
		return err
	}
	return c.call.Wait()
}
