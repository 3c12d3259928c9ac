package poll

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// maxEvents is how many sockets one turn takes at most; more wait for the next.
const maxEvents = 512

// Event is a socket that is worth a try.
type Event struct {
	Conn *Conn
	// Hup: the other side has closed, or the connection failed; reading tells, behind what has still arrived. Kicked: Kick was called,
	// the read deadline was set to a time that has passed, or the connection was closed on this side; it need not be driven.
	Hup, Kicked bool
}

// Poller is one epoll instance and the goroutine that waits on it: Run.
type Poller struct {
	epfd, wakefd int
	asleep       atomic.Bool // Run may be in a system call that only wakefd ends

	mu     sync.RWMutex // guards conns and kicked; never held over a system call that waits
	conns  []*Conn      // by descriptor
	kicked []*Conn
	stop   atomic.Bool
}

// New makes a Poller; Run must be called for its connections to work.
func New() (*Poller, error) {
	epfd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	wakefd, _, errno := syscall.Syscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		syscall.Close(epfd)
		return nil, os.NewSyscallError("eventfd", errno)
	}
	p := &Poller{epfd: epfd, wakefd: int(wakefd)}
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(wakefd)}
	if err := syscall.EpollCtl(epfd, syscall.EPOLL_CTL_ADD, int(wakefd), &ev); err != nil {
		p.free()
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return p, nil
}

func (p *Poller) free() {
	syscall.Close(p.wakefd)
	syscall.Close(p.epfd)
}

// errKind says that Adopt cannot take a connection over.
var errKind = errors.New("not a TCP or Unix socket of the operating system's")

// Adopt takes a TCP or Unix socket over from Go's poller. On success nc must not be used any more; on error it is untouched.
func (p *Poller) Adopt(nc net.Conn) (*Conn, error) {
	filer, ok := nc.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("adopt %T: %w", nc, errKind)
	}
	f, err := filer.File()
	if err != nil {
		return nil, fmt.Errorf("adopt a connection: %w", err)
	}
	defer f.Close()
	// One more duplicate: an os.File closes its descriptor when it is collected.
	fd, _, errno := syscall.Syscall(syscall.SYS_FCNTL, f.Fd(), syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return nil, os.NewSyscallError("fcntl", errno)
	}
	c := newConn(p, int(fd), nc.LocalAddr(), nc.RemoteAddr())
	if err := syscall.SetNonblock(c.fd, true); err != nil {
		syscall.Close(c.fd)
		return nil, os.NewSyscallError("set nonblock", err)
	}
	if err := p.register(c); err != nil {
		syscall.Close(c.fd)
		return nil, err
	}
	nc.Close() // its descriptor; the connection lives on in ours, and Go's poller is rid of it
	return c, nil
}

const (
	quietEvents = 1 << 31 // EPOLLET, which syscall has with a sign
	readEvents  = syscall.EPOLLIN | syscall.EPOLLRDHUP | quietEvents
)

func (p *Poller) register(c *Conn) error {
	p.mu.Lock()
	for c.fd >= len(p.conns) {
		p.conns = append(p.conns, make([]*Conn, max(64, len(p.conns)))...)
	}
	p.conns[c.fd] = c
	p.mu.Unlock()
	ev := syscall.EpollEvent{Events: readEvents, Fd: int32(c.fd)}
	if err := syscall.EpollCtl(p.epfd, syscall.EPOLL_CTL_ADD, c.fd, &ev); err != nil {
		p.forget(c)
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

// watch has those edges reported that c wants: bytes that arrive unless it is quiet, and when the socket takes bytes again.
func (p *Poller) watch(c *Conn) error {
	events := uint32(readEvents)
	if c.quiet {
		events = quietEvents
	}
	if c.watched {
		events |= syscall.EPOLLOUT
	}
	ev := syscall.EpollEvent{Events: events, Fd: int32(c.fd)}
	return os.NewSyscallError("epoll_ctl", syscall.EpollCtl(p.epfd, syscall.EPOLL_CTL_MOD, c.fd, &ev))
}

// ignore ends the reports about a socket.
func (p *Poller) ignore(c *Conn) {
	_ = syscall.EpollCtl(p.epfd, syscall.EPOLL_CTL_DEL, c.fd, nil) // it is there
}

func (p *Poller) forget(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns[c.fd] == c {
		p.conns[c.fd] = nil
	}
}

// Kick puts a connection into the next turn, whether it is ready and driven or not.
func (p *Poller) Kick(c *Conn) {
	p.mu.Lock()
	p.kicked = append(p.kicked, c)
	p.mu.Unlock()
	p.Wake()
}

// Wake makes Run begin a turn. Whatever was written before it is seen in that turn.
func (p *Poller) Wake() {
	if !p.asleep.CompareAndSwap(true, false) {
		return // it looks before it sleeps
	}
	one := [8]byte{1}
	// The counter cannot overflow: it is read after every wake.
	_, _ = syscall.Write(p.wakefd, one[:])
}

// Run waits for readiness until Stop, and calls turn with the driven connections that are ready and those that were kicked. tick
// bounds how long it waits, 0: for ever; then turn gets none. It may be called once; afterwards the Poller is of no use.
func (p *Poller) Run(tick time.Duration, turn func(ready []Event)) {
	defer p.free()
	events := make([]syscall.EpollEvent, maxEvents)
	var ready []Event
	for !p.stop.Load() {
		n := p.wait(events, tick)
		ready = p.collect(ready[:0], events[:n])
		turn(ready)
		clear(ready)
	}
}

// wait returns how many events there are. It looks twice: the first look is free of what Go has to do around a system call
// that may block.
func (p *Poller) wait(events []syscall.EpollEvent, tick time.Duration) int {
	if n := p.look(events); n > 0 {
		return n
	}
	p.asleep.Store(true)
	defer p.asleep.Store(false)
	if p.stop.Load() || p.hasKicked() {
		return 0
	}
	timeout := -1
	if tick > 0 {
		timeout = int(tick / time.Millisecond)
	}
	n, err := syscall.EpollWait(p.epfd, events, timeout)
	if err != nil {
		return 0 // EINTR; nothing else can happen to a descriptor that is ours
	}
	return n
}

func (p *Poller) hasKicked() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.kicked) > 0
}

// collect turns events into connections: driven ones into the result, the goroutines that wait for the others are woken.
func (p *Poller) collect(ready []Event, events []syscall.EpollEvent) []Event {
	p.mu.RLock()
	for i := range events {
		ev := &events[i]
		if int(ev.Fd) == p.wakefd {
			p.drainWake()
			continue
		}
		c := p.conns[ev.Fd]
		if c == nil {
			continue // closed since
		}
		hup := ev.Events&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0
		if ev.Events&(syscall.EPOLLOUT|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
			c.writable.set()
		}
		if !c.driven {
			c.readable.set()
		} else {
			ready = append(ready, Event{Conn: c, Hup: hup})
		}
	}
	kicked := len(p.kicked) > 0
	p.mu.RUnlock()
	if kicked {
		ready = p.takeKicked(ready)
	}
	return ready
}

func (p *Poller) takeKicked(ready []Event) []Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.kicked {
		ready = append(ready, Event{Conn: c, Kicked: true})
	}
	clear(p.kicked)
	p.kicked = p.kicked[:0]
	return ready
}

func (p *Poller) drainWake() {
	var count [8]byte
	_, _ = syscall.Read(p.wakefd, count[:])
}

// Stop makes Run return. Connections must have been closed before.
func (p *Poller) Stop() {
	p.stop.Store(true)
	p.Wake()
}
