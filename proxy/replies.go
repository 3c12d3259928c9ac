package proxy

import (
	"errors"
	"fmt"
	"strings"

	"credproxy/internal/resp"
)

// Every error text that the proxy itself gives to a client. Texts that Redis also gives are Redis's own, to the letter.
const (
	textNoAuth        = "NOAUTH Authentication required."
	textExecAbort     = "EXECABORT Transaction discarded because of previous errors."
	textNestedMulti   = "ERR MULTI calls can not be nested"
	textExecNoMulti   = "ERR EXEC without MULTI"
	textDiscardNoMult = "ERR DISCARD without MULTI"
	textWatchInMulti  = "ERR WATCH inside MULTI is not allowed"
	textNoProto       = "NOPROTO unsupported protocol version"
	textProtoNumber   = "ERR Protocol version is not an integer or out of range"
	textSyntax        = "ERR syntax error"
	textNotInteger    = "ERR value is not an integer or out of range"
	textInvalidDB     = "ERR invalid DB index"
	textInvalidCursor = "ERR invalid cursor"
	textClientName    = "ERR Client names cannot contain spaces, newlines or special characters."
	textNoSuchClient  = "ERR No such client"
	textOwnKey        = "NOPERM credproxy: keys that start with \"credproxy:\" belong to the proxy"
	textShutdown      = "ERR credproxy: shutting down"
	textInternal      = "ERR credproxy: internal error, the connection is closed"
)

var errShuttingDown = errors.New("the proxy is shutting down")

func textDenied(name string) string {
	return fmt.Sprintf("NOPERM credproxy: %s is denied by the configuration (deny)", strings.ReplaceAll(name, "|", " "))
}

func textFlushDenied(name string) string {
	return fmt.Sprintf("NOPERM credproxy: %s is denied by the configuration (flush = \"deny\"): it would delete sessions in Redis and in Postgres", name)
}

func textUnavailable(err error) string { return "ERR credproxy: upstream unavailable: " + err.Error() }

func textTryAgain(err error) string { return "TRYAGAIN credproxy: " + err.Error() }

func textInMulti(name string) string {
	return fmt.Sprintf("ERR credproxy: %s is not supported inside MULTI", strings.ReplaceAll(name, "|", " "))
}

func textArity(name string) string {
	return fmt.Sprintf("ERR wrong number of arguments for '%s' command", strings.ToLower(name))
}

func textUnknownSub(container string, sub []byte) string {
	return fmt.Sprintf("ERR unknown subcommand '%.128s'. Try %s HELP.", sub, strings.ToUpper(container))
}

// errorReply appends an error reply; line ends in the text become spaces.
func errorReply(b []byte, text string) []byte { return resp.AppendError(b, text) }
