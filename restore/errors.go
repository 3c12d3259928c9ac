package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"credproxy/internal/session"
)

// ErrNewerSchema is wrapped by Open's error when a newer credproxy has migrated the tables.
var ErrNewerSchema = errors.New("the tables were made by a newer credproxy")

// ErrHeld is wrapped by Lease's error when another holder has not let go in time.
var ErrHeld = errors.New("held by another")

// PoisonError names stored keys that cannot be understood or must not be trusted. Whatever else was asked for is returned beside it.
type PoisonError struct {
	Keys []PoisonedKey
}

// PoisonedKey is one of them, with the reason.
type PoisonedKey struct {
	session.Ref
	Why string
}

func (e *PoisonError) Error() string {
	names := make([]string, 0, len(e.Keys))
	for _, ref := range e.Keys {
		names = append(names, fmt.Sprintf("%q of session %q: %s", ref.Key, ref.Session, ref.Why))
	}
	return "read stored keys: " + strings.Join(names, "; ")
}

// PoisonedKeys returns the reasons by the names of the keys, for callers that do not know this package.
func (e *PoisonError) PoisonedKeys() map[string]string {
	reasons := make(map[string]string, len(e.Keys))
	for _, ref := range e.Keys {
		reasons[ref.Key] = ref.Why
	}
	return reasons
}

// SQLSTATE codes that are told apart here.
const (
	codeSerialization = "40001"
	codeDeadlock      = "40P01"
	codeReadOnly      = "25006"
	codeCanceled      = "57014"
	codeLockNotThere  = "55P03"
	codeIO            = "58030"
	codeNoPrivilege   = "42501"
	codeBadPassword   = "28P01"
	codeBadAuth       = "28000"
	codeNoDatabase    = "3D000"
	codeAdminShutdown = "57P01"
	codeCrashShutdown = "57P02"
	codeProtocol      = "08P01"
	codeUnknownSet    = "42704"
	codeNull          = "23502"
	codeUnsupported   = "0A000"
)

// Temporary reports whether the same call may succeed later without anybody changing it: Postgres is away, starting,
// stopping, read-only, full, or slow, or a newer write was first (ErrSuperseded). A canceled context is not temporary, a deadline is.
func Temporary(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return temporaryCode(pg.Code)
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrSuperseded) || disconnected(err)
}

func temporaryCode(code string) bool {
	switch code {
	case codeSerialization, codeDeadlock, codeReadOnly, codeCanceled, codeLockNotThere, codeIO:
		return true
	case codeProtocol: // a bug on one side of the wire, not a lost connection
		return false
	}
	// 08 connection, 53 resources (disk full, too many connections), 57P operator intervention.
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "53") || strings.HasPrefix(code, "57P")
}

// disconnected reports whether err says that the connection to Postgres is gone or could not be made.
func disconnected(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == codeAdminShutdown || pg.Code == codeCrashShutdown
	}
	if errors.Is(err, context.Canceled) {
		return false
	}
	var netErr net.Error
	var connect *pgconn.ConnectError
	return errors.As(err, &netErr) || errors.As(err, &connect) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || pgconn.SafeToRetry(err)
}

// conflicted reports whether Postgres undid the transaction for the sake of another one, or because somebody altered a
// table after the statement was prepared on this connection; the driver prepares it anew.
func conflicted(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	return pg.Code == codeSerialization || pg.Code == codeDeadlock ||
		pg.Code == codeUnsupported && strings.Contains(pg.Message, "cached plan")
}
