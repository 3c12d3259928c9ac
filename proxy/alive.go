package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
)

// Alive finds out whether clients are accepted and answered, by being one. What the answer is does not matter: Redis may be away, or
// want a password.
func (s *Server) Alive(ctx context.Context) error {
	if err := s.askPing(ctx); err != nil {
		return fmt.Errorf("ask the proxy itself: %w", err)
	}
	return nil
}

func (s *Server) askPing(ctx context.Context) error {
	var d net.Dialer
	addr := s.Addr()
	nc, err := d.DialContext(ctx, addr.Network(), addr.String())
	if err != nil {
		return err
	}
	defer nc.Close()
	if by, ok := ctx.Deadline(); ok {
		_ = nc.SetDeadline(by) // of a connection that is open
	}
	if s.certs.front != nil {
		// It is this very process: its certificate need not be looked at.
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	}
	_, err = nc.Write([]byte("*1\r\n$4\r\nPING\r\n"))
	if err == nil {
		_, err = nc.Read(make([]byte, 1))
	}
	var alert tls.AlertError
	if errors.As(err, &alert) {
		return nil // clients need a certificate: to be told so is an answer
	}
	return err
}

// Unsaved returns how many changed keys are not in Postgres yet.
func (s *Server) Unsaved() int64 { return s.saver.queue.keys.Load() }
