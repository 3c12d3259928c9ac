package proxy

import (
	"net"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"credproxy/internal/poll"
	"credproxy/internal/resp"
	"credproxy/keyspace"
	"credproxy/proxy/upstream"
)

// A lane serves, in one goroutine, the clients whose commands need nothing but a resident session and the shared connection: it
// reads what they have sent, passes the gates, sends the commands of all of them upstream in one write, and gives them their
// replies. That is nearly everything that bots send. Whatever else comes up, a session to be restored, a removal that Postgres
// has to know of first, a transaction, an error that asks for more than to be passed on, is the work of the client's own goroutine,
// which waits meanwhile (client.ride). Nothing in a lane may block.
//
//	X1  A client belongs to its goroutine or to its lane, never to both. The goroutine gives it to the lane with seat.board, the lane
//	    gives it back by sending to seat.leave, and only while no command of the client is under way in the lane.
//	X2  While commands of a client are under way (flying) nothing is read from it: its requests stay where they are in the guard's
//	    buffer, because the group's touches point into it; and replies keep their order without a queue.
//	X3  The lane does with a group what the client's goroutine would: the same admission, the same books, the same marks in front of
//	    the same writes. It only never waits: a step that would have to is left to the goroutine, with the group as it is.
//	X4  A group that was sent is finished exactly once, by the lane or, if something is odd about the replies, by the goroutine.
type lane struct {
	s      *Server
	poller *poll.Poller
	alone  bool          // there is one processor for all goroutines
	done   chan struct{} // closed when run has returned
	buf    []byte        // what is read from Redis in one go
	landed []*seat       // whose replies have come in this turn
	lines  []*upstream.Conn
	at     time.Time // when this turn began
	now    int64     // the same, unix nanoseconds
	names  keyspace.Latest
	plain  *keyspace.Command // just goes upstream, by these rules, whatever its arguments
	rules  *rules
	swept  int64 // when idle clients were last looked for
	seats  map[*seat]struct{}
}

// seat is a client's place in its lane. Its fields belong to the lane, but for leave and boarding.
type seat struct {
	l     *lane
	c     *client
	sock  *poll.Conn
	leave chan error // ends the ride

	boarding atomic.Bool // the goroutine has given the client to the lane

	riding bool
	flying bool           // commands of the client are under way
	going  bool           // it has to leave as soon as nothing is under way
	why    error          // with which it leaves
	odd    bool           // the goroutine has to finish the group, or to write what is left
	more   bool           // there may be bytes to read
	hup    bool           // the client has closed its side: behind what there is to read is the end
	heard  int64          // when it was last heard of, unix nanoseconds
	line   *upstream.Conn // carries its commands
	land   func()         // notes that its replies are in, as a value made once
}

const (
	laneBuffer = 64 << 10 // as much as Redis writes at once
	// earlySend is from how many queued bytes on they are sent in the middle of a turn: then Redis has work meanwhile.
	earlySend  = 16 << 10
	sweepEvery = time.Second
)

func newLane(s *Server) (*lane, error) {
	p, err := poll.New()
	if err != nil {
		return nil, err
	}
	return &lane{s: s, poller: p, alone: runtime.GOMAXPROCS(0) == 1, done: make(chan struct{}), buf: make([]byte, laneBuffer), seats: map[*seat]struct{}{},
		names: keyspace.Latest{Table: s.table}}, nil
}

func (l *lane) run() {
	defer close(l.done)
	l.poller.Run(sweepEvery, l.turn)
}

// stop ends the lane, after all its clients and connections have ended.
func (l *lane) stop() {
	l.poller.Stop()
	<-l.done
}

