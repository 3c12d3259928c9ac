package restore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// dialTimeout bounds one attempt to reach one address of Postgres when the DSN does not say.
const dialTimeout = 5 * time.Second

// planSettings make Postgres plan each statement once and for all lengths of its arrays: rows are always looked up through
// their index. A plan made while a table was empty, or for an array of one, must not meet a session of 28,700 fields
// with a scan. Compiling such small queries would only cost.
var planSettings = map[string]string{
	"plan_cache_mode":  "force_generic_plan",
	"enable_seqscan":   "off",
	"enable_hashjoin":  "off",
	"enable_mergejoin": "off",
	"jit":              "off",
	// For batches that do not begin a transaction by name (direct.go); see beginSQL.
	"default_transaction_isolation": "read committed",
}

func poolConfig(cfg Config) (*pgxpool.Config, error) {
	settings, err := pgxpool.ParseConfig(cfg.DSN)
	if err != nil {
		return nil, badDSN(err)
	}
	settings.MaxConns = cfg.MaxConns
	if settings.MaxConns <= 0 {
		settings.MaxConns = defaultMaxConns
	}
	settings.MinConns, settings.MinIdleConns = 0, 0
	// A ping before use would double the cost of a load; retry deals with connections that have died.
	settings.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	settings.AfterConnect = teachArrays
	configureConn(settings.ConnConfig, cfg.SimpleProtocol)
	return settings, nil
}

func configureConn(conn *pgx.ConnConfig, pooled bool) {
	if conn.RuntimeParams["application_name"] == "" {
		conn.RuntimeParams["application_name"] = "credproxy"
	}
	if conn.ConnectTimeout == 0 || conn.ConnectTimeout > dialTimeout {
		conn.ConnectTimeout = dialTimeout
	}
	// A host that vanished is noticed within a minute even when nothing is sent.
	conn.DialFunc = (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext
	if pooled {
		// Only the types of a statement are remembered, here; what is sent is complete each time, and stays binary.
		conn.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		conn.StatementCacheCapacity = 0
		return
	}
	conn.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement // whatever the DSN says: values are read in binary form
	for name, value := range planSettings {
		conn.RuntimeParams[name] = value
	}
}

// badDSN says what is wrong with a DSN. The parser's own words may quote a part of the password that it took for
// something else, so only its fixed phrases are repeated.
func badDSN(err error) error {
	reason := "it is neither a postgres:// URL nor a list of key=value pairs" +
		" (special characters in a password must be percent-encoded in a URL)"
	for _, known := range []string{"sslmode is invalid", "invalid connect_timeout", "invalid port", "pool_max_conns"} {
		if strings.Contains(err.Error(), known) {
			reason += "; parser says: " + known
			break
		}
	}
	return errors.New("parse postgres address: " + reason)
}

// explain adds what an operator can do about an error of the first connection.
func explain(err error, conn *pgx.ConnConfig) error {
	var pg *pgconn.PgError
	hint := ""
	switch {
	case !errors.As(err, &pg):
		var connect *pgconn.ConnectError
		if errors.As(err, &connect) {
			hint = "is Postgres running, and reachable from here?"
		}
	case pg.Code == codeBadPassword, pg.Code == codeBadAuth:
		hint = fmt.Sprintf("check user %q and its password", conn.User)
	case pg.Code == codeNoDatabase:
		hint = fmt.Sprintf("create the database: CREATE DATABASE %s", pgx.Identifier{conn.Database}.Sanitize())
	case pg.Code == codeNoPrivilege:
		hint = fmt.Sprintf("grant the right to make the schema: GRANT CREATE ON DATABASE %s TO %s",
			pgx.Identifier{conn.Database}.Sanitize(), pgx.Identifier{conn.User}.Sanitize())
	case pg.Code == codeReadOnly:
		hint = "this Postgres is read-only; is it a standby?"
	case strings.Contains(pg.Message, "unsupported startup parameter"):
		hint = "a pooler stands in between; write `pooler = true` into the restore block"
	}
	if hint == "" {
		return fmt.Errorf("open postgres: %w", err)
	}
	return fmt.Errorf("open postgres: %w; %s", err, hint)
}
