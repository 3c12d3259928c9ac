package proxy_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"credproxy/internal/resp"
	"credproxy/internal/testenv"
)

// uncompared are the commands that no script can compare with a bare Redis, and why.
var uncompared = map[string]string{
	"REPLCONF": "the proxy refuses what only replicas send, in words of its own: TestWhatTheProxyCannotGive",
}

// TestEveryCommandIsCompared fails when the server has a command or subcommand that no script of TestParity, TestFirstTouch or
// TestDifferential sends to both, so that one which a newer Redis brings is not overlooked.
func TestEveryCommandIsCompared(t *testing.T) {
	server := commandsOf(dialWire(t, testenv.Redis(t).Addr()).value("COMMAND"))
	sent := map[string]bool{}
	note := func(args []string) {
		name := strings.ToUpper(args[0])
		if len(args) > 1 && server[name+"|"+strings.ToUpper(args[1])] {
			name += "|" + strings.ToUpper(args[1])
		}
		sent[name] = true
	}
	for _, script := range scriptsSent() {
		for line := range strings.SplitSeq(strings.Join(strings.Fields(script), " "), "; ") {
			note(wordsOf(strings.TrimPrefix(line, "B: ")))
		}
	}
	for _, template := range templates {
		note(templateWords(template))
	}
	for name := range server {
		if why := uncompared[name]; sent[name] == (why != "") {
			t.Errorf("%s is sent: %v, is excused: %q", name, sent[name], why)
		}
	}
}

func scriptsSent() []string {
	return slices.Concat(slices.Collect(maps.Values(parityScripts)), stringCases, keyCases, hashCases, listCases, setCases, zsetCases, streamCases,
		scriptCases, transactionCases, refusedCases)
}

// commandsOf reads names out of COMMAND's reply, subcommands as "CONTAINER|SUB".
func commandsOf(v resp.Value) map[string]bool {
	names := map[string]bool{}
	for _, c := range v.Elems {
		names[strings.ToUpper(string(c.Elems[0].Str))] = true
		if len(c.Elems) > 9 {
			maps.Copy(names, commandsOf(c.Elems[9]))
		}
	}
	return names
}
