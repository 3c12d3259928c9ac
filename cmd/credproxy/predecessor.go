package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"credproxy/internal/handover"
	"credproxy/internal/sdnotify"
	"credproxy/proxy"
)

// predecessor is the process that this one takes over from. A nil one stands for none: this process starts afresh.
type predecessor struct {
	link   *handover.Link
	log    hclog.Logger
	asked  bool
	will   letter
	socket []*os.File // of will, by its settings
}

// letGoWait is how long the predecessor may take to stop, once this process is ready; its own limits are shorter.
const letGoWait = time.Minute

// findPredecessor returns the process that has started this one to take over, nil if none has.
func findPredecessor(log hclog.Logger) (*predecessor, error) {
	link, err := handover.Inherited()
	if link == nil || err != nil {
		return nil, err
	}
	return &predecessor{link: link, log: log}, nil
}

// letGo tells the predecessor that this process is ready, and returns when that one has stopped all work. Only the first call does.
func (p *predecessor) letGo(ctx context.Context) error {
	if p == nil || p.asked {
		return nil
	}
	p.asked = true
	atStep("new: before ready")
	if err := p.link.Send(letter{Step: stepReady, Protocol: handoverProtocol, Confirms: true}, nil); err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	atStep("new: ready")
	l, m, err := expect(ctx, p.link, stepGo, letGoWait)
	if err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	atStep("new: go")
	p.will, p.socket = l, m.Files
	return nil
}

// listener returns the socket that the predecessor has for a setting; nil: it has none, or another one.
func (p *predecessor) listener(setting string, admin bool) (net.Listener, error) {
	if p == nil || setting == "" || len(p.socket) == 0 {
		return nil, nil
	}
	atStep("new: has the lock")
	f, its := p.socket[0], p.will.Listen
	if admin {
		f, its = p.socket[len(p.socket)-1], p.will.Admin
	}
	if its != setting {
		return nil, nil
	}
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("take the listener over: %w", err)
	}
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(true)
	}
	return ln, nil
}

// recovered tells the predecessor that this process can serve, and returns when it has to. After an error it must not.
func (p *predecessor) recovered(ctx context.Context, server *proxy.Server) error {
	if p == nil {
		return nil
	}
	for _, f := range p.socket {
		f.Close() // who wanted them has duplicates
	}
	server.TakeOn(p.will.Bequest)
	server.Expect()
	atStep("new: before recovered")
	if err := p.link.Send(letter{Step: stepRecovered}, nil); err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	atStep("new: recovered")
	l, _, err := expect(ctx, p.link, stepCommit, letGoWait)
	if err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	p.will.Waiting = l.Waiting
	atStep("new: commit")
	if l.Confirms {
		err := p.link.Send(letter{Step: stepBegun}, nil)
		// One that has died does not hear it, and does not serve either. It never closes its end of the link before it has killed this process.
		if err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			return fmt.Errorf("take over: %w", err)
		}
	}
	atStep("new: begun")
	return nil
}

// inherit goes on with the predecessor's clients, as they come.
func (p *predecessor) inherit(server *proxy.Server) {
	if p == nil {
		return
	}
	defer p.link.Close()
	_ = p.link.Until(time.Time{})
	n, err := 0, error(nil)
	for err == nil {
		var done bool
		if done, err = p.inheritOne(server); done {
			atStep("new: end")
			waited := time.Since(time.UnixMicro(p.will.Waiting))
			p.log.Info("taken over from the process before", "clients", n, "clients_waited", waited.Round(time.Millisecond/10).String())
			return
		}
		n++
		atStep("new: client")
	}
	p.log.Error("the process before has ended while it handed its clients over: the others have to connect again", "clients", n, "error", err)
}

func (p *predecessor) inheritOne(server *proxy.Server) (done bool, err error) {
	m, err := p.link.Receive()
	if errors.Is(err, io.EOF) {
		return false, errGone
	}
	if err != nil {
		return false, err
	}
	var l letter
	if err := m.Decode(&l); err != nil || l.Step != stepClient {
		return err == nil && l.Step == stepEnd, err
	}
	for _, f := range m.Files {
		if err := server.Inherit(l.Heir, m.Blob, f); err != nil {
			p.log.Warn("a client has to connect again", "error", err)
		}
		f.Close()
	}
	return false, nil
}

// sources are where listeners may come from, beside being opened.
type sources struct {
	before  *predecessor
	systemd *sdnotify.Sockets
}

// clients returns the listener for clients, nil if it is to be opened.
func (s sources) clients(setting string) (net.Listener, error) {
	if ln, err := s.before.listener(setting, false); ln != nil || err != nil {
		return ln, err
	}
	return s.systemd.TakeFirst()
}

// admin returns the listener for the admin pages, nil if it is to be opened.
func (s sources) admin(setting string) (net.Listener, error) {
	if ln, err := s.before.listener(setting, true); ln != nil || err != nil {
		return ln, err
	}
	return s.systemd.Take("admin")
}
