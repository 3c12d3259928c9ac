package bots

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Config says which bots work, where and how hard.
type Config struct {
	Addr     string // host:port of the proxy, or of a Redis
	Username string
	Password string

	Bots       int
	Shapes     []Shape // bot n has shape n modulo their number; nil: all
	Seed       uint64  // of values and behaviour
	Generation int     // part of every session id, 0 to 99: another generation, other sessions
	PreKeys    int     // per bot; 0: 812, as a real pairing uploads

	Start  time.Duration // bots begin spread over this time
	Pace   time.Duration // between two things that an active bot does; 0: none
	Active time.Duration // mean length of an active period
	Quiet  time.Duration // mean length of a quiet one; 0: never quiet

	// Timeout bounds every command. It should be longer than the proxy's restore.wait: a bot that gives up earlier
	// does not know what became of its write. 0: 45 s.
	Timeout time.Duration
	Prior   *State // what an earlier fleet left behind; nil: nothing is there yet
	// OnWrong and OnError are told of each wrong answer and each failed command; nil: only counted. They are called by
	// the bots' goroutines.
	OnWrong, OnError func(text string)
}

// Fleet is a number of bots. Make one with New.
type Fleet struct {
	cfg   Config
	bots  []*bot
	count counters
	wakes latencies

	mu       sync.Mutex // guards the two texts only; never held during I/O
	lastBad  string
	lastFail string
}

// New makes the bots; they connect when Run does. The error says what is wrong with cfg.
func New(cfg Config) (*Fleet, error) {
	if cfg.Bots < 1 || cfg.Addr == "" {
		return nil, fmt.Errorf("make fleet: %d bots at %q: need at least one and an address", cfg.Bots, cfg.Addr)
	}
	if cfg.Generation < 0 || cfg.Generation > 99 {
		return nil, fmt.Errorf("make fleet: generation %d is not in 0..99", cfg.Generation)
	}
	cfg.Shapes = orAll(cfg.Shapes)
	cfg.PreKeys = orDefault(cfg.PreKeys, 812)
	cfg.Timeout = orDefault(cfg.Timeout, 45*time.Second)
	cfg.Active = orDefault(cfg.Active, 5*time.Second)
	f := &Fleet{cfg: cfg}
	for n := range cfg.Bots {
		f.bots = append(f.bots, f.newBot(n))
	}
	if err := f.restore(cfg.Prior); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func orAll(shapes []Shape) []Shape {
	if len(shapes) == 0 {
		return AllShapes()
	}
	return shapes
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

func (f *Fleet) newBot(n int) *bot {
	shape := f.cfg.Shapes[n%len(f.cfg.Shapes)]
	return &bot{
		n:     n,
		fleet: f,
		store: &store{client: f.client(n), shape: shape, id: shape.SessionID(f.cfg.Generation, n)},
		model: newModel(f.cfg.Seed, n, f.cfg.PreKeys),
		rng:   rand.New(rand.NewPCG(f.cfg.Seed, uint64(n))),
	}
}

// client makes a connection pool of the bot's own: real bots are programs of their own. Every other one speaks RESP3.
// Retries are off, because a repeated write would hide an error and could run twice.
func (f *Fleet) client(n int) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr:                     f.cfg.Addr,
		Username:                 f.cfg.Username,
		Password:                 f.cfg.Password,
		Protocol:                 2 + n%2,
		MaxRetries:               -1,
		PoolSize:                 1,
		DialerRetries:            1,
		DialTimeout:              10 * time.Second,
		ReadTimeout:              f.cfg.Timeout,
		WriteTimeout:             f.cfg.Timeout,
		PoolTimeout:              f.cfg.Timeout,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// Run lets the bots work until ctx ends and every bot has finished the command it was at.
func (f *Fleet) Run(ctx context.Context) {
	f.each(len(f.bots), func(b *bot) { b.run(ctx) })
}

// Verify reads every item of every bot, a few bots at a time, and counts what is wrong as Run does. The error is about
// reads that failed. Not while Run runs.
func (f *Fleet) Verify(ctx context.Context) error {
	var mu sync.Mutex
	var unread []error
	f.each(8, func(b *bot) {
		if ctx.Err() == nil && b.readAll(ctx) {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		unread = append(unread, fmt.Errorf("verify bot %d: not all of its session could be read", b.n))
	})
	return errors.Join(unread...)
}

// each runs do for every bot, at most limit at a time, and waits.
func (f *Fleet) each(limit int, do func(*bot)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, limit)
	for _, b := range f.bots {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			do(b)
		})
	}
	wg.Wait()
}

// Close closes the bots' connections. After Run.
func (f *Fleet) Close() {
	for _, b := range f.bots {
		_ = b.store.client.Close() // nothing is in flight, so nothing can be lost
	}
}
