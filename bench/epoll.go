package main

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// Thin ways to the kernel, past Go's scheduler, which would account for each call.

// epoll is an epoll instance.
type epoll struct{ fd int }

func newEpoll() (epoll, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return epoll{}, fmt.Errorf("create epoll: %w", err)
	}
	return epoll{fd}, nil
}

func (e epoll) close() { _ = syscall.Close(e.fd) }

// set adds or changes what is awaited of a connection; slot comes back with its events.
func (e epoll) set(op, fd, slot int, events uint32) error {
	ev := syscall.EpollEvent{Events: events, Fd: int32(slot)}
	if err := syscall.EpollCtl(e.fd, op, fd, &ev); err != nil {
		return fmt.Errorf("watch connection: %w", err)
	}
	return nil
}

// epollPwait2 waits with a limit in nanoseconds; epoll_wait knows milliseconds only. The number is the same on every
// architecture.
const epollPwait2 = 441

// wait returns how many events there are. It, too, goes past the scheduler, which would take the processor away from a waiting
// thread and look for such threads 50,000 times a second; so there must be processors beyond those of the loops (see makeRoom).
func (e epoll) wait(events []syscall.EpollEvent, most time.Duration) (int, error) {
	limit := syscall.NsecToTimespec(int64(most))
	n, _, errno := syscall.RawSyscall6(epollPwait2, uintptr(e.fd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)),
		uintptr(unsafe.Pointer(&limit)), 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case syscall.EINTR:
		return 0, nil
	}
	return 0, fmt.Errorf("wait for replies: %w", errno)
}

// makeRoom gives Go's scheduler enough threads that the loops, which never leave theirs, do not stop everything else.
func makeRoom(loops int) {
	if least := loops + 2; runtime.GOMAXPROCS(0) < least {
		runtime.GOMAXPROCS(least)
	}
}

// receive reads what is there, 0 bytes if nothing is.
func receive(fd int, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return 0, nil
	case errno != 0:
		return 0, fmt.Errorf("read reply: %w", errno)
	case n == 0:
		return 0, errClosed
	}
	return int(n), nil
}

var errClosed = errors.New("read reply: the target closed the connection")

// send writes what the connection takes, 0 bytes if nothing.
func send(fd int, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return 0, nil
	case errno != 0:
		return 0, fmt.Errorf("send: %w", errno)
	}
	return int(n), nil
}

// connectTime bounds one connection's start.
const connectTime = 10 * time.Second

// connectRaw opens a connection that Go's own poller does not watch: it would be woken by every reply as well.
func connectRaw(addr string) (int, error) {
	to, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	family, where := sockaddr(to)
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	limit := syscall.NsecToTimeval(int64(connectTime))
	err = errors.Join(
		syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &limit),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1),
		connectUninterrupted(fd, where),
		syscall.SetNonblock(fd, true),
	)
	if err != nil {
		_ = syscall.Close(fd) // it was never used
		return 0, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}

// connectUninterrupted waits on when a signal, which Go's runtime sends to itself, has ended the wait.
func connectUninterrupted(fd int, where syscall.Sockaddr) error {
	for {
		err := syscall.Connect(fd, where)
		switch err {
		case syscall.EINTR:
		case syscall.EISCONN: // while it was not awaited
			return nil
		default:
			return err
		}
	}
}

func sockaddr(a *net.TCPAddr) (family int, where syscall.Sockaddr) {
	if v4 := a.IP.To4(); v4 != nil {
		return syscall.AF_INET, &syscall.SockaddrInet4{Port: a.Port, Addr: [4]byte(v4)}
	}
	return syscall.AF_INET6, &syscall.SockaddrInet6{Port: a.Port, Addr: [16]byte(a.IP.To16())}
}
