package proxy

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/tidwall/redcon"

	"credproxy/internal/resp"
	"credproxy/keyspace"
	"credproxy/proxy/upstream"
)

// Server is one proxy: New, Listen, Serve, Shutdown, in this order.
type Server struct {
	cfg      Config
	log      hclog.Logger
	store    Store
	table    *keyspace.Table
	rules    atomic.Pointer[rules]
	sessions *sessions
	runs     *upstream.Runs
	control  *control
	upstream *upstream.Upstream
	meta     *meta
	saver    *saver
	remover  *remover
	evictor  *evictor
	policy   *policy
	adopter  *adopter
	alarms   *alarms
	stats    stats
	thrash   thrash
	pulses   pulses
	slow     slowLog
	certs    certificates
	greeting greeting
	learned  learned
	allowed  permissions
	moves    moves
	extents  extents
	clients  clients
	guesses  *resp.Debts // of wrong passwords
	started  time.Time

	loads    chan struct{} // a place for every session that is being restored
	orphans  chan struct{} // wakes keepOrphans
	flushing sync.RWMutex  // held for writing by FLUSHALL and its like, for reading by what moves keys between the stores
	notOwner atomic.Bool   // another process enforces the policy: serve, but evict nothing

	// base is the life of the proxy's own work; tasks are its goroutines, and underway those among them that change sessions.
	base     context.Context
	stop     context.CancelFunc
	tasks    sync.WaitGroup
	underway atomic.Int64
	duties   duties
	halter   halter
	heirs    *heirs // nil: there was no process before

	streams  atomic.Int64 // clients in the middle of a large command
	lanes    []*lane      // since begin
	nextLane atomic.Uint32

	probed   bool // Redis is one to work with
	listener *resp.Listener
	front    *redcon.Server
	drained  chan struct{} // closed when redcon may learn that the listener is closed
	closing  atomic.Bool   // set under life
	life     sync.Mutex    // guards begun: Serve and Shutdown may be called at the same time
	begun    bool          // the tasks run
	serving  chan struct{} // closed when they do
}

// New builds a proxy; nothing is opened yet.
func New(cfg Config, store Store) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if err := cfg.Memory.Budget.Validate(); err != nil {
		return nil, err
	}
	table, err := newSessions(cfg.Keyspaces)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Logger, store: store, table: keyspace.NewTable(), sessions: table,
		loads: make(chan struct{}, maxLoads), started: time.Now(),
		drained: make(chan struct{}), serving: make(chan struct{}), orphans: make(chan struct{}, 1)}
	table.off = cfg.Sync.Mode == SyncOff
	s.base, s.stop = context.WithCancel(context.Background())
	s.runs = upstream.NewRuns(func(run upstream.Run, id string) {
		if run > 1 {
			s.log.Warn("Redis was restarted: sessions are restored from Postgres when they are touched", "run_id", id)
		}
	})
	s.alarms = newAlarms(s.log)
	if err := s.openCerts(); err != nil {
		return nil, err
	}
	dialer := s.dialer()
	s.control = newControl(cfg.Upstream, dialer, s.runs)
	s.upstream = upstream.New(dialer, s.runs, s.control.askRun)
	s.meta = newMeta(s.control, s.sessions, s.runs, s.log)
	s.saver = &saver{s: s, bound: cmp.Or(cfg.Sync.MaxUnsaved, defaultUnsaved)}
	s.saver.queue.kick = make(chan struct{}, 1)
	s.remover = &remover{s: s, reqs: make(chan *removalReq)}
	s.evictor = &evictor{s: s}
	s.adopter = &adopter{s: s}
	s.meta.adopted = s.adopter.done
	s.policy = newPolicy(s, cfg.Memory)
	s.clients.init()
	s.guesses = resp.NewDebts(guessAllowance, longestGuess)
	s.rules.Store(newRules(s.table, cfg))
	return s, nil
}

// Listen checks Redis, recovers what an earlier process left, and opens the port. After it, Addr is known and clients may
// connect; they are served once Serve runs.
func (s *Server) Listen(ctx context.Context) error { return s.ListenOn(ctx, nil) }

