package proxy

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/tidwall/redcon"

	"credproxy/internal/handover"
	"credproxy/internal/resp"
	"credproxy/proxy/upstream"
)

// A process hands its clients over to its successor without one of them noticing.
//
//	H1  Only one process at a time runs commands on sessions, saves, restores or evicts: the gate is in its memory. Before HandOver it
//	    is the old one, after it the new one; between Suspend and HandOver it is nobody.
//	H2  What the new process reads at its start (entries, marks, heat, Postgres) is read while nobody changes it: no command is in
//	    flight, no flight is under way, everything is saved, and the old process's lease is released.
//	H3  Until HandOver nothing is final: GoOn goes on with every client as it was. The caller must know that the new process is dead, and that
//	    it had not begun to serve.
//	H4  A client is handed over between two commands: its replies are in the socket, what it has sent since is there too, or in
//	    Unread. Whose connection has state in this process or in Redis (a transaction, a subscription, tracking) is disconnected.
//	H5  The state of a TLS connection cannot be given away. The old process keeps such a connection, as a pipe to the new one, and ends
//	    when the last of them has gone.
const (
	// presaveTime is how long changes are saved while clients are served still, so that little is left for when they wait.
	presaveTime = 2 * time.Second
	quietPoll   = time.Millisecond
)

// Heir is what a client leaves to the next process, beside its socket.
type Heir struct {
	ID            int64
	Created, Last int64 // unix milliseconds
	Peer          string
	Plain         bool // the socket is the client's own, not a pipe
	DB, Proto     int
	Authed, Muted bool
	Skip          int
	Fresh         bool // never was a client: it waits to become one
	Own           bool // the proxy judges who the client is, not Redis
	// Auth says that commands travel as Login with Password. Bytes, as JSON's texts cannot hold all of them.
	Auth            bool
	Login, Password []byte
	User, Name      []byte
	LibName, LibVer []byte
}

// Suspend stops all work and holds all clients, between two commands each, with everything saved. Afterwards either GoOn or HandOver
// has to be called. With an error everything goes on as before.
func (s *Server) Suspend(ctx context.Context) error {
	if err := s.suspend(ctx); err != nil {
		s.GoOn()
		return fmt.Errorf("hold all clients: %w", err)
	}
	return nil
}

func (s *Server) suspend(ctx context.Context) error {
	s.duties.chores.stop()
	since := s.presave(ctx)
	s.halter.begin()
	if err := s.listener.Halt(ctx); err != nil {
		return fmt.Errorf("stop accepting: %w", err)
	}
	if err := s.holdClients(ctx); err != nil {
		return err
	}
	if err := s.refuseActs(ctx); err != nil {
		return err
	}
	for s.underway.Load() > 0 {
		if err := pause(ctx, quietPoll, context.DeadlineExceeded); err != nil {
			return fmt.Errorf("wait for restores and lost connections: %w", err)
		}
	}
	if err := s.saveAll(ctx); err != nil {
		return err
	}
	s.flushHeat(ctx, since)
	s.duties.stores.stop()
	return ctx.Err()
}

// refuseActs refuses what operators ask for by the dashboard. What they ask for as clients waits with those.
func (s *Server) refuseActs(ctx context.Context) error {
	s.duties.off.Store(true)
	for !s.duties.acts.TryLock() {
		if err := pause(ctx, quietPoll, context.DeadlineExceeded); err != nil {
			return fmt.Errorf("wait for what an operator has asked for: %w", err)
		}
	}
	s.duties.acts.Unlock()
	return nil
}

// presave saves what it can while clients are served; it returns from when on heat is still to be written. Failures show later.
func (s *Server) presave(ctx context.Context) (since int64) {
	ctx, cancel := context.WithTimeout(ctx, presaveTime)
	defer cancel()
	_, _ = s.saver.sync(ctx)
	return s.flushHeat(ctx, 0)
}

