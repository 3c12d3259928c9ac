package proxy_test

import (
	"strings"
	"testing"
)

// SESSIONS chooses by part of the id and by state, and lists the most recently used first when asked to.
func TestSessionsAreChosen(t *testing.T) {
	e := newEnv(t, nil)
	c := e.wire()
	for _, id := range []string{"alpha-1", "alpha-2", "beta-1"} {
		c.want("+OK\r\n", "SET", "wa:auth:"+id+":creds", "v")
		c.want("+OK\r\n", "CREDPROXY", "TRACK", "wa/"+id)
	}
	c.want(":1\r\n", "CREDPROXY", "EVICT", "wa/alpha-2")
	for _, test := range []struct {
		args string
		ids  []string
	}{
		{"MATCH ALPHA", []string{"alpha-1", "alpha-2"}},
		{"MATCH alpha STATE evicted", []string{"alpha-2"}},
		{"STATE resident", []string{"alpha-1", "beta-1"}},
		{"ORDER recent MATCH beta COUNT 1", []string{"beta-1"}},
		{"MATCH alpha COUNT 0", nil},
		{"MATCH gamma", nil},
	} {
		reply := c.ask(strings.Fields("CREDPROXY SESSIONS " + test.args)...)
		for _, id := range []string{"alpha-1", "alpha-2", "beta-1"} {
			wanted := strings.Contains(" "+strings.Join(test.ids, " ")+" ", " "+id+" ")
			if strings.Contains(reply, "\r\n"+id+"\r\n") != wanted {
				t.Errorf("SESSIONS %s: %s is wanted: %v, reply %q", test.args, id, wanted, reply)
			}
		}
	}
}