// ListenOn is Listen with a listener that is open already; nil: the configured one is opened.
func (s *Server) ListenOn(ctx context.Context, given net.Listener) error {
	if err := s.Probe(ctx); err != nil {
		return err
	}
	// The plan comes first: recover prepares databases, and that notes those with nothing to adopt.
	if err := s.adopter.plan(ctx); err != nil {
		return fmt.Errorf("recover state from Redis: %w", err)
	}
	if err := s.recover(ctx); err != nil {
		return fmt.Errorf("recover state from Redis: %w", err)
	}
	ln, err := s.open(given)
	if err != nil {
		return err
	}
	s.front = redcon.NewServerNetwork("", "", s.handle, s.accept, s.closed)
	s.listener = resp.NewListener(ln, s.listenerConfig())
	return nil
}

// Probe finds out whether Redis can be worked with. It changes nothing, and once it has succeeded it does nothing more.
func (s *Server) Probe(ctx context.Context) error {
	if s.probed {
		return nil
	}
	err := s.checkUpstream(ctx)
	s.probed = err == nil
	return err
}

// Addr is where clients connect.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve starts the proxy's own work and serves clients until Shutdown.
func (s *Server) Serve() error {
	if !s.begin() {
		return nil
	}
	if s.heirs != nil {
		s.tasks.Go(s.heirs.serve)
	}
	err := s.front.Serve(patientListener{s.listener, s.drained})
	if s.closing.Load() {
		return nil
	}
	return err
}

// patientListener reports the end of listening only when every client has been drained: redcon cuts all connections off as soon
// as it hears of it.
type patientListener struct {
	net.Listener
	drained <-chan struct{}
}

func (l patientListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.drained
	}
	return conn, err
}

// begin starts every goroutine that lives as long as the proxy; false: it has been shut down already.
func (s *Server) begin() bool {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closing.Load() {
		return false
	}
	s.begun = true
	s.startLanes()
	s.startDuties()
	s.watchStores()
	close(s.serving)
	return true
}

// keepHeat writes access times to Redis every few seconds, looks whether sessions come back too soon, and tells what the log has left out.
func (s *Server) keepHeat(ctx context.Context) {
	since := nowMilli()
	tick := time.NewTicker(heatInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.alarms.tellLeftOut(true)
			return
		case <-tick.C:
			since = s.flushHeat(ctx, since)
			s.alarms.thrashing(s.thrashing())
			s.alarms.tellLeftOut(false)
		}
	}
}

// flushHeat writes the heat of sessions touched since; it returns from when on the next call has to write.
func (s *Server) flushHeat(ctx context.Context, since int64) int64 {
	now := nowMilli()
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	err := s.meta.flush(ctx, since)
	s.alarms.heat(err)
	if err != nil {
		return since
	}
	return now
}

// enter passes a session's gate for the proxy itself.
func (s *Server) enter(ctx context.Context, identity []byte) (ref, error) {
	return s.sessions.enter(ctx, identity, nil, s.runs.Current(), s.runs.Current, s.load, nil)
}

// enterOn passes the gate of a key's session for a client, whose command will go to conn.
func (s *Server) enterOn(ctx context.Context, conn *upstream.Conn, identity, key []byte, w *waited) (ref, error) {
	current := func() upstream.Run {
		if conn.Err() != nil { // Redis is away or was restarted: to connect again will tell
			return 0
		}
		return s.runs.Current()
	}
	return s.sessions.enter(ctx, identity, key, conn.Run(), current, s.load, w)
}

// enforcing reports whether this process may evict.
func (s *Server) enforcing() bool { return !s.notOwner.Load() }

// SetEnforcer says whether this process is the one that enforces the policy on this Redis. One that is not serves and saves,
// and evicts nothing.
func (s *Server) SetEnforcer(owner bool) { s.notOwner.Store(!owner) }

// Shutdown stops accepting, lets commands in flight finish, saves everything that is dirty, writes the heat, and closes. The
// error says what could not be saved before ctx ended.
func (s *Server) Shutdown(ctx context.Context) error {
	s.life.Lock()
	again, begun := s.closing.Swap(true), s.begun
	s.life.Unlock()
	if again {
		return nil
	}
	if s.listener != nil {
		s.listener.Close()
	}
	s.clients.drain(ctx, s.upstream.Close)
	close(s.drained)
	var err error
	if begun {
		err = s.saveAll(ctx)
		s.duties.stop()
		s.saver.tidy(ctx)
		s.flushHeat(context.WithoutCancel(ctx), 0) // also when the saving has used the time up
	}
	s.close()
	return err
}

