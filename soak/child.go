package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is one incarnation of the proxy.
type child struct {
	pid    int
	cmd    *exec.Cmd
	served chan struct{} // closed when it says that it serves
	ended  chan struct{} // closed when it has been reaped
	buried bool          // the keeper is done with it

	mu  sync.Mutex // guards log
	log []string   // the last lines that it said
}

// keptLines is how much of a proxy's log is kept for reports.
const keptLines = 60

// startChild starts the proxy; crash is its CREDPROXY_BARRIER.
func (s *stack) startChild(crash string) (*child, error) {
	c := &child{served: make(chan struct{}), ended: make(chan struct{})}
	c.cmd = exec.Command(s.binary, "run", "--config", s.config)
	c.cmd.Env = append(os.Environ(), "CREDPROXY_BARRIER="+crash, "CREDPROXY_PLANT="+s.plant)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	out, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start the proxy: %w", err)
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the death signal is tied to this thread, which ends with this goroutine
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.follow(out)
			_ = c.cmd.Wait() // how it ended is in ProcessState
			close(c.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the proxy: %w", err)
	}
	c.pid = c.cmd.Process.Pid
	return c, nil
}

func (c *child) follow(out io.Reader) {
	serves := sync.OnceFunc(func() { close(c.served) })
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if bytes.Contains(lines.Bytes(), []byte(`"@message":"serving"`)) {
			serves()
		}
		c.mu.Lock()
		if c.log = append(c.log, lines.Text()); len(c.log) > keptLines {
			c.log = c.log[1:]
		}
		c.mu.Unlock()
	}
}

func (c *child) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.log, "\n")
}

// ready waits until the proxy serves; false if it has ended instead.
func (c *child) ready(ctx context.Context) bool {
	select {
	case <-c.served:
		return true
	case <-c.ended:
	case <-ctx.Done():
	}
	return false
}

// serves reports whether it has said that it serves.
func (c *child) serves() bool {
	select {
	case <-c.served:
		return true
	default:
		return false
	}
}

// kill ends the proxy at once and waits until it is gone.
func (c *child) kill() {
	_ = c.signal(syscall.SIGKILL)
	<-c.ended
}

func (c *child) signal(sig syscall.Signal) error {
	if err := c.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal the proxy: %w", err)
	}
	return nil
}

// stopped reports whether the process stands still after a SIGSTOP.
func (c *child) stopped() bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(c.pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return bytes.HasPrefix(rest, []byte("T"))
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
