package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"credproxy/internal/session"
)

const (
	// maxSourceBytes bounds what a source may return of one session: beyond it the query surely selects too much.
	maxSourceBytes = 256 << 20
	// maxSourceBatch is how many sessions are asked for in one round trip.
	maxSourceBatch = 32
)

// wantColumns is said in every error about the shape of a source.
const wantColumns = "want three columns of type text, bytea, json or jsonb: key, field (null for a string), value"

// source is the operator's own SQL.
type source struct {
	sql       string
	byteParam bool // $1 is bytea: it gets the id's bytes, else its text
}

// HasSource reports whether sessions that are not stored are looked for in the operator's own tables.
func (s *Store) HasSource() bool { return s.source != nil }

// checkSource finds mistakes of the SQL when the program starts, not when a session is needed.
func (s *Store) checkSource(ctx context.Context, sql string) error {
	sql = strings.TrimRight(strings.TrimSpace(sql), "; \t\r\n")
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect to postgres: %w", err)
	}
	defer conn.Release()
	s.queries.Add(1)
	about, err := conn.Conn().PgConn().Prepare(ctx, "", sql, nil)
	if err != nil {
		return fmt.Errorf("prepare source query: %w%s", err, s.pathHint(ctx, conn))
	}
	if n := len(about.ParamOIDs); n != 1 {
		return fmt.Errorf("check source query: it has %d parameters, want one: $1, the id of the session", n)
	}
	if err := checkColumns(about.Fields); err != nil {
		return fmt.Errorf("check source query: %w", err)
	}
	// Rights are looked at only when a plan is about to run.
	s.queries.Add(1)
	if _, err := conn.Exec(ctx, "EXPLAIN "+sql, nil); err != nil {
		return fmt.Errorf("plan source query: %w", err)
	}
	s.source = &source{sql: sql, byteParam: about.ParamOIDs[0] == pgtype.ByteaOID}
	return nil
}

// pathHint explains an error that only Postgres's search for tables makes understandable: it begins in the schema that is
// called like the user, and when that is ours, a name like sessions means our table.
func (s *Store) pathHint(ctx context.Context, conn *pgxpool.Conn) string {
	s.queries.Add(1)
	var ours bool
	err := conn.QueryRow(ctx, "SELECT 'credproxy' = ANY (current_schemas(false))").Scan(&ours)
	if err != nil || !ours {
		return ""
	}
	return "; tables are looked for in credproxy's own schema first: write for instance public.sessions"
}

func checkColumns(fields []pgconn.FieldDescription) error {
	if len(fields) != 3 {
		return fmt.Errorf("it returns %d columns; %s", len(fields), wantColumns)
	}
	for i, f := range fields {
		if !readable(f.DataTypeOID) {
			return fmt.Errorf("column %d (%s) has another type (number %d), cast it, for instance to text; %s",
				i+1, f.Name, f.DataTypeOID, wantColumns)
		}
	}
	return nil
}

// readable reports whether a column of the type can be taken as bytes. All that are like text arrive as they are.
func readable(oid uint32) bool {
	switch oid {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID, pgtype.UnknownOID,
		pgtype.ByteaOID, pgtype.JSONOID, pgtype.JSONBOID:
		return true
	default:
		return false
	}
}