// close ends everything but clients, of whom there are none any more.
func (s *Server) close() {
	s.stop()
	s.duties.stop()
	s.tasks.Wait()
	s.upstream.Close()
	s.stopLanes()
	s.control.close()
}

func (s *Server) saveAll(ctx context.Context) error {
	for s.saver.queue.keys.Load() > 0 {
		before := s.saver.queue.keys.Load()
		_, err := s.saver.sync(ctx)
		if ctx.Err() != nil || (err != nil && s.saver.queue.keys.Load() >= before) {
			return fmt.Errorf("save before the end: %d keys are not in Postgres, they stay marked in Redis and are saved at the next start: %w",
				s.saver.queue.keys.Load(), orElse(err, ctx.Err()))
		}
		if s.saver.queue.keys.Load() >= before {
			break // of sessions that are not resident: nothing can be done before they are
		}
	}
	return nil
}

// Reload applies the parts of cfg that can change while running: memory, wait, deny, flush, passwords, admins and added
// keyspaces. It returns the names of settings that differ and need a restart.
func (s *Server) Reload(cfg Config) (ignored []string, err error) {
	if err := cfg.Memory.Budget.Validate(); err != nil {
		return nil, err
	}
	if ignored, err = s.reloadKeyspaces(cfg.Keyspaces); err != nil {
		return nil, err
	}
	s.policy.setConfig(cfg.Memory)
	ownBefore, own := s.cfg.Exposure.Passwords, cfg.Exposure.Passwords
	if (own == nil) != (ownBefore == nil) {
		cfg.Exposure.Passwords = ownBefore // clients who are connected travel as the users that they were then
	}
	s.rules.Store(newRules(s.table, cfg))
	for _, d := range []struct {
		name    string
		differs bool
	}{
		{"listen", cfg.Listen != s.cfg.Listen},
		{"listen_mode", cfg.Exposure.SocketMode != s.cfg.Exposure.SocketMode},
		{"idle_timeout", cfg.Exposure.IdleTimeout != s.cfg.Exposure.IdleTimeout},
		{"auth_timeout", cfg.Exposure.AuthTimeout != s.cfg.Exposure.AuthTimeout},
		{"tcp_keepalive", cfg.Exposure.KeepAlive != s.cfg.Exposure.KeepAlive},
		{"tls", cfg.Exposure.TLS != s.cfg.Exposure.TLS},
		{"auth", (own == nil) != (ownBefore == nil)},
		{"maxclients", cfg.MaxClients != s.cfg.MaxClients},
		{"upstream", cfg.Upstream != s.cfg.Upstream},
		{"restore.sync", cfg.Sync.Mode != s.cfg.Sync.Mode},
		{"restore.sync_interval", cfg.Sync.Interval != s.cfg.Sync.Interval},
	} {
		if d.differs {
			ignored = append(ignored, d.name)
		}
	}
	return ignored, nil
}

// reloadKeyspaces takes new keyspaces. One that is gone or has changed its patterns would put its evicted sessions out of
// reach, so that needs a restart, where it is checked.
func (s *Server) reloadKeyspaces(specs []keyspace.Spec) (ignored []string, err error) {
	if _, err := keyspace.Compile(specs); err != nil {
		return nil, err
	}
	old := s.sessions.patterns.Load().matcher
	for ks := range old.Len() {
		if !containsSpec(specs, old.Spec(ks)) {
			return []string{fmt.Sprintf("keyspace %q", old.Spec(ks).Name)}, nil
		}
	}
	if len(specs) == old.Len() {
		return nil, nil
	}
	if err := s.sessions.setPatterns(specs); err != nil {
		return nil, err
	}
	return nil, s.adoptAgain()
}

// adoptAgain looks for sessions of new keyspaces that are in Redis already.
func (s *Server) adoptAgain() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closing.Load() || !s.begun {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.base, controlTimeout)
	defer cancel()
	if err := s.adopter.plan(ctx); err != nil {
		return fmt.Errorf("adopt sessions of new keyspaces: %w", err)
	}
	s.duties.chores.start(s.adopter.run)
	return nil
}

func containsSpec(specs []keyspace.Spec, want keyspace.Spec) bool {
	for _, spec := range specs {
		if spec.Name == want.Name && spec.DB == want.DB && strings.Join(spec.Patterns, "\x00") == strings.Join(want.Patterns, "\x00") {
			return true
		}
	}
	return false
}
