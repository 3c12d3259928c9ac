package restore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	leasePoll      = 100 * time.Millisecond // between two attempts to get a lease
	leaseHeartbeat = time.Second            // between two proofs that it is still ours
	leaseTimeout   = 2 * time.Second        // for one proof; a connection that takes longer counts as lost
)

// Lease is an exclusive right to a name, among all programs that use the same database.
type Lease struct {
	hold   holding
	cancel context.CancelFunc
	lost   chan struct{}
	done   chan struct{} // the heartbeat has ended
}

// holding is one way to hold a name in Postgres.
type holding interface {
	// renew proves that the name is still ours.
	renew(ctx context.Context) error
	// release gives the name up.
	release(ctx context.Context) error
}

// Lease takes the name, waiting for up to wait until another holder lets go; then it fails with ErrHeld and says who holds
// it. A holder that dies loses the name: at once when its connection to Postgres closes, after a few seconds otherwise.
//
// A lease is a session lock on a connection of its own. Where a transaction pooler stands in between there are no
// sessions, and it is a row with a heartbeat; the two kinds do not see each other, so all programs on a database must
// have the same Config.SimpleProtocol.
func (s *Store) Lease(ctx context.Context, name string, wait time.Duration) (*Lease, error) {
	hold, err := s.take(ctx, name, wait)
	if err != nil {
		return nil, fmt.Errorf("take lease %q: %w", name, err)
	}
	// Whoever held the name before may have written with higher fences than ours.
	if err := s.newEpoch(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("take lease %q: %w", name, err), hold.release(ctx))
	}
	beat, cancel := context.WithCancel(context.Background())
	l := &Lease{hold: hold, cancel: cancel, lost: make(chan struct{}), done: make(chan struct{})}
	go l.heartbeat(beat)
	return l, nil
}

// Lost is closed when the lease may have gone to another: its holder must stop what needs it. Release closes it, too.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Release gives the name up. Releasing a lost lease is harmless.
func (l *Lease) Release(ctx context.Context) error {
	l.cancel()
	<-l.done
	if err := l.hold.release(ctx); err != nil {
		return fmt.Errorf("release lease: %w", err)
	}
	return nil
}

func (l *Lease) heartbeat(ctx context.Context) {
	defer close(l.done)
	defer close(l.lost)
	tick := time.NewTicker(leaseHeartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		proof, cancel := context.WithTimeout(ctx, leaseTimeout)
		err := l.hold.renew(proof)
		cancel()
		if err != nil {
			return
		}
	}
}

// take polls until it holds the name or wait is over.
func (s *Store) take(ctx context.Context, name string, wait time.Duration) (holding, error) {
	try, end := s.rowTaker(name), func() {}
	if !s.pooled {
		conn, err := s.leaseConn(ctx)
		if err != nil {
			return nil, err
		}
		lock := &sessionLock{conn: conn, key: leaseKey(name)}
		try, end = lock.try, func() { _ = lock.release(ctx) }
	}
	deadline := time.Now().Add(wait)
	tick := time.NewTicker(leasePoll)
	defer tick.Stop()
	for {
		hold, err := try(ctx)
		if err == nil {
			return hold, nil
		}
		if !errors.Is(err, ErrHeld) || time.Now().After(deadline) {
			end()
			return nil, err
		}
		select {
		case <-ctx.Done():
			end()
			return nil, errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// leaseConn makes a connection outside the pool.
func (s *Store) leaseConn(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("connect to postgres: %w", err)
	}
	// A holder whose machine vanished keeps the lock until Postgres finds out: let it look often.
	_, err = conn.Exec(ctx, `SET tcp_keepalives_idle = 2; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3`)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set keepalive: %w", err), conn.Close(ctx))
	}
	return conn, nil
}

// leaseKey is the number of the advisory lock of a name.
func leaseKey(name string) int64 {
	sum := sha256.Sum256([]byte("credproxy lease " + name))
	return int64(binary.BigEndian.Uint64(sum[:]))
}

// sessionLock holds a name by an advisory lock, which lives as long as its connection.
type sessionLock struct {
	conn *pgx.Conn
	key  int64
}

// holderSQL says who holds an advisory lock of this database. The lock table shows its number in two halves.
const holderSQL = `
SELECT a.pid, coalesce(host(a.client_addr), 'a local socket'), coalesce(nullif(a.application_name, ''), 'unknown'),
	coalesce(a.usename, 'unknown')
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
	AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
	AND l.classid = ($1::bigint >> 32 & 4294967295)::oid AND l.objid = ($1::bigint & 4294967295)::oid`

func (l *sessionLock) try(ctx context.Context) (holding, error) {
	var got bool
	if err := l.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", l.key).Scan(&got); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if got {
		return l, nil
	}
	var pid int32
	var addr, app, user string
	if err := l.conn.QueryRow(ctx, holderSQL, l.key).Scan(&pid, &addr, &app, &user); err != nil {
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, ErrHeld // let go a moment ago
		}
		return nil, fmt.Errorf("look for the holder: %w", err)
	}
	return nil, fmt.Errorf("%w: %s from %s, user %s, Postgres backend %d", ErrHeld, app, addr, user, pid)
}

func (l *sessionLock) renew(ctx context.Context) error { return l.conn.Ping(ctx) }

// release closes the connection, and the lock with it.
func (l *sessionLock) release(ctx context.Context) error {
	if l.conn.IsClosed() {
		return nil
	}
	return l.conn.Close(ctx)
}

// holderName says who we are, for the error text of the others.
func holderName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("process %d on %s", os.Getpid(), host)
}
