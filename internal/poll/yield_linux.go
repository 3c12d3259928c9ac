package poll

import "syscall"

// Yield lets threads that wait for this processor run first, whatever process they are of. For who moves many bytes and never has to wait: by
// itself the kernel lets such a thread go on for milliseconds while those with a small reply to pass on wait behind it.
func Yield() {
	syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0)
}
