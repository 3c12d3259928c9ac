package resp

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// reserve is a descriptor that is kept for the moment at which there are no more: given up, it lets one client be accepted and told
// so, instead of letting it wait for an answer that cannot come. It belongs to the accept loop.
type reserve struct{ file *os.File }

func (r *reserve) keep() {
	if r.file == nil {
		r.file, _ = os.Open(os.DevNull) // without it clients wait until there are descriptors again
	}
}

func (r *reserve) release() bool {
	if r.file == nil {
		return false
	}
	_ = r.file.Close()
	r.file = nil
	return true
}

// turnAway refuses the next client when the process, or the system, is out of descriptors; false: that is not what has failed,
// or it could not be done.
func (l *Listener) turnAway(failed error) bool {
	if !errors.Is(failed, syscall.EMFILE) && !errors.Is(failed, syscall.ENFILE) || !l.spare.release() {
		return false
	}
	defer l.spare.keep()
	nc, err := l.ln.Accept()
	if err != nil {
		return false
	}
	say(nc, errMaxClients)
	return true
}

// say sends a few bytes to a client that is nobody yet, whose socket has room for them, and closes it. With TLS there is nothing to
// say before a handshake.
func say(nc net.Conn, text string) {
	if raw, ok := nc.(syscall.Conn); ok {
		if rc, err := raw.SyscallConn(); err == nil {
			_ = rc.Control(func(fd uintptr) {
				_, _ = syscall.SendmsgN(int(fd), []byte(text), nil, nil, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
			})
		}
	}
	_ = nc.Close()
}
