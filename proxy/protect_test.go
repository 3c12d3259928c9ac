package proxy

import (
	"net"
	"strings"
	"testing"
)

// from is a connection of a peer.
type from struct {
	net.Conn
	addr net.Addr
}

func (c from) RemoteAddr() net.Addr { return c.addr }

func TestProtectedMode(t *testing.T) {
	remote := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1234}
	for _, c := range []struct {
		name    string
		peer    net.Addr
		change  func(*Server, *Config)
		refused bool
	}{
		{"another machine", remote, nil, true},
		{"this machine", &net.TCPAddr{IP: net.IPv4(127, 3, 2, 1)}, nil, false},
		{"this machine, IPv6", &net.TCPAddr{IP: net.IPv6loopback}, nil, false},
		{"this machine, mapped", &net.TCPAddr{IP: net.ParseIP("::ffff:127.0.0.1")}, nil, false},
		{"a Unix socket", &net.UnixAddr{Net: "unix"}, nil, false},
		{"Redis asks for a password", remote, func(s *Server, _ *Config) { s.greeting.needsAuth.Store(true) }, false},
		{"the proxy asks for a password", remote, func(_ *Server, c *Config) { c.Exposure.Passwords = map[string]string{"a": "b"} }, false},
		{"TLS asks for a certificate", remote, func(s *Server, _ *Config) { s.cfg.Exposure.TLS.ClientCA = "ca.pem" }, false},
		{"TLS asks for none", remote, func(s *Server, _ *Config) { s.cfg.Exposure.TLS.Cert = "cert.pem" }, true},
		{"switched off", remote, func(_ *Server, c *Config) { c.Exposure.Protected = false }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			cfg := s.cfg
			cfg.Exposure.Protected = true
			if c.change != nil {
				c.change(s, &cfg)
			}
			s.rules.Store(newRules(s.table, cfg))
			text := s.protect(from{addr: c.peer})
			if refused := text != ""; refused != c.refused {
				t.Errorf("answer %q", text)
			}
			if text != "" && (!strings.HasPrefix(text, "-DENIED ") || strings.Count(text, "\r\n") != 1) {
				t.Errorf("no error reply: %q", text)
			}
		})
	}
}
