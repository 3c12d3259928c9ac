package procs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// pollInterval is how often a start or a kill looks whether the server has got there. Both take tens of milliseconds.
const pollInterval = 2 * time.Millisecond

// child is one running server process.
type child struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{} // closed once the process has been reaped
	out    *tail
}

// startChild starts cmd with its output going to log (nil: nowhere) and death as the signal that the kernel sends it when
// this process dies.
func startChild(name string, cmd *exec.Cmd, death syscall.Signal, log io.Writer) (*child, error) {
	c := &child{name: name, cmd: cmd, exited: make(chan struct{}), out: &tail{next: log}}
	cmd.Stdout, cmd.Stderr = c.out, c.out
	// Grandchildren may hold the output pipe open after the server itself is gone; do not wait for them for long.
	cmd.WaitDelay = time.Second
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = death
	cmd.SysProcAttr.Setpgid = true

	started := make(chan error)
	go func() {
		// The death signal is tied to the thread that forked, not to the process: this thread must live as long as the
		// child does. It is never unlocked, so it ends with this goroutine.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // how it ended is in cmd.ProcessState and in its output
		close(c.exited)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c, nil
}

// PID returns the process id of the server.
func (c *child) PID() int { return c.cmd.Process.Pid }

// Exited is closed when the server process has ended, for whatever reason.
func (c *child) Exited() <-chan struct{} { return c.exited }

// Pause freezes the server (SIGSTOP): connections stay open and nothing answers.
func (c *child) Pause() error { return c.signal(syscall.SIGSTOP) }

// Resume lets a paused server go on (SIGCONT).
func (c *child) Resume() error { return c.signal(syscall.SIGCONT) }

// signal sends sig; a server that has already ended is not an error.
func (c *child) signal(sig syscall.Signal) error {
	if err := c.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", c.name, err)
	}
	return nil
}

// stop asks the server to end with sig and waits; when ctx ends first, kill ends it and the error is ctx's.
func (c *child) stop(ctx context.Context, sig syscall.Signal, kill func() error) error {
	if err := c.signal(sig); err != nil {
		return err
	}
	// A paused server takes the signal only once it runs again.
	if err := c.signal(syscall.SIGCONT); err != nil {
		return err
	}
	select {
	case <-c.exited:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("stop %s: %w", c.name, ctx.Err()), kill())
	}
}

// kill ends the process at once and waits until it is reaped.
func (c *child) kill() error {
	if err := c.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-c.exited
	return nil
}

// waitReady polls ready until it says true. It fails, with the end of the server's output, when the server ends or ctx
// does.
func (c *child) waitReady(ctx context.Context, ready func() bool) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-c.exited:
			return &exitError{name: c.name, output: c.out.String()}
		case <-ctx.Done():
			return fmt.Errorf("wait for %s to answer: %w; its last output: %s", c.name, ctx.Err(), c.out)
		case <-tick.C:
			if ready() {
				return nil
			}
		}
	}
}

// exitError reports a server that ended instead of becoming ready.
type exitError struct {
	name, output string
}

func (e *exitError) Error() string {
	return fmt.Sprintf("start %s: it ended at once; its last output: %s", e.name, e.output)
}
