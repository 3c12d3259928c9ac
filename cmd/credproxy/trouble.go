package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// remedies are what to do about errors that are known by their texts, as servers send them.
var remedies = []struct{ text, remedy string }{
	{"unknown command", "this is no credproxy, perhaps Redis itself: --addr has to be the proxy's listen address"},
	{"NOAUTH", "the proxy wants a password: put it into REDISCLI_AUTH, with --user for a user's"},
	{"WRONGPASS", "the password, or --user, is wrong; REDISCLI_AUTH or --password sets it"},
	{"AUTH <password> called without any password", "the proxy wants no password: leave --password and REDISCLI_AUTH out"},
	{"first record does not look like a TLS handshake", "no TLS is spoken there: leave --tls out"},
	{"HTTP/1", "this is an HTTP server, perhaps the admin pages: --addr has to be the proxy's listen address"},
}

// explain adds to an error what an operator can do about it.
func (r *remote) explain(err error) error {
	var unknownAuthority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("%w: nothing listens there: is the proxy running, and --addr its listen address?", err)
	case errors.As(err, &dns):
		return fmt.Errorf("%w: --addr takes HOST:PORT or unix:///path", err)
	case errors.As(err, &unknownAuthority):
		return fmt.Errorf("%w: --cacert names the authority's file", err)
	case errors.As(err, &hostname):
		return fmt.Errorf("%w: --sni gives the name that the certificate is for", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		if r.tls {
			return fmt.Errorf("%w: no answer within %v: does the proxy speak TLS? If not, leave --tls out", err, r.timeout)
		}
		return fmt.Errorf("%w: no answer within %v; --timeout allows more", err, r.timeout)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%w: the connection was closed: does the proxy want TLS (--tls), or has it ended?", err)
	}
	for _, r := range remedies {
		if strings.Contains(err.Error(), r.text) {
			return fmt.Errorf("%w: %s", err, r.remedy)
		}
	}
	return err
}
