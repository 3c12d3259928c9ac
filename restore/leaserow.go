package restore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// rowLease holds a name by a row that it keeps fresh, for connections that a pooler hands out by the transaction. All times
// are Postgres's own, so clocks need not agree.
type rowLease struct {
	store       *Store
	name, owner string
}

const (
	// A row that has not been renewed for 4 s is up for grabs. The holder counts itself lost before that: it renews every
	// second and gives that 2 s.
	takeRowSQL = `
INSERT INTO credproxy.leases AS l (name, owner, holder, renewed) VALUES ($1, $2, $3, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, holder = excluded.holder, renewed = excluded.renewed
WHERE l.owner = excluded.owner OR l.renewed < clock_timestamp() - interval '4 seconds'`

	rowHolderSQL = `SELECT holder FROM credproxy.leases WHERE name = $1`

	renewRowSQL = `UPDATE credproxy.leases SET renewed = clock_timestamp() WHERE name = $1 AND owner = $2`

	releaseRowSQL = `DELETE FROM credproxy.leases WHERE name = $1 AND owner = $2`
)

// rowTaker returns a function that tries once to get the name.
func (s *Store) rowTaker(name string) func(context.Context) (holding, error) {
	l := &rowLease{store: s, name: name, owner: rand.Text()}
	return func(ctx context.Context) (holding, error) {
		taken, err := l.exec(ctx, takeRowSQL, name, l.owner, holderName())
		if err != nil {
			return nil, err
		}
		if taken {
			return l, nil
		}
		var holder string
		s.queries.Add(1)
		err = s.pool.QueryRow(ctx, rowHolderSQL, name).Scan(&holder)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) { // no row: let go a moment ago
			return nil, fmt.Errorf("look for the holder: %w", err)
		}
		return nil, fmt.Errorf("%w: %s", ErrHeld, holder)
	}
}

func (l *rowLease) renew(ctx context.Context) error {
	ours, err := l.exec(ctx, renewRowSQL, l.name, l.owner)
	if err == nil && !ours {
		err = ErrHeld
	}
	return err
}

func (l *rowLease) release(ctx context.Context) error {
	_, err := l.exec(ctx, releaseRowSQL, l.name, l.owner)
	return err
}

// exec runs a statement and reports whether it changed a row.
func (l *rowLease) exec(ctx context.Context, sql string, args ...any) (bool, error) {
	var tag pgconn.CommandTag
	err := l.store.retry(ctx, func() (err error) {
		l.store.queries.Add(1)
		tag, err = l.store.pool.Exec(ctx, sql, args...)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("write lease row: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}
