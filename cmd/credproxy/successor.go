package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"credproxy/internal/handover"
	"credproxy/proxy"
)

// successor is a process of the program, perhaps of a newer version, that takes over from this one.
type successor struct {
	cmd   *exec.Cmd
	link  *handover.Link
	ended chan struct{}
	wait  error // what it has ended with; set before ended is closed
	// confirms says that it tells when it begins to serve; begun, that it did.
	confirms, begun bool
}

const (
	// readyWait is how long a successor may take until it can take over. Clients are served meanwhile.
	readyWait = time.Minute
	// suspendWait bounds the saving and holding of clients before the handover, and recoverWait what the successor does then. Clients wait
	// meanwhile: if it takes longer, this process goes on with them.
	suspendWait = 10 * time.Second
	recoverWait = 10 * time.Second
	// pipeTime is how long this process goes on as a pipe for clients that cannot be handed over.
	pipeTime = time.Hour
	// lastWordWait bounds the reading of what a dead successor has said; the end of that follows at once.
	lastWordWait = time.Second
)

// executable is where this program was when it started; by now it may be a newer one.
var executable, errExecutable = os.Executable()

// startSuccessor starts the program with this process's arguments.
func startSuccessor() (*successor, error) {
	if errExecutable != nil {
		return nil, fmt.Errorf("find the program: %w", errExecutable)
	}
	link, other, err := handover.Pair()
	if err != nil {
		return nil, err
	}
	defer other.Close()
	s := &successor{cmd: exec.Command(executable, os.Args[1:]...), link: link, ended: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), handover.Env())
	s.cmd.ExtraFiles = []*os.File{other}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := s.cmd.Start(); err != nil {
		link.Close()
		return nil, fmt.Errorf("start %s: %w", executable, err)
	}
	go func() {
		defer close(s.ended)
		s.wait = s.cmd.Wait()
	}()
	return s, nil
}

// kill ends the successor and returns when it is gone. Whether it had begun to serve is in begun then.
func (s *successor) kill() {
	_ = s.cmd.Process.Kill() // it may have ended by itself
	<-s.ended
	for { // what it has said before that is still to be had
		_, _, err := expect(context.Background(), s.link, stepBegun, lastWordWait)
		if err == nil {
			s.begun = true
		}
		if !errors.Is(err, errOtherStep) && err != nil {
			break
		}
	}
	s.link.Close()
}

// handOver lets a successor take over. Without an error this process serves nobody any more. With one everything is as before,
// unless the successor has died at the very end.
func (in *instance) handOver(ctx context.Context) (*successor, error) {
	next, err := startSuccessor()
	if err != nil {
		return nil, fmt.Errorf("hand over: %w", err)
	}
	in.log.Info("a new process has been started, to take over when it is ready", "pid", next.cmd.Process.Pid)
	if err := in.transfer(ctx, next); err != nil {
		next.kill()
		return nil, fmt.Errorf("hand over: %w", err)
	}
	return next, nil
}

func (in *instance) transfer(ctx context.Context, next *successor) error {
	atStep("old: started")
	l, _, err := expect(ctx, next.link, stepReady, readyWait)
	if err != nil {
		return err
	}
	next.confirms = l.Confirms
	atStep("old: ready")
	if l.Protocol != handoverProtocol {
		return fmt.Errorf("the new program hands over by protocol %d, this one by %d: stop this one and start that", l.Protocol, handoverProtocol)
	}
	hold, cancel := context.WithTimeout(ctx, suspendWait)
	defer cancel()
	if err := in.server.Suspend(hold); err != nil {
		return err
	}
	atStep("old: held")
	in.endKeeping()
	atStep("old: lock released")
	if err := in.entrust(ctx, next); err != nil {
		next.kill() // before this process goes on: never two
		if !next.begun {
			in.keep(nil)
			in.server.GoOn()
			return err
		}
		in.log.Error("the new process has ended when it had just begun: clients have to connect again, to the next one", "error", err)
	}
	return in.bequeath(next)
}

// entrust gives the successor the right to begin, up to the point of no return.
func (in *instance) entrust(ctx context.Context, next *successor) error {
	l := letter{Step: stepGo, Bequest: in.server.Bequest(), Listen: in.cfg.Listen}
	send := func(fds ...int) error { return next.link.Send(l, nil, fds...) }
	err := in.server.Listener(func(fd uintptr) error {
		if in.web == nil {
			return send(int(fd))
		}
		l.Admin = in.cfg.Admin.Listen
		return descriptor(in.web, func(web uintptr) error { return send(int(fd), int(web)) })
	})
	if err != nil {
		return err
	}
	atStep("old: go")
	if _, _, err := expect(ctx, next.link, stepRecovered, recoverWait); err != nil {
		return err
	}
	atStep("old: recovered")
	commit := letter{Step: stepCommit, Waiting: in.server.HeldSince().UnixMicro(), Confirms: next.confirms}
	if err := next.link.Send(commit, nil); err != nil {
		return err
	}
	atStep("old: commit")
	if !next.confirms {
		next.begun = true
		return nil
	}
	_, _, err = expect(ctx, next.link, stepBegun, recoverWait)
	next.begun = err == nil
	return err
}

// descriptor calls f with a listener's socket.
func descriptor(ln net.Listener, f func(fd uintptr) error) error {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return fmt.Errorf("hand over: %T has no descriptor", ln)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(fd) }); err != nil {
		return err
	}
	return failed
}

// bequeath gives the successor all clients. There is no way back by now.
func (in *instance) bequeath(next *successor) error {
	_ = next.link.Until(time.Now().Add(recoverWait))
	given, cut, err := in.server.HandOver(func(h proxy.Heir, unread []byte, fd int) error {
		defer atStep("old: client")
		return next.link.Send(letter{Step: stepClient, Heir: h}, unread, fd)
	})
	if err == nil {
		err = next.link.Send(letter{Step: stepEnd}, nil)
	}
	atStep("old: end")
	next.link.Close()
	if err != nil { // it is no error of the handover as such: the successor serves
		in.log.Error("some clients could not be handed over and have to connect again", "clients", cut, "error", err)
		return nil
	}
	in.log.Info("handed over", "pid", next.cmd.Process.Pid, "clients", given, "disconnected", cut)
	return nil
}

// retire ends this process after a handover: at once, or when the clients that it is a pipe for have gone, or ctx ends.
func (in *instance) retire(ctx context.Context, next *successor) {
	ctx, cancel := context.WithTimeout(ctx, pipeTime)
	defer cancel()
	in.closeSite()
	in.server.AfterHandOver(ctx)
	in.end()
	in.background.Wait()
	in.store.Close()
	select {
	case <-next.ended:
		in.log.Error("the process that has taken over has ended", "error", errors.Join(next.wait))
	default:
	}
}