// GoOn goes on as if Suspend had not been called.
func (s *Server) GoOn() {
	s.duties.stop()
	s.doubtMarks()
	s.startDuties()
	s.duties.off.Store(false)
	s.listener.Resume()
	s.halter.end(false)
	for _, c := range s.clients.list() {
		c.conn.Unnudge()
	}
}

// doubtMarks has marks set anew before the next write: the successor, which has died, may have brought them into a form of its own.
func (s *Server) doubtMarks() {
	s.sessions.table.Range(func(_ *shard, it *item) bool {
		if it.Value.more != nil {
			it.Value.more.doubtLocked()
		}
		return true
	})
}

// HeldSince is when Suspend began to hold clients.
func (s *Server) HeldSince() time.Time {
	s.halter.mu.Lock()
	defer s.halter.mu.Unlock()
	return s.halter.since
}

// Abandon closes a proxy that listens but will not serve: the listener is left to the process before.
func (s *Server) Abandon() {
	s.listener.Release()
	s.close()
}

// Listener calls f with the descriptor of the socket that clients connect to.
func (s *Server) Listener(f func(fd uintptr) error) error { return s.listener.Descriptor(f) }

// HandOver gives every client that it can to send, with its socket and what was read of it, and lets go of all of them. When it
// returns, this process serves nobody but as a pipe. The counts are of the clients that were handed over, and that had to be
// disconnected.
func (s *Server) HandOver(send func(h Heir, unread []byte, fd int) error) (given, cut int, err error) {
	s.life.Lock()
	s.closing.Store(true)
	s.life.Unlock()
	for _, c := range s.clients.list() {
		if err == nil && s.halter.holds(c) && c.isPortable() {
			if err = c.handOver(send); err == nil {
				given++
				continue
			}
		}
		cut++
		c.cancel()
		c.conn.Close()
	}
	for _, conn := range s.listener.Waiting() {
		if err == nil {
			_, err = conn.Descriptor(func(fd uintptr) error { return send(Heir{Plain: true, Fresh: true}, nil, int(fd)) })
		}
		conn.Leave()
	}
	s.listener.Release()
	s.halter.end(true)
	return given, cut, err
}

// isPortable reports whether all that the client has is in what handOver sends.
func (c *client) isPortable() bool {
	return c.own == nil && c.tx == nil && !c.watching && !c.tracking && !c.monitor && !c.quit
}

// handOver sends the client, which is held, and lets go of its socket.
func (c *client) handOver(send func(h Heir, unread []byte, fd int) error) error {
	h := c.heir()
	plain, err := c.conn.Descriptor(func(fd uintptr) error { return send(h, c.conn.Unread(), int(fd)) })
	if plain {
		if err == nil {
			c.conn.Leave()
		}
		return err
	}
	near, far, err := handover.SocketPair()
	if err != nil {
		return err
	}
	defer far.Close()
	if c.pipe, err = newPipe(near); err != nil {
		return err
	}
	h.Plain = false
	return send(h, c.conn.Unread(), int(far.Fd()))
}

func (c *client) heir() Heir {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Heir{
		ID: c.id, Created: c.created.UnixMilli(), Last: c.info.lastAt.UnixMilli(), Peer: c.conn.RemoteAddr().String(), Plain: true,
		DB: c.ident.DB, Proto: c.ident.Proto, Authed: c.authed, Muted: c.muted, Skip: c.skip, Own: c.s.rules.Load().own != nil,
		Auth: c.ident.Auth, Login: []byte(c.ident.User), Password: []byte(c.ident.Password), User: []byte(c.info.user),
		Name: []byte(c.info.name), LibName: []byte(c.info.libName), LibVer: []byte(c.info.libVer),
	}
}

// AfterHandOver waits until the last pipe has ended, at most until ctx ends, and closes everything.
func (s *Server) AfterHandOver(ctx context.Context) {
	gone := make(chan struct{})
	go func() {
		s.clients.wg.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
		for _, c := range s.clients.list() {
			c.conn.Close()
		}
		<-gone
	}
	close(s.drained)
	s.close()
}

