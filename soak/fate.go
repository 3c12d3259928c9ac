package main

import (
	"errors"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// notRun are the beginnings of replies to commands that were not run.
var notRun = []string{"OOM ", "READONLY ", "BUSY ", "LOADING ", "MASTERDOWN ", "EXECABORT ", "NOREPLICAS ", "ERR max number of clients",
	"ERR credproxy: shutting down"}

// fateOf says what an error means for the command. strange is set for replies that no fault explains.
func fateOf(err error) (f fate, strange bool) {
	if err == nil || errors.Is(err, redis.Nil) {
		return done, false
	}
	var reply redis.Error
	if !errors.As(err, &reply) {
		var netErr *net.OpError
		if errors.As(err, &netErr) && netErr.Op == "dial" {
			return refused, false
		}
		return unknown, false
	}
	text := reply.Error()
	switch {
	case strings.HasPrefix(text, "TRYAGAIN credproxy: "):
		if strings.Contains(text, "is in Redis but not in Postgres") { // sync = "through": it has run
			return unknown, false
		}
		return refused, strings.Contains(text, "cannot be restored")
	case strings.HasPrefix(text, "ERR credproxy: upstream unavailable: "):
		if strings.Contains(text, "the outcome is unknown") {
			return unknown, false
		}
		return refused, false
	}
	for _, prefix := range notRun {
		if strings.HasPrefix(text, prefix) {
			return refused, false
		}
	}
	return unknown, true
}
