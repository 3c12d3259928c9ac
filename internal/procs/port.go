package procs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// portAttempts is how many free ports are tried: between finding a port and the server's bind somebody may take it.
const portAttempts = 5

// onPort runs start on the wanted port, or on free ones until one works when wanted is 0.
func onPort[S any](ctx context.Context, wanted int, start func(ctx context.Context, port int) (S, error)) (S, error) {
	if wanted != 0 {
		return start(ctx, wanted)
	}
	for attempt := 1; ; attempt++ {
		var none S
		port, err := freePort()
		if err != nil {
			return none, err
		}
		server, err := start(ctx, port)
		var ended *exitError
		if err == nil || attempt == portAttempts || !errors.As(err, &ended) {
			return server, err
		}
	}
}

// freePort asks the kernel for a loopback port that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return port, nil
}

// loopback renders the address of a port on this machine.
func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
