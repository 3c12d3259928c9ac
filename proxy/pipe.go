package proxy

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// pipe carries the bytes of a client whose connection this process has to keep to the process that serves it (H5).
type pipe struct{ far net.Conn }

// pipedAddr is the address of a client behind a pipe.
type pipedAddr string

// Network is that of the clients that a pipe is needed for.
func (pipedAddr) Network() string { return "tcp" }

func (a pipedAddr) String() string { return string(a) }

func newPipe(f *os.File) (*pipe, error) {
	defer f.Close() // FileConn has one of its own
	far, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("open a pipe to the other process: %w", err)
	}
	return &pipe{far}, nil
}

// run carries bytes both ways until either side has closed.
func (p *pipe) run(client net.Conn) {
	defer p.far.Close()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, p.far) // whichever way it ends, the client is gone with it
		client.Close()
	})
	_, _ = io.Copy(p.far, client)
	if half, ok := p.far.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // what is still to be answered is
	}
	back.Wait()
}
