package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"credproxy/internal/certs"
	"credproxy/internal/resp"
	"credproxy/proxy/upstream"
)

// defaultSocketMode lets the owner and the group of a Unix socket connect.
const defaultSocketMode fs.FileMode = 0o660

// certificates are the files that TLS is made of; nil: no TLS on that side.
type certificates struct {
	front, upstream *certs.Source
}

// openCerts reads the certificates of both sides.
func (s *Server) openCerts() error {
	var err error
	if t := s.cfg.Exposure.TLS; t.Cert != "" {
		files := certs.Files{Cert: t.Cert, Key: t.Key, CA: t.ClientCA}
		if s.certs.front, err = certs.Open(files, s.certsRead("tls")); err != nil {
			return fmt.Errorf("prepare TLS for clients: %w", err)
		}
	}
	if t := s.cfg.Upstream.TLS; t.On {
		files := certs.Files{Cert: t.Cert, Key: t.Key, CA: t.CA}
		if s.certs.upstream, err = certs.Open(files, s.certsRead("upstream tls")); err != nil {
			return fmt.Errorf("prepare TLS for Redis: %w", err)
		}
		if t.Insecure {
			s.log.Warn("any certificate of Redis is believed: whoever can stand in between reads and changes everything",
				"setting", "upstream tls insecure")
		}
	}
	return nil
}

// certsRead says in the log what became of files that have changed.
func (s *Server) certsRead(block string) func(error) {
	return func(err error) {
		if err != nil {
			s.log.Error("certificates not renewed", "block", block, "error", err)
			return
		}
		s.log.Info("certificates renewed", "block", block)
	}
}

func (s *Server) dialer() *upstream.Dialer {
	d := &upstream.Dialer{Address: s.cfg.Upstream.Address}
	if source := s.certs.upstream; source != nil {
		t := s.cfg.Upstream.TLS
		host, _, _ := net.SplitHostPort(s.cfg.Upstream.Address) // "" for a Unix socket
		d.TLS = func() *tls.Config {
			c := source.Client(cmp.Or(t.ServerName, host))
			c.InsecureSkipVerify = t.Insecure
			return c
		}
	}
	return d
}

// hint guesses what is wrong when both sides may not agree about TLS: the errors of that tell next to nothing.
func (u UpstreamConfig) hint(err error) string {
	cut := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	switch {
	case u.TLS.On && errors.Is(err, context.DeadlineExceeded):
		return " (does Redis speak TLS on that port?)"
	case u.TLS.On && u.TLS.Cert == "" && (cut || strings.Contains(err.Error(), "tls: certificate required")):
		return " (does Redis want a certificate? Set cert and key in upstream tls)"
	case !u.TLS.On && cut:
		return " (does Redis want TLS on that port? Set upstream tls)"
	}
	return ""
}

func (s *Server) listenerConfig() resp.ListenerConfig {
	cfg := resp.ListenerConfig{
		Limits: resp.DefaultLimits(), MaxClients: s.maxClients(), WriteTimeout: time.Minute, Refuse: s.protect, Adopt: s.adopt,
		IdleTimeout: s.cfg.Exposure.IdleTimeout, AuthTimeout: s.cfg.Exposure.AuthTimeout,
		OnAcceptError: func(err error) {
			if s.alarms.raise("accept") {
				s.log.Error("clients cannot be accepted"+acceptRemedy(err), "error", err)
			}
		},
	}
	if s.certs.front != nil {
		cfg.TLS = s.certs.front.Server()
	}
	return cfg
}

// protect is protected mode: it refuses a client of another machine of whom nobody asks for a password or a certificate.
func (s *Server) protect(nc net.Conn) string {
	if s.rules.Load().open || s.needsAuth() || s.cfg.Exposure.TLS.ClientCA != "" || isLocal(nc.RemoteAddr()) {
		return ""
	}
	return string(errorReply(nil, textProtected))
}

// isLocal reports whether the peer is on this machine.
func isLocal(peer net.Addr) bool {
	tcp, ok := peer.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

// setIdleTimeout lets clients idle who wait for messages, as Redis does.
func (c *client) setIdleTimeout() {
	c.conn.IdleTimeout = c.s.cfg.Exposure.IdleTimeout
	if c.monitor || c.tracking || c.subscribed() {
		c.conn.IdleTimeout = 0
	}
}

// keepAlive is what finds clients that have vanished without a word, with Redis's intervals.
func keepAlive(after time.Duration) net.KeepAliveConfig {
	const probes = 3
	return net.KeepAliveConfig{Enable: after > 0, Idle: after, Interval: max(after/probes, time.Second), Count: probes}
}

// open returns the listener that was given, or opens one.
func (s *Server) open(given net.Listener) (net.Listener, error) {
	switch ln := given.(type) {
	case nil:
		return listen(s.cfg.Listen, s.cfg.Exposure)
	case *net.TCPListener:
		return givenListener{ln, keepAlive(s.cfg.Exposure.KeepAlive)}, nil
	default:
		return ln, nil
	}
}

// givenListener sets what a listener that was opened here sets by itself.
type givenListener struct {
	*net.TCPListener
	alive net.KeepAliveConfig
}

func (l givenListener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	_ = c.SetKeepAliveConfig(l.alive) // fails only for a connection that is over
	return c, nil
}

// listen opens the port, or the socket file with its permissions.
func listen(address string, e Exposure) (net.Listener, error) {
	path, isSocket := strings.CutPrefix(address, "unix://")
	if !isSocket {
		alive := net.ListenConfig{KeepAlive: -1, KeepAliveConfig: keepAlive(e.KeepAlive)}
		ln, err := alive.Listen(context.Background(), "tcp", address)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
		return ln, nil
	}
	if err := removeStaleSocket(path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	// The mode of a socket before it is bound is the mode with which its file appears: at no time may more connect than
	// in the end.
	closed := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); e != nil {
			return e
		}
		return err
	}}
	ln, err := closed.Listen(context.Background(), "unix", path)
	if err == nil {
		if err = os.Chmod(path, cmp.Or(e.SocketMode.Perm(), defaultSocketMode)); err != nil {
			ln.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return ln, nil
}

// removeStaleSocket deletes the socket of a process that is gone. Only a refused connection proves that: a process that is
// busy, or not ours to connect to, is alive.
func removeStaleSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSocket == 0 {
		return errors.New("there is a file of that name which is no socket: name another, or remove it")
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return errors.New("another process is listening there")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("find out whether a process is listening there: %w", err)
	}
	return os.Remove(path)
}
