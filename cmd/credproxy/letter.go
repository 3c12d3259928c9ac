package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"credproxy/internal/handover"
	"credproxy/proxy"
)

// letter is a message between a process and its successor. They are sent in this order:
//
//	ready      the new one has read its configuration and reached Redis and Postgres
//	go         the old one has stopped; its lease is released, its listeners come with this
//	recovered  the new one has the lease and knows all sessions; it has changed nothing
//	commit     the old one will not serve again once it hears the next
//	begun      from now on the new one serves: until this is sent, it has changed nothing, and its end is no harm
//	client     one for each client, with its socket and what was read of it
//	end        there are no more
type letter struct {
	Step     string
	Protocol int           `json:",omitempty"` // with ready
	Listen   string        `json:",omitempty"` // with go: the setting that the first socket is of; "": no socket
	Admin    string        `json:",omitempty"` // with go: the same for the next one
	Bequest  proxy.Bequest `json:",omitzero"`  // with go
	Waiting  int64         `json:",omitempty"` // with commit: since when clients wait, unix microseconds
	Confirms bool          `json:",omitempty"` // with ready: begun will be sent if commit asks for it; with commit: it does
	Heir     proxy.Heir    `json:",omitzero"`  // with client
}

const (
	stepReady     = "ready"
	stepGo        = "go"
	stepRecovered = "recovered"
	stepCommit    = "commit"
	stepBegun     = "begun"
	stepClient    = "client"
	stepEnd       = "end"

	// handoverProtocol changes when processes that do not agree about letters would misunderstand each other.
	handoverProtocol = 1
)

// atStep is told of every step of a handover, in both processes. Tests end a process there.
var atStep = func(name string) {}

// errGone is an end of the other process in the middle.
var errGone = errors.New("the other process has ended or given up; its log says why")

// errOtherStep is a letter out of its turn.
var errOtherStep = errors.New("the other process says")

// expect waits for the letter of one step.
func expect(ctx context.Context, link *handover.Link, step string, wait time.Duration) (letter, *handover.Message, error) {
	_ = link.Until(time.Now().Add(wait)) // an error comes again with Receive
	stop := context.AfterFunc(ctx, func() { _ = link.Until(time.Unix(1, 0)) })
	defer stop()
	m, err := link.Receive()
	switch {
	case ctx.Err() != nil:
		return letter{}, nil, ctx.Err()
	case errors.Is(err, io.EOF):
		return letter{}, nil, fmt.Errorf("wait for %q: %w", step, errGone)
	case err != nil:
		return letter{}, nil, fmt.Errorf("wait for %q: %w", step, err)
	}
	var l letter
	if err := m.Decode(&l); err != nil {
		return letter{}, nil, err
	}
	if l.Step != step {
		return letter{}, nil, fmt.Errorf("wait for %q: %w %q", step, errOtherStep, l.Step)
	}
	return l, m, nil
}
