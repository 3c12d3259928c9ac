package poll

import (
	"syscall"
	"unsafe"
)

// look returns the events that are there now. It cannot block, so Go's scheduler need not be told of the system call.
func (p *Poller) look(events []syscall.EpollEvent) int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.epfd), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}
