package main

import (
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"credproxy/internal/testenv"
)

// manager stands in for systemd: it hears what the service says.
type manager struct {
	path  string
	mu    sync.Mutex // guards lines
	lines []string
}

func startManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{path: filepath.Join(t.TempDir(), "notify")}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.lines = append(m.lines, strings.Split(string(b[:n]), "\n")...)
			m.mu.Unlock()
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return m
}

// hears waits for a line behind the first skip ones, and returns how many lines there are up to it.
func (m *manager) hears(t *testing.T, line string, skip int) int {
	t.Helper()
	at := 0
	testenv.Eventually(t, time.Minute, "systemd hears "+line, func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		for i := skip; i < len(m.lines); i++ {
			if strings.HasPrefix(m.lines[i], line) {
				at = i + 1
				return true
			}
		}
		return false
	})
	return at
}

// The service manager hears when the service is ready, reloads, lives, has another process, and stops.
func TestServiceManager(t *testing.T) {
	m := startManager(t)
	server := testenv.Redis(t)
	p := startChain(t, runConfig(server.Addr(), ""), testenv.DSN(t), "NOTIFY_SOCKET="+m.path, "WATCHDOG_USEC=300000")
	at := m.hears(t, "READY=1", 0)
	m.hears(t, "STATUS=serving on "+p.addr, 0)
	m.hears(t, "WATCHDOG=1", 0)
	p.signal(syscall.SIGHUP)
	at = m.hears(t, "READY=1", m.hears(t, "RELOADING=1", at))
	p.handOver()
	m.hears(t, "MAINPID="+strconv.Itoa(p.pid), at)
	m.mu.Lock()
	at = len(m.lines)
	m.mu.Unlock()
	m.hears(t, "WATCHDOG=1", at) // of the new process
	_ = server.Pause()           // Redis's trouble is not the proxy's: to be restarted would not help
	m.mu.Lock()
	at = len(m.lines)
	m.mu.Unlock()
	_ = server.Resume()
	m.hears(t, "WATCHDOG=1", at)
	p.stop()
	m.hears(t, "STOPPING=1", at)
}

// The proxy takes sockets that systemd has opened. A shell stands in for systemd, so that LISTEN_PID is the program's number.
func TestSocketActivation(t *testing.T) {
	lns := make([]net.Listener, 2)
	config := writeFile(t, runConfig(testenv.Redis(t).Addr(), ""))
	inner := program(t, nil, "run", "--config", config)
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`}, inner.Args...)...)
	cmd.Env = append(inner.Env, "TEST_DSN="+testenv.DSN(t), "LISTEN_FDS=2", "LISTEN_FDNAMES=credproxy.socket:admin")
	for i := range lns {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lns[i], cmd.ExtraFiles = ln, append(cmd.ExtraFiles, f)
	}
	p := followChain(t, cmd)
	if p.addr != lns[0].Addr().String() || p.admin != "http://"+lns[1].Addr().String()+"/" {
		t.Errorf("the proxy serves %s and %s, systemd has opened %s and %s", p.addr, p.admin, lns[0].Addr(), lns[1].Addr())
	}
	c := dialWire(t, "tcp", p.addr)
	c.ask("SET wa:auth:n:creds 1", "+OK\r\n")
	p.handOver()
	c.ask("GET wa:auth:n:creds", "$1\r\n1\r\n")
	p.stop()
}
