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
	textWrongPass     = "WRONGPASS invalid username-password pair or user is disabled."
	textExecNoAuth    = "EXECABORT Transaction discarded because of: NOAUTH Authentication required."
	textExecAbort     = "EXECABORT Transaction discarded because of previous errors."
	textExecArity     = "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command"
	textNoProto       = "NOPROTO unsupported protocol version"
	textProtoNumber   = "ERR Protocol version is not an integer or out of range"
	textSyntax        = "ERR syntax error"
	textNotInteger    = "ERR value is not an integer or out of range"
	textInvalidDB     = "ERR invalid DB index"
	textInvalidCursor = "ERR invalid cursor"
	textClientName    = "ERR Client names cannot contain spaces, newlines or special characters."
	textKillID        = "ERR client-id should be greater than 0"
	textNoSuchClient  = "ERR No such client"
	textOwnKey        = "NOPERM credproxy: keys that start with \"credproxy:\" belong to the proxy"
	textProtected     = "DENIED credproxy runs in protected mode: it asks for no password, so it serves clients of its own machine only. " +
		"Set a password (auth in the proxy's configuration, or requirepass in Redis) or tls with client_ca; " +
		"where only friends can reach the port, protected_mode = false."
	textShutdown = "ERR credproxy: shutting down"
	textInternal = "ERR credproxy: internal error, the connection is closed"
)

var errShuttingDown = errors.New("the proxy is shutting down")

func textDenied(name string) string {
	return fmt.Sprintf("NOPERM credproxy: %s is denied by the configuration (deny)", strings.ReplaceAll(name, "|", " "))
}

func textNotAdmin(name string) string {
	return fmt.Sprintf("NOPERM credproxy: CREDPROXY %s is for the users that the configuration names (admin users)", name)
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

// textUnknownCommand shows as much of the arguments as Redis does.
func textUnknownCommand(args [][]byte) string {
	const most = 128
	var shown []byte
	for _, a := range args[1:] {
		if len(shown) >= most {
			break
		}
		shown = fmt.Appendf(shown, "'%s' ", a[:min(len(a), most-len(shown))])
	}
	return fmt.Sprintf("ERR unknown command '%.128s', with args beginning with: %s", args[0], shown)
}

// textHelloNoAuth is Redis's text, which has changed with version 7.2.
func textHelloNoAuth(g *greeting) string {
	option := "HELLO"
	if g.atLeast(7, 2) {
		option = "HELLO <proto>"
	}
	return "NOAUTH HELLO must be called with the client already authenticated, otherwise the " + option +
		" AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
}

func textUnknownSub(container string, sub []byte) string {
	return fmt.Sprintf("ERR unknown subcommand '%.128s'. Try %s HELP.", sub, strings.ToUpper(container))
}

// errorReply appends an error reply; line ends in the text become spaces.
func errorReply(b []byte, text string) []byte { return resp.AppendError(b, text) }