// turn is one round: what Redis has sent first, so that the replies to one client and its next commands, and those of others, meet in one
// write upstream.
func (l *lane) turn(ready []poll.Event) {
	l.at = time.Now()
	l.now = l.at.UnixNano()
	for _, ev := range ready {
		if line, ok := ev.Conn.Tag.(*upstream.Conn); ok {
			l.hear(line)
		}
	}
	for _, ev := range ready {
		if st, ok := ev.Conn.Tag.(*seat); ok {
			st.note(ev)
			l.safely(st, st.serve)
		}
	}
	for _, line := range l.lines {
		l.send(line)
	}
	clear(l.lines)
	l.lines = l.lines[:0]
	l.sweep()
	if l.alone {
		runtime.Gosched() // or the others would wait until the scheduler takes the processor away
	}
}

// hear takes what Redis has sent.
func (l *lane) hear(line *upstream.Conn) {
	sock := line.Socket()
	sock.Drive(true)
	for more := line.Err() == nil; more; {
		more = line.ReadTurn(l.buf)
		l.pass()
	}
	l.send(line)
	if line.Err() != nil && line.Reap() {
		sock.Drive(false)
		l.pass()
	}
}

// pass gives the clients whose replies have come what is theirs. It is done piece by piece, so that the clients, the lane and Redis
// work at the same time when a lot is under way.
func (l *lane) pass() {
	for _, st := range l.landed {
		l.safely(st, st.arrive)
	}
	clear(l.landed)
	l.landed = l.landed[:0]
}

// send writes what is queued on a connection; what it does not take follows when it reports that it does.
func (l *lane) send(line *upstream.Conn) {
	if !line.WriteTurn() {
		_ = line.Socket().WatchWrites() // an error comes again with the next write
	}
}

// safely runs one step for a client: a defect of ours must cost this client, not the others.
func (l *lane) safely(st *seat, step func()) {
	defer func() {
		if p := recover(); p != nil {
			st.c.panicked(p)
			st.flying, st.odd = false, false
			st.dismiss(net.ErrClosed)
		}
	}()
	step()
}

// sweep ends clients that have been idle for too long.
func (l *lane) sweep() {
	if l.now-l.swept < int64(sweepEvery) {
		return
	}
	l.swept = l.now
	for st := range l.seats {
		if limit := st.c.conn.IdleTimeout; limit > 0 && !st.flying && l.now-st.heard > int64(limit) {
			st.dismiss(os.ErrDeadlineExceeded)
		}
	}
}

// board begins a ride; it is called by the client's goroutine, which then waits for leave.
func (st *seat) board(line *upstream.Conn) {
	st.line = line
	st.boarding.Store(true)
	st.l.poller.Kick(st.sock)
}

// note takes in what the poller says about the client's socket.
func (st *seat) note(ev poll.Event) {
	switch {
	case !ev.Kicked:
		st.more = true
		st.hup = st.hup || ev.Hup
	case !st.riding && st.boarding.Swap(false):
		st.riding, st.more, st.going, st.odd, st.why = true, true, false, false, nil
		st.heard = st.l.now
		st.l.seats[st] = struct{}{}
		st.sock.Drive(true)
	}
	if st.riding && (st.sock.IsClosed() || st.sock.Expired()) {
		st.going = true
		if st.why = os.ErrDeadlineExceeded; st.sock.IsClosed() {
			st.why = net.ErrClosed
		}
	}
}

// dismiss gives the client back to its goroutine, as soon as nothing of it is under way.
func (st *seat) dismiss(why error) {
	if !st.riding {
		return
	}
	if st.flying {
		st.going, st.why = true, why
		return
	}
	st.riding = false
	delete(st.l.seats, st)
	st.sock.Drive(false)
	st.leave <- why
}

// serve sends on what the client has sent.
func (st *seat) serve() {
	if !st.riding || st.flying {
		return
	}
	if st.going {
		st.dismiss(st.why)
		return
	}
	for !st.gather() && !st.going && st.more {
		st.pull()
	}
	st.c.tally()
	switch {
	case len(st.c.g.entries) > 0:
		st.fly()
	case st.going:
		st.dismiss(st.why)
	default:
		st.c.conn.Rest()
	}
}

