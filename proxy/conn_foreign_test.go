package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"credproxy/internal/resp"
)

// TestForeignReplies has many clients that time out, hang up in the middle of replies, pipeline deep and take connections of their
// own, while sessions come and go. Every value is made of its owner's mark and nothing else: one foreign byte fails.
func TestForeignReplies(t *testing.T) {
	e := newEnv(t, nil)
	seed := testSeed(t)
	until := time.Now().Add(*forFlag)
	var wg sync.WaitGroup
	var replies, hangups, timeouts atomic.Int64
	for i := range 40 {
		o := &owner{t: t, addr: e.server.Addr().String(), id: i, until: until, rnd: rand.New(rand.NewSource(seed + int64(i))),
			mark: fmt.Sprintf("<%d>", i), replies: &replies, hangups: &hangups, timeouts: &timeouts}
		wg.Go(func() {
			for n := 0; time.Now().Before(until) && !t.Failed(); n++ {
				if err := o.life(); err != nil {
					t.Errorf("client %d: %v", o.id, err)
				}
			}
		})
	}
	wg.Go(func() { // sessions come and go meanwhile
		rnd := rand.New(rand.NewSource(seed - 1))
		for time.Now().Before(until) && !t.Failed() {
			if err := e.client.Do(context.Background(), "CREDPROXY", "EVICT", fmt.Sprintf("any/own%d.%d", rnd.Intn(40), rnd.Intn(3))).Err(); errors.Is(err, net.ErrClosed) {
				t.Errorf("EVICT: %v", err)
			}
		}
	})
	wg.Wait()
	t.Logf("%d replies read, %d hangups in the middle, %d timeouts, %d evictions", replies.Load(), hangups.Load(), timeouts.Load(), e.stat("evictions"))
	if replies.Load() == 0 || hangups.Load() == 0 || timeouts.Load() == 0 || e.stat("evictions") == 0 {
		t.Error("something was not tried")
	}
}

// owner is a client whose keys nobody else touches.
type owner struct {
	t                          *testing.T
	addr                       string
	id                         int
	until                      time.Time
	rnd                        *rand.Rand
	mark                       string
	replies, hangups, timeouts *atomic.Int64
}

func (o *owner) key() string {
	return fmt.Sprintf("s:own%d.%d:k%d", o.id, o.rnd.Intn(3), o.rnd.Intn(4))
}

func (o *owner) value() string {
	n := 1 + o.rnd.Intn(50)
	if o.rnd.Intn(20) == 0 {
		n = 5_000
	}
	return strings.Repeat(o.mark, n)
}

// life is one connection: some pipelines, and an end of some kind.
func (o *owner) life() error {
	nc, err := net.Dial("tcp", o.addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	w := dialled(o.t, nc)
	if o.rnd.Intn(2) == 0 {
		if _, err := w.do("HELLO", "3"); err != nil {
			return fmt.Errorf("HELLO: %w", err)
		}
	}
	for n := o.rnd.Intn(10); n >= 0 && time.Now().Before(o.until); n-- {
		if err := o.pipeline(w); err != nil {
			return err
		}
	}
	return o.end(nc, w)
}

// command is one whose reply, if it holds text at all, holds nothing but the mark.
func (o *owner) command() []string {
	switch o.rnd.Intn(10) {
	case 0, 1, 2:
		return []string{"SET", o.key(), o.value()}
	case 3:
		return []string{"MGET", o.key(), o.key(), o.key()}
	case 4:
		return []string{"ECHO", o.value()}
	case 5:
		return []string{"DEL", o.key()}
	case 6:
		return []string{"EVAL", "return redis.call('GET', KEYS[1])", "1", o.key()}
	}
	return []string{"GET", o.key()}
}

func (o *owner) pipeline(w *wire) error {
	var batch []byte
	n := 1 + o.rnd.Intn(20)
	if o.rnd.Intn(10) == 0 {
		n = 400
	}
	switch o.rnd.Intn(8) {
	case 0:
		batch = resp.AppendCommand(batch, "MULTI")
		for range n {
			batch = resp.AppendCommand(batch, o.command()...)
		}
		batch = resp.AppendCommand(batch, "EXEC")
		n += 2
	case 1:
		batch, n = resp.AppendCommand(batch, "BLPOP", fmt.Sprintf("s:own%d.0:list", o.id), "0.001"), 1
	case 2: // buffers that are lent to one client after the other
		key, large := o.key(), strings.Repeat(o.mark, 1_000+o.rnd.Intn(8_000))
		n = min(n, 60)
		if o.rnd.Intn(8) == 0 { // on both sides of what a lane copies, and of what has a connection of its own
			large, n = strings.Repeat(large, 1+o.rnd.Intn(16)), min(n, 6)
		}
		command := []string{"SET", key, large}
		if o.rnd.Intn(2) == 0 {
			command = []string{"GET", key}
		}
		for range n {
			batch = resp.AppendCommand(batch, command...)
		}
		batch = resp.AppendCommand(resp.AppendCommand(batch, "SET", key, large), "GET", key)
		n += 2
	default:
		for range n {
			batch = resp.AppendCommand(batch, o.command()...)
		}
	}
	sent := make(chan error, 1)
	go func() { _, err := w.nc.Write(batch); sent <- err }()
	for range n {
		if err := o.check(w.whole()); err != nil {
			w.nc.Close()
			<-sent
			return err
		}
		o.replies.Add(1)
	}
	return <-sent
}

// check looks for text that is not the owner's.
func (o *owner) check(frame string, err error) error {
	if err != nil {
		return err
	}
	v, _, err := resp.Parse([]byte(frame))
	if err != nil {
		return err
	}
	return o.checkValue(&v)
}

func (o *owner) checkValue(v *resp.Value) error {
	for i := range v.Elems {
		if err := o.checkValue(&v.Elems[i]); err != nil {
			return err
		}
	}
	switch {
	case v.Kind == '-':
		return fmt.Errorf("an error: %s", v.Str)
	case v.Kind == '$' && len(bytes.ReplaceAll(v.Str, []byte(o.mark), nil)) > 0:
		return fmt.Errorf("foreign bytes: %.200q", v.Str)
	}
	return nil
}

// end leaves while replies are still to come.
func (o *owner) end(nc net.Conn, w *wire) error {
	switch o.rnd.Intn(4) {
	case 0: // in the middle of a reply
		o.hangups.Add(1)
		key, value := o.key(), strings.Repeat(o.mark, 20_000)
		w.send("SET", key, value)
		for range 5 {
			w.send("GET", key)
		}
		_, _ = io.CopyN(io.Discard, w.in, int64(o.rnd.Intn(5*len(value))))
		if o.rnd.Intn(2) == 0 {
			return nc.(*net.TCPConn).SetLinger(0) // with a reset
		}
	case 1: // it does not wait for what it has asked
		o.timeouts.Add(1)
		w.send("BLPOP", fmt.Sprintf("s:own%d.0:list", o.id), "10")
		w.send("GET", o.key())
		must(o.t, nc.SetReadDeadline(time.Now().Add(time.Duration(o.rnd.Intn(3))*time.Millisecond)))
		_, _ = w.in.ReadByte()
	case 2: // with a transaction or a subscription open
		w.send("WATCH", o.key())
		w.send([][]string{{"MULTI"}, {"SUBSCRIBE", o.mark}}[o.rnd.Intn(2)]...)
		w.send("GET", o.key())
	}
	return nil
}
