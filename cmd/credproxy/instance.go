package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"credproxy/cmd/credproxy/config"
	"credproxy/internal/admin"
	"credproxy/lru"
	"credproxy/proxy"
	"credproxy/restore"
)

const (
	// leaseName is one for all proxies on a Postgres database: two that evict would each take the other's evictions for
	// lost data, also when they call the same Redis by different addresses.
	leaseName = "memory policy"
	// leaseWait is how long a start waits for the lock of a predecessor that has just died.
	leaseWait = 5 * time.Second
)

// instance is a running proxy with everything around it.
type instance struct {
	log    hclog.Logger
	store  *restore.Store
	server *proxy.Server
	admin  *admin.Site  // nil: none
	web    net.Listener // nil: none

	mu  sync.Mutex    // guards cfg
	cfg config.Config // as started, but for ShutdownTimeout, which follows reloads

	background sync.WaitGroup
	work       context.Context    // of the background work
	end        context.CancelFunc // of work
	keeping    context.CancelFunc // of keepLease; it has ended when kept is at zero
	kept       sync.WaitGroup
	failure    chan error // what ended the service before shutdown did
}

// start opens Postgres, takes the lease, connects to Redis and listens; when it returns, clients are served. ctx bounds
// the start only. After an error nothing is left open.
func start(ctx context.Context, cfg config.Config, log hclog.Logger) (*instance, error) {
	return startFrom(ctx, cfg, log, sources{})
}

// startFrom is start with listeners that are open already, and clients, those of the process before.
func startFrom(ctx context.Context, cfg config.Config, log hclog.Logger, from sources) (*instance, error) {
	settings := storeConfig(cfg.Restore, log)
	settings.BeforeMigrate = from.before.letGo // an older program must not work on newer tables
	store, err := restore.Open(ctx, settings)
	if err != nil {
		return nil, err
	}
	in := &instance{log: log, store: store, cfg: cfg, failure: make(chan error, 2)}
	lease, err := in.open(ctx, from)
	if err != nil {
		if lease != nil {
			err = errors.Join(err, lease.Release(context.WithoutCancel(ctx)))
		}
		store.Close()
		return nil, err
	}
	in.work, in.end = context.WithCancel(context.Background())
	in.keep(lease)
	in.background.Go(func() { in.report("serve clients", in.server.Serve()) })
	in.background.Go(func() { from.before.inherit(in.server) })
	if in.admin != nil {
		in.background.Go(func() { in.report("serve admin", in.admin.Serve(in.web)) })
	}
	log.Info("serving", "listen", in.addr(), "upstream", cfg.Upstream.Address, "admin", in.adminURL(), "version", versionText())
	return in, nil
}

// open takes the lease and opens the ports. What can fail without harm comes before the process before is asked to let go. A lease
// that is returned beside an error is still held.
func (in *instance) open(ctx context.Context, from sources) (*restore.Lease, error) {
	own := proxyConfig(in.cfg, in.log)
	own.ReadConfig = in.readLogged
	site := admin.New(admin.Config{Token: in.cfg.Admin.Token, Logger: in.log.Named("admin")})
	if in.cfg.Admin.Listen != "" {
		own.Observe = site.Observer()
	}
	server, err := proxy.New(own, in.store)
	if err != nil {
		return nil, err
	}
	if from.before != nil {
		err = server.Probe(ctx)
	}
	if err == nil {
		err = from.before.letGo(ctx)
	}
	if err != nil {
		return nil, err
	}
	lease, err := in.store.Lease(ctx, leaseName, leaseWait)
	if err != nil {
		return nil, fmt.Errorf("start: another proxy may be at work on this Postgres: %w", err)
	}
	if err := in.listen(ctx, server, from); err != nil {
		return lease, err
	}
	if err := from.before.recovered(ctx, server); err != nil {
		server.Abandon()
		in.closeWeb()
		return lease, err
	}
	in.server = server
	if in.web != nil {
		in.openSite(site)
	}
	return lease, nil
}

// listen opens the ports. The admin port goes first: of the two it is the one that is cheap to close again.
func (in *instance) listen(ctx context.Context, server *proxy.Server, from sources) error {
	if in.cfg.Admin.Listen != "" {
		if err := in.openWeb(from); err != nil {
			return err
		}
	}
	given, err := from.clients(in.cfg.Listen)
	if err == nil {
		err = server.ListenOn(ctx, given)
	}
	if err != nil {
		in.closeWeb()
	}
	return err
}

