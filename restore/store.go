package restore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	defaultMaxConns = 8
	// maxConflicts is how often a transaction that lost against another one is run in all.
	maxConflicts = 5
	// undoTimeout bounds the rollback after a failure; a connection that cannot even do that is dropped.
	undoTimeout = 2 * time.Second
)

// Config says which Postgres holds the sessions.
type Config struct {
	DSN      string       // URL or key=value list, as libpq takes it
	MaxConns int32        // most connections, beside one for each Lease; 0: 8
	Logger   hclog.Logger // nil: silent
	// SimpleProtocol is for a transaction pooler (PgBouncer) in front of Postgres: no prepared statements, no session
	// settings, and leases are rows instead of session locks.
	SimpleProtocol bool
	// Source is the operator's own SQL over existing tables, asked for sessions that are not stored. Its one parameter is
	// the session's id, its columns are key, field (null: the key is a string) and value. See docs/source.md.
	Source string
	// Signing authenticates payloads of DUMP.
	Signing Signing
	// BeforeMigrate, if set, is called before tables of an older version are changed; its error keeps them as they are.
	BeforeMigrate func(context.Context) error
}

// Store is the durable side. All methods are safe for concurrent use. An error for which Temporary is true left nothing
// half done and is worth repeating; after one from a write, the write may nevertheless have happened, which is harmless as
// writes say what is, not what to add.
type Store struct {
	pool    *pgxpool.Pool
	log     hclog.Logger
	pooled  bool // a transaction pooler stands in between
	queries atomic.Uint64
	order   order
	source  *source // nil: there is none
	signer  *signer // nil: payloads are stored as they are

	beforeMigrate func(context.Context) error // nil: nothing is to be done

	purging sync.Mutex // held by Purge all along; it protects purged and is not taken by anybody else
	purged  int64      // the key that Purge looked at last
}

// Open connects and brings the tables up to date. Its errors are for operators: they never hold the password.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	settings, err := poolConfig(cfg)
	if err != nil {
		return nil, err
	}
	by, err := newSigner(cfg.Signing)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, settings)
	if err != nil {
		return nil, fmt.Errorf("open postgres: %w", err)
	}
	s := &Store{pool: pool, log: cfg.Logger, pooled: cfg.SimpleProtocol, signer: by}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	if err := s.prepare(ctx, cfg); err != nil {
		pool.Close()
		return nil, explain(err, settings.ConnConfig)
	}
	return s, nil
}

func (s *Store) prepare(ctx context.Context, cfg Config) error {
	s.beforeMigrate = cfg.BeforeMigrate
	if err := s.migrate(ctx, migrations); err != nil {
		return err
	}
	err := s.newEpoch(ctx)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == codeReadOnly {
		// It can still be read from, and a lease will take the fence that writes need.
		s.log.Warn("postgres is read-only", "error", err)
		s.order.raise(time.Now().UnixNano())
	} else if err != nil {
		return err
	}
	if cfg.Signing.AcceptUnsigned {
		if err := s.warnUnsigned(ctx); err != nil {
			return err
		}
	}
	if cfg.Source == "" {
		return nil
	}
	return s.checkSource(ctx, cfg.Source)
}

// Close waits for calls that are under way and closes all connections but those of leases.
func (s *Store) Close() { s.pool.Close() }

// Ping reports whether Postgres answers.
func (s *Store) Ping(ctx context.Context) error {
	return s.retry(ctx, func() error {
		s.queries.Add(1)
		if err := s.pool.Ping(ctx); err != nil {
			return fmt.Errorf("ping postgres: %w", err)
		}
		return nil
	})
}

// Queries returns how many round trips to Postgres were begun, repetitions included. What the driver does on a new
// connection (log in, prepare a statement once) is not counted.
func (s *Store) Queries() uint64 { return s.queries.Load() }

// retry runs do again when Postgres undid it for another transaction's sake, and once more when the connection turned out
// to be dead: after a restart of Postgres every pooled connection is, and finding out costs nobody an error.
func (s *Store) retry(ctx context.Context, do func() error) error {
	reconnected := false
	for attempt := 1; ; attempt++ {
		err := do()
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case conflicted(err) && attempt < maxConflicts:
			s.log.Debug("transaction conflict, repeating", "attempt", attempt)
		case disconnected(err) && !reconnected:
			reconnected = true
			s.pool.Reset()
		default:
			return err
		}
	}
}

// read runs one query and hands each row to each. The bytes that a row shows are valid only during the call.
func (s *Store) read(ctx context.Context, sql string, args []any, each func(pgx.Rows) error) error {
	s.queries.Add(1)
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// transact lends steps a connection on which it must begin a transaction in its first batch and end it in its last. When
// it fails, the transaction is undone.
func (s *Store) transact(ctx context.Context, steps func(*transaction) error) error {
	return s.retry(ctx, func() error {
		conn, err := s.pool.Acquire(ctx)
		if err != nil {
			return fmt.Errorf("connect to postgres: %w", err)
		}
		defer conn.Release()
		if err := steps(&transaction{store: s, conn: conn.Conn()}); err != nil {
			undo(conn.Conn())
			return err
		}
		return nil
	})
}

// undo leaves a connection that may be used again, or a closed one.
func undo(conn *pgx.Conn) {
	if conn.IsClosed() || conn.PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), undoTimeout)
	defer cancel()
	_, _ = conn.Exec(ctx, "rollback") // the pool drops a connection that is still in a transaction
}
