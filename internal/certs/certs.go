// Package certs makes TLS configurations out of PEM files and follows the files: a certificate that is renewed is used
// from the next handshake on, without a restart.
//
// Nothing runs in the background: handshakes look whether the files have changed, at most once a second. Files that
// changed into something unusable (a new certificate whose key is not written yet) leave what was in use in use.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Files names PEM files.
type Files struct {
	Cert string // a certificate, followed by those that lead to its authority; "": none
	Key  string // the certificate's private key; "": none
	CA   string // the authorities that the other side's certificate may come from; "": none of its own
}

// ErrKept is wrapped by what a Source tells of files that cannot be used.
var ErrKept = errors.New("the files cannot be used, those from before stay in use")

const (
	checkEvery = time.Second
	maxFile    = 1 << 20 // bytes of one file
)

// Source is what the files hold. It is safe for concurrent use.
type Source struct {
	files  Files
	notify func(error)

	current atomic.Pointer[loaded]
	due     atomic.Int64 // when the files are to be looked at again, unix nanoseconds

	// reading is never waited for: who finds it taken goes on with what is in use. It guards tried.
	reading sync.Mutex
	tried   stamps // of the files as they were read last, usable or not
}

// loaded is one state of the files, never changed.
type loaded struct {
	cert  *tls.Certificate // nil: none
	roots *x509.CertPool   // nil: none of its own
}

// Open reads the files. notify, if not nil, is told when changed files were read: nil when they are in use now, else an
// error that wraps ErrKept. It is called by whoever makes a handshake and must not block.
func Open(files Files, notify func(error)) (*Source, error) {
	s := &Source{files: files, notify: notify}
	now, err := s.stamp()
	if err != nil {
		return nil, err
	}
	l, err := load(files)
	if err != nil {
		return nil, err
	}
	s.tried = now
	s.current.Store(l)
	s.due.Store(time.Now().Add(checkEvery).UnixNano())
	return s, nil
}

// Server returns the configuration of a listener, which needs a certificate. With a CA, clients need one that comes from it.
func (s *Source) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			l := s.get()
			c := &tls.Config{
				MinVersion:   tls.VersionTLS12,
				Certificates: []tls.Certificate{*l.cert},
				// A resumed session would skip the check of the client's certificate against the authorities of today.
				SessionTicketsDisabled: true,
			}
			if l.roots != nil {
				c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, l.roots
			}
			return c, nil
		},
	}
}

// Client returns the configuration for one connection to a server that must prove to be serverName. Without a CA the
// system's authorities count.
func (s *Source) Client(serverName string) *tls.Config {
	l := s.get()
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: serverName, RootCAs: l.roots}
	if l.cert != nil {
		c.Certificates = []tls.Certificate{*l.cert}
	}
	return c
}

// Leaf returns the certificate in use, nil if there is none.
func (s *Source) Leaf() *x509.Certificate {
	if l := s.current.Load(); l.cert != nil {
		return l.cert.Leaf
	}
	return nil
}

// get returns what is in use, after a look at the files when one is due.
func (s *Source) get() *loaded {
	if now := time.Now().UnixNano(); now >= s.due.Load() && s.reading.TryLock() {
		s.refresh()
		s.due.Store(time.Now().Add(checkEvery).UnixNano())
		s.reading.Unlock()
	}
	return s.current.Load()
}

// refresh reads the files if they have changed since they were read last. The caller holds reading.
func (s *Source) refresh() {
	// Looked at before they are read: a change while they are read is seen the next time.
	now, err := s.stamp()
	if err == nil && now == s.tried {
		return
	}
	if err != nil && s.tried == (stamps{}) {
		return // as said before
	}
	var l *loaded
	if err == nil {
		l, err = load(s.files)
	}
	s.tried = now
	if err != nil {
		s.tell(fmt.Errorf("%w: %w", ErrKept, err))
		return
	}
	s.current.Store(l)
	s.tell(nil)
}

func (s *Source) tell(err error) {
	if s.notify != nil {
		s.notify(err)
	}
}

// stamps tells versions of the files apart; the zero value stands for files that cannot be looked at.
type stamps [3]stamp

type stamp struct {
	at   int64 // of the last change, unix nanoseconds
	size int64
	id   uint64 // of the inode: a renamed file may keep the time of the one it replaces
}

func (s *Source) stamp() (stamps, error) {
	var out stamps
	for i, path := range []string{s.files.Cert, s.files.Key, s.files.CA} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return stamps{}, fmt.Errorf("read %s: %w", path, reason(err))
		}
		out[i] = stamp{at: info.ModTime().UnixNano(), size: info.Size(), id: inode(info)}
	}
	return out, nil
}

func inode(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

// load reads the files. Its errors name a file, never what is in it.
func load(f Files) (*loaded, error) {
	l := &loaded{}
	if f.Cert != "" || f.Key != "" {
		cert, err := ReadFile(f.Cert)
		if err != nil {
			return nil, err
		}
		key, err := ReadFile(f.Key)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("use certificate %s with key %s: %w", f.Cert, f.Key, err)
		}
		l.cert = &pair
	}
	if f.CA != "" {
		pem, err := ReadFile(f.CA)
		if err != nil {
			return nil, err
		}
		l.roots = x509.NewCertPool()
		if !l.roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("use authorities %s: no certificate in PEM form is in it", f.CA)
		}
	}
	return l, nil
}

// ReadFile reads a small regular file: a device or a pipe named by mistake must not hold the program up.
func ReadFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, reason(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: it is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, reason(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, reason(err))
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("read %s: it is larger than 1 MB", path)
	}
	return data, nil
}

// reason drops the path that os puts into its errors: ours names it already.
func reason(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
