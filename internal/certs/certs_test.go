package certs_test

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"credproxy/internal/certs"
	"credproxy/internal/testenv"
)

// told collects what a Source says of changed files.
type told struct {
	mu   sync.Mutex // guards errs
	errs []error
}

func (n *told) notify(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.errs = append(n.errs, err)
}

func (n *told) last() (count int, last error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.errs) == 0 {
		return 0, nil
	}
	return len(n.errs), n.errs[len(n.errs)-1]
}

// shake makes one handshake, and returns the serial number of the server's certificate when both sides are content.
func shake(t *testing.T, server, client *tls.Config) (string, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	served := make(chan error, 1)
	go func() {
		nc, err := ln.Accept()
		if err == nil {
			err = tls.Server(nc, server).Handshake()
			nc.Close()
		}
		served <- err
	}()
	conn, err := tls.Dial("tcp", ln.Addr().String(), client)
	if serverErr := <-served; err == nil {
		err = serverErr
	}
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

func TestRenewedFilesAreUsed(t *testing.T) {
	authority := testenv.NewAuthority(t)
	cert, key := authority.Issue(t, "proxy")
	var said told
	source, err := certs.Open(certs.Files{Cert: cert, Key: key}, said.notify)
	if err != nil {
		t.Fatal(err)
	}
	server, client := source.Server(), &tls.Config{RootCAs: authority.Pool(), ServerName: "proxy"}
	first, err := shake(t, server, client)
	if err != nil {
		t.Fatal(err)
	}
	settled := func(want string, done func(serial string) bool) {
		t.Helper()
		testenv.Eventually(t, 20*time.Second, want, func() bool {
			serial, err := shake(t, server, client)
			if err != nil {
				t.Fatalf("%s: a handshake failed meanwhile: %v", want, err)
			}
			return done(serial)
		})
	}

	if err := os.WriteFile(cert, []byte("half a certifi"), 0o600); err != nil {
		t.Fatal(err)
	}
	settled("a broken file is noticed", func(serial string) bool {
		if serial != first {
			t.Fatal("another certificate out of a broken file")
		}
		n, _ := said.last()
		return n > 0
	})
	if _, err := said.last(); !errors.Is(err, certs.ErrKept) || !strings.Contains(err.Error(), cert) {
		t.Errorf("said of the broken file: %v", err)
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	settled("a missing file is noticed", func(string) bool { n, _ := said.last(); return n > 1 })

	authority.Issue(t, "proxy")
	settled("the new certificate is used", func(serial string) bool { return serial != first })
	if n, err := said.last(); err != nil || n > 4 { // cert and key may be seen one after the other
		t.Errorf("said %d times, last: %v", n, err)
	}
}

func TestClientsNeedTheRightCertificate(t *testing.T) {
	authority, stranger := testenv.NewAuthority(t), testenv.NewAuthority(t)
	cert, key := authority.Issue(t, "proxy")
	source, err := certs.Open(certs.Files{Cert: cert, Key: key, CA: authority.File}, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := func(from *testenv.Authority) *tls.Config {
		files := certs.Files{CA: authority.File}
		if from != nil {
			files.Cert, files.Key = from.Issue(t, "bot")
		}
		s, err := certs.Open(files, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s.Client("proxy")
	}
	if _, err := shake(t, source.Server(), client(authority)); err != nil {
		t.Errorf("a client with the right certificate: %v", err)
	}
	if _, err := shake(t, source.Server(), client(stranger)); err == nil {
		t.Error("a stranger's certificate was accepted")
	}
	if _, err := shake(t, source.Server(), client(nil)); err == nil {
		t.Error("a client without a certificate was accepted")
	}
}

func TestUnusableFiles(t *testing.T) {
	authority := testenv.NewAuthority(t)
	cert, key := authority.Issue(t, "a")
	_, otherKey := authority.Issue(t, "b")
	none := filepath.Join(t.TempDir(), "none.pem")
	for _, c := range []struct {
		name  string
		files certs.Files
		want  string
	}{
		{"missing", certs.Files{Cert: none, Key: key}, none + ": no such file"},
		{"another's key", certs.Files{Cert: cert, Key: otherKey}, "private key does not match"},
		{"key in place of the authorities", certs.Files{CA: key}, "no certificate in PEM form"},
		{"a device", certs.Files{CA: "/dev/zero"}, "no regular file"},
		{"a folder", certs.Files{CA: t.TempDir()}, "no regular file"},
	} {
		if _, err := certs.Open(c.files, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