// Source asks the operator's own tables for a session, whether or not it is stored here. Rows without a field are strings,
// rows with one are gathered into hashes; a row whose value is null is as if it were not there. It returns nil when there is
// nothing, or no source. The query runs in a read-only transaction.
func (s *Store) Source(ctx context.Context, id session.ID) ([]session.Key, error) {
	found, err := s.Sources(ctx, []session.ID{id})
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// Sources is Source for several sessions; the result has their order.
func (s *Store) Sources(ctx context.Context, ids []session.ID) ([][]session.Key, error) {
	out := make([][]session.Key, len(ids))
	if s.source == nil {
		return out, nil
	}
	for from := 0; from < len(ids); from += maxSourceBatch {
		to := min(from+maxSourceBatch, len(ids))
		if err := s.sourceBatch(ctx, ids[from:to], out[from:to]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// customPlans undoes planSettings for one transaction: they suit this package's own statements, not the operator's.
const customPlans = `
SELECT set_config('plan_cache_mode', 'auto', true), set_config('enable_seqscan', 'on', true),
	set_config('enable_hashjoin', 'on', true), set_config('enable_mergejoin', 'on', true)`

func (s *Store) sourceBatch(ctx context.Context, ids []session.ID, out [][]session.Key) error {
	asked := ids[0]
	err := s.transact(ctx, func(t *transaction) error {
		b := &pgx.Batch{}
		b.Queue(beginSQL + " read only")
		if !s.pooled {
			b.Queue(customPlans)
		}
		for i, id := range ids {
			if !s.source.byteParam && impossible(id.Name, t.conn.PgConn().ParameterStatus("server_encoding")) {
				continue
			}
			b.Queue(s.source.sql, s.source.param(id)).Query(func(rows pgx.Rows) (err error) {
				asked = id
				out[i], err = gather(rows)
				return err
			})
		}
		queueCommit(b)
		return t.send(ctx, b)
	})
	if err != nil {
		return fmt.Errorf("ask source for session %q: %w", asked, onlyReads(err))
	}
	return nil
}

// param gives a text to any type but bytea as text: Postgres then reads it as it reads a literal.
func (src *source) param(id session.ID) any {
	if src.byteParam {
		return []byte(id.Name)
	}
	return id.Name
}

// impossible reports whether an id is in no text column, and would only be an error there.
func impossible(id, encoding string) bool {
	return strings.ContainsRune(id, 0) || encoding == "UTF8" && !utf8.ValidString(id)
}

// onlyReads keeps a source that writes from being taken for a Postgres that is read-only for a while.
func onlyReads(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == codeReadOnly {
		return fmt.Errorf("a source may only read: %s", pg.Message)
	}
	return err
}

// gathering builds keys from a source's rows.
type gathering struct {
	keys   []session.Key
	at     map[string]int
	fields map[[2]string]struct{}
	bytes  int64
}

func gather(rows pgx.Rows) ([]session.Key, error) {
	defer rows.Close()
	g := gathering{at: make(map[string]int), fields: make(map[[2]string]struct{})}
	for rows.Next() {
		columns := rows.FieldDescriptions()
		if err := checkColumns(columns); err != nil { // a table may have changed since the start
			return nil, err
		}
		raw := rows.RawValues()
		var v [3][]byte
		for i := range v {
			var err error
			if v[i], err = plainBytes(columns[i], raw[i]); err != nil {
				return nil, err
			}
		}
		if err := g.add(v[0], v[1], v[2]); err != nil {
			return nil, err
		}
	}
	return g.keys, rows.Err()
}

// plainBytes returns the bytes of a value, nil for null.
func plainBytes(column pgconn.FieldDescription, v []byte) ([]byte, error) {
	switch {
	case v == nil:
		return nil, nil
	case column.DataTypeOID == pgtype.JSONBOID && column.Format == pgx.BinaryFormatCode:
		if len(v) == 0 || v[0] != 1 {
			return nil, fmt.Errorf("column %s: unknown version of binary jsonb", column.Name)
		}
		return v[1:], nil
	default:
		return v, nil
	}
}

const mixedKey = "key %q comes both as a string and with fields"

// add takes one row. Its bytes are copied.
func (g *gathering) add(key, field, value []byte) error {
	if key == nil {
		return errors.New("a row has no key: the first column is null")
	}
	if value == nil {
		return nil
	}
	if g.bytes += int64(len(key) + len(field) + len(value)); g.bytes > maxSourceBytes {
		return fmt.Errorf("over %d bytes for one session: does the query use $1?", maxSourceBytes)
	}
	i, seen := g.at[string(key)]
	if !seen {
		i = len(g.keys)
		g.at[string(key)] = i
		g.keys = append(g.keys, session.Key{Name: string(key), Type: session.String})
	}
	k := &g.keys[i]
	if field == nil {
		if seen && k.Type == session.String {
			return fmt.Errorf("key %q comes twice as a string", k.Name)
		}
		if seen {
			return fmt.Errorf(mixedKey, k.Name)
		}
		k.Value = append(make([]byte, 0, len(value)), value...)
		return nil
	}
	if seen && k.Type == session.String {
		return fmt.Errorf(mixedKey, k.Name)
	}
	k.Type = session.Hash
	name := [2]string{k.Name, string(field)}
	if _, again := g.fields[name]; again {
		return fmt.Errorf("key %q has field %.100q twice", k.Name, name[1])
	}
	g.fields[name] = struct{}{}
	k.Fields = append(k.Fields, session.Field{Name: name[1], Value: append(make([]byte, 0, len(value)), value...)})
	return nil
}