// heirs are the clients of the process before, on their way to redcon.
type heirs struct {
	s     *Server
	front *redcon.Server
	queue chan *heir
}

// heir is a client of the process before.
type heir struct {
	*resp.Conn
	before Heir
}

// Expect prepares the proxy for clients of the process before. Call it before Serve.
func (s *Server) Expect() {
	s.heirs = &heirs{s: s, front: redcon.NewServerNetwork("", "", s.handle, s.accept, s.closed), queue: make(chan *heir)}
}

// serve hands clients to redcon until the proxy has been drained.
func (h *heirs) serve() { _ = h.front.Serve(h) }

// Accept is for redcon.
func (h *heirs) Accept() (net.Conn, error) {
	select {
	case heir := <-h.queue:
		return heir, nil
	case <-h.s.drained:
		return nil, net.ErrClosed
	}
}

// Close is for redcon.
func (h *heirs) Close() error { return nil }

// Addr is for redcon.
func (h *heirs) Addr() net.Addr { return h.s.listener.Addr() }

// Inherit goes on with a client of the process before, once Serve has begun.
func (s *Server) Inherit(h Heir, unread []byte, socket *os.File) error {
	<-s.serving
	nc, err := net.FileConn(socket)
	if err != nil {
		return fmt.Errorf("open an inherited connection: %w", err)
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(keepAlive(s.cfg.Exposure.KeepAlive)) // FileConn has set Go's own
	}
	var peer net.Addr
	if !h.Plain {
		peer = pipedAddr(h.Peer)
	}
	conn := &heir{Conn: s.listener.Inherit(nc, unread, peer), before: h}
	select {
	case s.heirs.queue <- conn:
		return nil
	case <-s.drained:
		return conn.Close()
	}
}

// guardOf returns the guard of a connection that redcon has accepted, and what the process before says of the client.
func guardOf(nc net.Conn) (conn *resp.Conn, before *Heir, ok bool) {
	switch nc := nc.(type) {
	case *resp.Conn:
		return nc, nil, true
	case *heir:
		if nc.before.Fresh {
			return nc.Conn, nil, true
		}
		return nc.Conn, &nc.before, true
	}
	return nil, nil, false
}

// inherit makes the client what it was; false: it cannot be, as other users count now.
func (c *client) inherit(h *Heir) bool {
	own := c.s.rules.Load().own != nil
	if own != h.Own {
		return false
	}
	if !own {
		c.ident = upstream.Identity{Auth: h.Auth, User: string(h.Login), Password: string(h.Password)}
	}
	c.ident.DB, c.ident.Proto = h.DB, h.Proto
	c.id, c.created = h.ID, time.UnixMilli(h.Created)
	c.muted, c.skip = h.Muted, h.Skip
	c.setAuthed(h.Authed)
	c.info = clientInfo{proto: h.Proto, db: h.DB, multi: -1, user: string(h.User), lastAt: time.UnixMilli(h.Last),
		name: string(h.Name), libName: string(h.LibName), libVer: string(h.LibVer)}
	return true
}

// Bequest is what the process as a whole leaves to the next one.
type Bequest struct {
	NextClient int64
	Paused     bool // eviction is paused
}

// Bequest is to be asked for while clients are held.
func (s *Server) Bequest() Bequest {
	s.clients.mu.Lock()
	defer s.clients.mu.Unlock()
	return Bequest{NextClient: s.clients.next, Paused: s.policy.paused.Load()}
}

// TakeOn goes on as the process before has said. Call it before Serve.
func (s *Server) TakeOn(b Bequest) {
	s.clients.mu.Lock()
	defer s.clients.mu.Unlock()
	s.clients.next = max(s.clients.next, b.NextClient)
	s.policy.paused.Store(b.Paused)
}
