package upstream

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"
)

// Dialer opens connections to one Redis, before any handshake of Redis's own.
type Dialer struct {
	Address string // "host:port" or "unix:///path"
	// TLS, if set, gives the configuration of the next connection. It names the server that must answer.
	TLS func() *tls.Config
}

// Dial connects within dialTimeout; with TLS the server has proved who it is when it returns.
func (d *Dialer) Dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	network, address := "tcp", d.Address
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		network, address = "unix", path
	}
	plain := net.Dialer{KeepAlive: 30 * time.Second}
	nc, err := plain.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("connect to Redis at %s: %w", d.Address, err)
	}
	if d.TLS == nil {
		return nc, nil
	}
	tc := tls.Client(nc, d.TLS())
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect to Redis at %s with TLS: %w", d.Address, err)
	}
	return tc, nil
}
