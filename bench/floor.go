package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// floor moves a session's rows from Postgres to Redis with nothing but the drivers: no look at what is there, no entry,
// nobody else who waits. It is what a restore is compared with.
type floor struct {
	pg    *pgx.Conn
	redis *redis.Client
}

func openFloor(ctx context.Context, dsn, addr string) (*floor, error) {
	pg, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("connect to postgres: %w", err)
	}
	return &floor{pg: pg, redis: redis.NewClient(&redis.Options{Addr: addr, Protocol: 2, MaxRetries: -1})}, nil
}

func (f *floor) close() {
	_ = f.pg.Close(context.Background()) // it was only read from
	_ = f.redis.Close()
}

func (f *floor) tidy(ctx context.Context) error {
	if _, err := f.pg.Exec(ctx, "VACUUM ANALYZE"); err != nil {
		return fmt.Errorf("vacuum: %w", err)
	}
	return nil
}

const (
	floorKeysSQL = `SELECT k.key, k.value FROM credproxy.sessions s JOIN credproxy.keys k USING (sid)
		WHERE s.db = 0 AND s.keyspace = 'restore' AND s.id = $1`
	floorFieldsSQL = `SELECT f.field, f.value FROM credproxy.sessions s JOIN credproxy.keys k USING (sid)
		JOIN credproxy.fields f USING (kid) WHERE s.db = 0 AND s.keyspace = 'restore' AND s.id = $1`
)

// row is a key or a field, with its value.
type row struct {
	name  string
	value []byte
}

// read selects the rows and keeps a copy of each, as whoever wants to write them must.
func (f *floor) read(ctx context.Context, s restoreShape) ([]row, error) {
	query := floorKeysSQL
	if s.fields > 0 {
		query = floorFieldsSQL
	}
	rows, err := f.pg.Query(ctx, query, []byte(s.session()))
	if err != nil {
		return nil, fmt.Errorf("select rows: %w", err)
	}
	defer rows.Close()
	var all []row
	for rows.Next() {
		raw := rows.RawValues()
		all = append(all, row{name: string(raw[0]), value: append([]byte(nil), raw[1]...)})
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("select rows: %w", err)
	}
	if len(all) != s.count() {
		return nil, fmt.Errorf("select rows: got %d, want %d", len(all), s.count())
	}
	return all, nil
}

// floorFields is how many fields one HSET of the floor has.
const floorFields = 64

var errUnwritten = errors.New("a key was there already")

// write sends the rows in one pipeline, strings as the proxy does, and looks at every reply.
func (f *floor) write(ctx context.Context, s restoreShape, rows []row) error {
	if s.fields > 0 {
		return f.writeAs(ctx, s.key(0), rows)
	}
	cmds, err := f.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range rows {
			p.Do(ctx, "SET", rows[i].name, rows[i].value, "NX")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	for _, cmd := range cmds {
		if cmd.(*redis.Cmd).Val() != "OK" {
			return errUnwritten
		}
	}
	return nil
}

// writeAs sends the rows in one pipeline as fields of one hash; Pipelined fails if any reply is an error.
func (f *floor) writeAs(ctx context.Context, key string, rows []row) error {
	_, err := f.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for from := 0; from < len(rows); from += floorFields {
			args := make([]any, 0, 2+2*floorFields)
			args = append(args, "HSET", key)
			for _, r := range rows[from:min(from+floorFields, len(rows))] {
				args = append(args, r.name, r.value)
			}
			p.Do(ctx, args...)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	return nil
}