func (in *instance) openWeb(from sources) error {
	web, err := from.admin(in.cfg.Admin.Listen)
	if web == nil && err == nil {
		web, err = net.Listen("tcp", in.cfg.Admin.Listen)
	}
	if err != nil {
		return fmt.Errorf("listen for admin pages: %w", err)
	}
	in.web = web
	if tcp, ok := web.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && in.cfg.Admin.Token == "" {
		in.log.Warn("without a token in the admin block other machines get metrics and health only", "listen", web.Addr().String())
	}
	return nil
}

func (in *instance) closeWeb() {
	if in.web != nil {
		in.web.Close()
		in.web = nil
	}
}

// openSite begins to watch the proxy for the admin pages, and to show there what is logged.
func (in *instance) openSite(site *admin.Site) {
	if log, ok := in.log.(hclog.InterceptLogger); ok {
		log.RegisterSink(site.Events())
	}
	site.Start(in.server)
	in.admin = site
}

func (in *instance) closeSite() {
	if in.admin == nil {
		return
	}
	if log, ok := in.log.(hclog.InterceptLogger); ok {
		log.DeregisterSink(in.admin.Events())
	}
	in.admin.Close()
}

func (in *instance) report(what string, err error) {
	if err != nil {
		in.failure <- fmt.Errorf("%s: %w", what, err)
	}
}

// failed delivers what ended the service by itself.
func (in *instance) failed() <-chan error { return in.failure }

func (in *instance) addr() string { return in.server.Addr().String() }

// adminURL is where the admin pages are; "" when there are none.
func (in *instance) adminURL() string {
	if in.web == nil {
		return ""
	}
	return "http://" + in.web.Addr().String() + "/"
}

// keep starts keepLease; endKeeping ends it, and the lease is released then.
func (in *instance) keep(lease *restore.Lease) {
	ctx, cancel := context.WithCancel(in.work)
	in.keeping = cancel
	in.kept.Go(func() { in.keepLease(ctx, lease) })
}

func (in *instance) endKeeping() {
	in.keeping()
	in.kept.Wait()
}

// keepLease makes the proxy the enforcer as long as it holds the lease, and tries to get it back when it is lost: with
// Postgres away nobody can evict anyway. A nil lease is one that is lost.
func (in *instance) keepLease(ctx context.Context, lease *restore.Lease) {
	gone := make(chan struct{})
	close(gone)
	for {
		lost := (<-chan struct{})(gone)
		if lease != nil {
			lost = lease.Lost()
		}
		select {
		case <-ctx.Done():
			if lease == nil {
				return
			}
			release, cancel := context.WithTimeout(context.Background(), leaseWait)
			defer cancel()
			if err := lease.Release(release); err != nil {
				in.log.Warn("the lease was not released, it ends by itself", "error", err)
			}
			return
		case <-lost:
		}
		in.server.SetEnforcer(false)
		in.log.Warn("the lease on the memory policy was lost: nothing is evicted until it is back")
		next := in.retake(ctx)
		if next == nil {
			return
		}
		lease = next
		in.server.SetEnforcer(true)
		in.log.Info("the lease on the memory policy is back")
	}
}

// retake waits for the lease; nil when ctx ended first.
func (in *instance) retake(ctx context.Context) *restore.Lease {
	pause := time.NewTicker(time.Second)
	defer pause.Stop()
	for ctx.Err() == nil {
		lease, err := in.store.Lease(ctx, leaseName, leaseWait)
		if err == nil {
			return lease
		}
		in.log.Debug("the lease is not to be had yet", "error", err)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
	}
	return nil
}

// shutdown drains and saves within shutdown_timeout, then closes everything. The error says what was not saved.
func (in *instance) shutdown(ctx context.Context) error {
	in.mu.Lock()
	timeout := in.cfg.ShutdownTimeout
	in.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := in.server.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("shut down: %w", err)
	}
	in.close()
	return err
}

// closeTime is how long the rest of the end may take when Postgres does not answer; shutdown_timeout is over by then.
const closeTime = 3 * time.Second

// close ends what is left after the proxy. A Postgres that does not answer is not waited for: it sees that the process is gone.
func (in *instance) close() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		in.closeSite()
		in.end()
		in.endKeeping()
		in.background.Wait()
		in.store.Close()
	}()
	select {
	case <-closed:
	case <-time.After(closeTime):
		in.log.Warn("Postgres does not answer: its connections are closed without a word")
	}
}

