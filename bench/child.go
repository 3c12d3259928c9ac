package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// child is a proxy that we started.
type child struct {
	name   string
	cmd    *exec.Cmd
	log    string        // the file with its output
	exited chan struct{} // closed once it has been reaped
}

// startChild starts a program in dir with its output in a file there. The kernel kills it when we die.
func startChild(dir, name, program string, args ...string) (*child, error) {
	c := &child{name: name, cmd: exec.Command(program, args...), log: filepath.Join(dir, "log"), exited: make(chan struct{})}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	c.cmd.Dir, c.cmd.Stdout, c.cmd.Stderr = dir, log, log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the death signal is tied to the thread that forks, so this one must outlive the child
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait() // how it ended is in its output
			close(c.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c, nil
}

// pollInterval is how often a starting proxy is asked whether it serves.
const pollInterval = 20 * time.Millisecond

// ready waits until the proxy passes a command to its Redis.
func (c *child) ready(ctx context.Context, t *target) error {
	for !serves(ctx, t) {
		select {
		case <-c.exited:
			return fmt.Errorf("start %s: it ended: %s", c.name, c.lastOutput())
		default:
		}
		if err := wait(ctx, pollInterval); err != nil {
			return fmt.Errorf("start %s: %w: %s", c.name, err, c.lastOutput())
		}
	}
	return nil
}

// serves asks for a key, which every proxy understands.
func serves(ctx context.Context, t *target) bool {
	conn, err := t.dial(ctx, time.Now().Add(time.Second))
	if err != nil {
		return false
	}
	defer conn.Close()
	return conn.do(command(nil, "GET", "bench:ready"), 1) == nil
}

// lastOutput returns the end of what the program printed.
func (c *child) lastOutput() string {
	const most = 2000
	text, _ := os.ReadFile(c.log) // without it, the error says less
	return strings.TrimSpace(string(text[max(0, len(text)-most):]))
}

// stopTime is how long a proxy may take to drain.
const stopTime = 35 * time.Second

// stop ends it in order, or by force when that takes too long, which is an error.
func (c *child) stop() error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", c.name, err)
	}
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	select {
	case <-c.exited:
		return nil
	case <-timer.C:
	}
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", c.name, err)
	}
	<-c.exited
	return fmt.Errorf("stop %s: it did not end within %s", c.name, stopTime)
}

// kill ends it as kill -9 does.
func (c *child) kill() error {
	if err := c.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", c.name, err)
	}
	<-c.exited
	return nil
}

// freeAddr returns a loopback address that nobody listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return addr, nil
}