// gather makes a group of the commands that have arrived; false: there is none.
func (st *seat) gather() bool {
	c := st.c
	for len(c.g.entries) < firstGroup+c.more && c.g.size < maxGroupBytes && !st.going {
		if len(c.g.entries) == 0 {
			c.laneArgs = c.laneArgs[:0]
		}
		from := len(c.laneArgs)
		// One array for the whole group: its touches point into it. It may have grown also without a command.
		raw, args, found := c.conn.Next(c.laneArgs)
		c.laneArgs = args
		if found == resp.Nothing {
			break
		}
		if found == resp.Other {
			st.going = true
			break
		}
		args = args[from:]
		cmd := st.l.names.Lookup(args)
		if len(c.g.entries) >= maxGroup && cmd != nil && !cmd.OnlyReads() {
			c.conn.Again(raw) // it begins the next group
			break
		}
		if len(c.g.entries) == 0 && !c.depart(st.line) || !c.express(cmd, raw, args) {
			c.conn.Back(raw)
			st.going = true
		}
	}
	return len(c.g.entries) > 0
}

// pull makes one attempt to read from the client.
func (st *seat) pull() {
	more, err := st.c.conn.Pull()
	st.more, st.heard = more || st.hup, st.l.now
	if err != nil {
		st.going, st.why = true, err
	}
}

// fly sends the client's group.
func (st *seat) fly() {
	c := st.c
	req, n, err := c.takeOff()
	if err == nil {
		c.writeBarrier("mark-unsent", "write-unsent")
		c.boundReplies()
		err = st.line.Queue(c.call, n, req, st.land)
	}
	if err != nil { // nothing was sent: the group fails as it would with the goroutine
		c.call.Fail(err)
		st.odd, st.going = true, true
		st.dismiss(nil)
		return
	}
	st.flying = true
	if st.line.Queued() >= earlySend {
		st.l.send(st.line)
		return
	}
	if !slices.Contains(st.l.lines, st.line) {
		st.l.lines = append(st.l.lines, st.line)
	}
}

// arrive passes the replies on, and goes on with what the client has sent besides.
func (st *seat) arrive() {
	if !st.flying {
		return // it was given up
	}
	c := st.c
	st.flying = false
	c.writeBarrier("mark-sent", "write-replied")
	if c.isOdd() {
		st.odd = true
		st.dismiss(st.why)
		return
	}
	c.land()
	c.expect(c.call.Size(), len(c.call.Ends))
	replies := c.call.Replies
	if c.isPlainly() {
		c.finishAll()
	} else {
		c.distribute(nil)
		replies = c.out
	}
	c.g.reset()
	rest, err := c.conn.Put(replies)
	c.timer.end(c)
	switch {
	case err != nil:
		st.going, st.why = true, err
	case len(rest) > 0:
		c.out = append(c.out[:0], rest...)
		st.odd, st.going = true, true
	default:
		c.keepOut()
		st.going = st.going || c.conn.Lags() // or it would be served at full speed for as long as it does not read
	}
	c.call.Free()
	st.serve()
}

// startLanes begins the lanes; without any, every client is served by its goroutine alone.
func (s *Server) startLanes() {
	if s.certs.upstream != nil {
		return // TLS cannot be driven: a turn would wait in the middle of a record
	}
	for range max(1, runtime.GOMAXPROCS(0)/lanesPer) {
		l, err := newLane(s)
		if err != nil {
			s.log.Warn("clients are served without lanes, which costs more processor time", "error", err)
			return
		}
		s.lanes = append(s.lanes, l)
		go l.run()
	}
}

// lanesPer is for how many processors there is one lane: the rest is Redis's, the clients' goroutines' and the saver's.
const lanesPer = 4

func (s *Server) stopLanes() {
	for _, l := range s.lanes {
		l.stop()
	}
}

// adopt gives a welcome client's connection to a lane; one that no lane can take stays as it is.
func (s *Server) adopt(nc net.Conn) net.Conn {
	if len(s.lanes) == 0 {
		return nc
	}
	pc, err := s.lanes[s.nextLane.Add(1)%uint32(len(s.lanes))].poller.Adopt(nc)
	if err != nil {
		return nc
	}
	return pc
}