// reload reads the file again and applies what can change while running. ignored names what needs a restart.
func (in *instance) reload() (ignored []string, err error) {
	next, ignored, err := in.read()
	if err != nil {
		return nil, err
	}
	more, err := in.server.Reload(next)
	if err != nil {
		return nil, fmt.Errorf("reload: %w", err)
	}
	return append(ignored, more...), nil
}

// readLogged is read for CREDPROXY RELOAD, whose reply tells only of the proxy's own settings.
func (in *instance) readLogged() (proxy.Config, error) {
	next, ignored, err := in.read()
	if len(ignored) > 0 {
		in.log.Warn("some of the configuration needs a restart", "unchanged", strings.Join(ignored, ", "))
	}
	return next, err
}

// read reads the file again and applies what is not the proxy's: the log level and shutdown_timeout. ignored names what
// is not the proxy's either and needs a restart.
func (in *instance) read() (_ proxy.Config, ignored []string, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	next, err := config.Load(in.cfg.Path)
	if err != nil {
		return proxy.Config{}, nil, err
	}
	in.log.SetLevel(hclog.LevelFromString(next.Log.Level))
	in.cfg.ShutdownTimeout = next.ShutdownTimeout
	for _, d := range []struct {
		name    string
		differs bool
	}{
		{"restore.postgres", next.Restore.Postgres != in.cfg.Restore.Postgres},
		{"restore.pooler", next.Restore.Pooler != in.cfg.Restore.Pooler},
		{"restore.source", next.Restore.Source != in.cfg.Restore.Source},
		{"restore.secret", !reflect.DeepEqual(next.Restore.Signing, in.cfg.Restore.Signing)},
		{"admin.listen", next.Admin.Listen != in.cfg.Admin.Listen},
		{"admin.token", next.Admin.Token != in.cfg.Admin.Token},
		{"log.format", next.Log.Format != in.cfg.Log.Format},
	} {
		if d.differs {
			ignored = append(ignored, d.name)
		}
	}
	return proxyConfig(next, in.log), ignored, nil
}

// proxyConfig is the configuration in the proxy's own terms. What is doubtful in it is logged.
func proxyConfig(c config.Config, log hclog.Logger) proxy.Config {
	for _, w := range c.Warnings {
		log.Warn("part of the configuration will not do what it seems to", "warning", w.String())
	}
	return proxy.Config{
		Listen:     c.Listen,
		MaxClients: c.MaxClients,
		Exposure:   exposure(c),
		Signed:     c.Restore.Signing.Secret != "" && !c.Restore.Signing.AcceptUnsigned,
		Upstream: proxy.UpstreamConfig{
			Address: c.Upstream.Address, Username: c.Upstream.Username, Password: c.Upstream.Password, TLS: c.Upstream.TLS,
		},
		Keyspaces: c.Keyspaces,
		Memory: proxy.MemoryConfig{
			Budget:        lru.Budget{Max: c.Memory.Max, Threshold: c.Memory.Threshold, Target: c.Memory.Target},
			MaxFromRedis:  c.Memory.MaxUnset,
			CheckInterval: c.Memory.CheckInterval,
			InactivityTTL: c.Memory.InactivityTTL,
			MinIdle:       c.Memory.MinIdle,
			Keyspaces:     c.Memory.KeyspacesInEffect(),
			Policy:        lru.Policy(c.Memory.Policy),
		},
		Sync:     proxy.SyncConfig{Mode: proxy.SyncMode(c.Restore.Sync), Interval: c.Restore.SyncInterval, Wait: c.Restore.Wait},
		Flush:    proxy.FlushPolicy(c.Flush),
		Deny:     c.Deny,
		SlowWait: c.Log.Slow,
		Version:  versionText(),
		Logger:   log,
	}
}

// exposure is who may reach the proxy, in its own terms.
func exposure(c config.Config) proxy.Exposure {
	e := proxy.Exposure{SocketMode: c.ListenMode, Protected: c.ProtectedMode, Admins: c.Admin.Users,
		IdleTimeout: c.IdleTimeout, AuthTimeout: c.AuthTimeout, KeepAlive: c.TCPKeepAlive}
	if c.TLS != nil {
		e.TLS = proxy.ListenTLS(*c.TLS)
	}
	if c.Auth != nil {
		e.Passwords = map[string]string{}
		for _, u := range c.Auth.Users {
			e.Passwords[u.Name] = u.Password
		}
	}
	return e
}
