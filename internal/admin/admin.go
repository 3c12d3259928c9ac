// Package admin is the HTTP side of a proxy: a dashboard with its JSON, metrics for Prometheus, health, readiness and profiles.
//
// It shows what proxy.Stats says and nothing of its own making, so every number is the one that CREDPROXY STATS gives at that
// moment. Who may see and do what is decided in access.go.
package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"credproxy/proxy"
)

// Config is what a Site needs to know.
type Config struct {
	Token  string // allows actions, and reading from other machines; "": neither
	Logger hclog.Logger
}

// Site is the HTTP side of one proxy: New, Start, Serve, Close, in this order. It is made before the proxy, which is told of its
// Observer.
type Site struct {
	access  access
	log     hclog.Logger
	metrics *metrics
	events  *Events
	history history
	proxy   *proxy.Server
	server  *http.Server
	refused refusedTokens

	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// New makes a site that shows nothing yet.
func New(cfg Config) *Site {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	s := &Site{access: newAccess(cfg.Token), log: cfg.Logger, events: NewEvents()}
	s.metrics = newMetrics(s)
	return s
}

// Observer is what the proxy reports durations to.
func (s *Site) Observer() proxy.Observer { return s.metrics.observer() }

// Events is where the dashboard's list of events comes from; it takes log lines as a sink of the program's logger.
func (s *Site) Events() *Events { return s.events }

// Start begins to watch a proxy that listens; Close ends it.
func (s *Site) Start(p *proxy.Server) {
	s.proxy = p
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.server = newHTTPServer(s.routes())
	s.tasks.Go(func() { s.record(ctx) })
}

// Serve answers requests until Close.
func (s *Site) Serve(ln net.Listener) error {
	err := s.server.Serve(newLimitListener(ln, maxConnections))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve admin pages: %w", err)
}

// closePatience is how long requests under way may take to end.
const closePatience = time.Second

// Close ends everything that Start and Serve began.
func (s *Site) Close() {
	s.stop()
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		s.server.Close()
	}
	s.tasks.Wait()
}

// record keeps the history and tells of what the counters did.
func (s *Site) record(ctx context.Context) {
	tick := time.NewTicker(historyEvery)
	defer tick.Stop()
	for {
		now := time.Now()
		st := s.proxy.Stats()
		s.events.addAll(now, s.history.add(now, st, st.Redis.Up, st.Postgres.Up))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
