// Package sdnotify speaks with systemd: it tells the service manager how the service is, and takes sockets that it has opened. The
// protocol is a datagram of lines, see sd_notify(3) and sd_listen_fds(3); outside systemd everything here does nothing.
package sdnotify

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Lines that Send takes as they are.
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
	Alive    = "WATCHDOG=1"
)

// Reloading says that the configuration is being read; Ready ends it. systemd wants to know since when by its own clock.
func Reloading() string { return "RELOADING=1\nMONOTONIC_USEC=" + strconv.FormatInt(monotonic(), 10) }

// Status is a line for people.
func Status(text string) string { return "STATUS=" + strings.ReplaceAll(text, "\n", " ") }

// MainPID says which process is the service from now on.
func MainPID(pid int) string { return "MAINPID=" + strconv.Itoa(pid) }

// Notifier sends to the service manager. A nil one sends nowhere.
type Notifier struct {
	addr  *net.UnixAddr
	every time.Duration
}

// FromEnv returns the Notifier that the environment names, nil without one. successor says that the process was started by the one that
// the service manager had started: the watchdog then is its as well.
func FromEnv(successor bool) *Notifier {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	n := &Notifier{addr: &net.UnixAddr{Name: path, Net: "unixgram"}}
	pid := os.Getenv("WATCHDOG_PID")
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err == nil && (pid == "" || successor || pid == strconv.Itoa(os.Getpid())) {
		n.every = time.Duration(usec) * time.Microsecond
	}
	return n
}

// Watchdog is how often, at the least, the service manager wants to hear Alive; 0: it does not.
func (n *Notifier) Watchdog() time.Duration {
	if n == nil {
		return 0
	}
	return n.every
}

// Send sends lines.
func (n *Notifier) Send(lines ...string) error {
	if n == nil {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, n.addr)
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(strings.Join(lines, "\n"))); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}

// firstFD is the descriptor of the first socket that systemd has opened.
const firstFD = 3

// Sockets are listening sockets that systemd has opened.
type Sockets struct {
	names []string
	files []*os.File
}

// Listeners returns the sockets that systemd has opened for this process. It may be called once.
func Listeners() (*Sockets, error) {
	pid, count := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name) // not for the processes that are started from here
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return &Sockets{}, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("take sockets from systemd: LISTEN_FDS is %q", count)
	}
	s := &Sockets{}
	for i := range n {
		syscall.CloseOnExec(firstFD + i)
		s.files = append(s.files, os.NewFile(uintptr(firstFD+i), "systemd socket"))
		name := ""
		if i < len(names) {
			name = names[i]
		}
		s.names = append(s.names, name)
	}
	return s, nil
}

// Take returns the socket with that FileDescriptorName, nil if there is none.
func (s *Sockets) Take(name string) (net.Listener, error) {
	if s == nil {
		return nil, nil
	}
	for i, n := range s.names {
		if n == name && s.files[i] != nil {
			return s.take(i)
		}
	}
	return nil, nil
}

// TakeFirst returns the first socket that Take has not returned, nil if there is none.
func (s *Sockets) TakeFirst() (net.Listener, error) {
	if s == nil {
		return nil, nil
	}
	for i, f := range s.files {
		if f != nil {
			return s.take(i)
		}
	}
	return nil, nil
}

func (s *Sockets) take(i int) (net.Listener, error) {
	f := s.files[i]
	s.files[i] = nil
	defer f.Close() // FileListener has one of its own
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("take socket %d from systemd: %w", i+1, err)
	}
	return ln, nil
}
