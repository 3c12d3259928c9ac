package admin

import (
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	maxConnections = 128
	maxHeader      = 16 << 10 // bytes
	maxBody        = 64 << 10 // bytes
	// answerTime is how long an answer may take to be written, profileTime how long one of pprof's, which may be asked to
	// measure for that long.
	answerTime  = 15 * time.Second
	profileTime = 5 * time.Minute
)

// newHTTPServer has no WriteTimeout: handlers set the deadline of their answer (see within).
func newHTTPServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: maxHeader}
}

// within bounds the time and the body of a request.
func within(limit time.Duration, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// A writer that has no deadline is that of a test.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(limit))
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next(w, r)
	}
}

// limitListener lets only so many connections be open at once; further ones wait to be accepted. A crowd costs no more memory
// than that, and idle connections end after a minute.
type limitListener struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newLimitListener(ln net.Listener, n int) *limitListener {
	return &limitListener{Listener: ln, places: make(chan struct{}, n), closed: make(chan struct{})}
}

func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &limitedConn{Conn: conn, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	leave func()
}

func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
