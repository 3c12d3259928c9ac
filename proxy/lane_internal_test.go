package proxy

import (
	"strings"
	"testing"

	"credproxy/internal/resp"
)

// What a lane sends at once: many commands that only read, but what changes something stands among the first maxGroup, as the replies in
// front of it have to be held whatever their size.
func TestLaneGroups(t *testing.T) {
	get, set := string(resp.AppendCommand(nil, "GET", "k")), string(resp.AppendCommand(nil, "SET", "k", "v"))
	for _, c := range []struct {
		name, sent string
		groups     []int
	}{
		{"reads", strings.Repeat(get, 2*maxReads+3), []int{maxReads, maxReads, 3}},
		{"writes", strings.Repeat(set, 2*maxGroup+3), []int{maxGroup, maxGroup, 3}},
		{"the last of the first part writes", strings.Repeat(get, maxGroup-1) + set + strings.Repeat(get, maxReads), []int{maxReads, maxGroup}},
		{"one of the second part writes", strings.Repeat(get, maxGroup+5) + set + get, []int{maxGroup + 5, 2}},
		{"all of the second part write", strings.Repeat(get, maxGroup) + strings.Repeat(set, 2), []int{maxGroup, 2}},
	} {
		st := laneSeat(newServer(t), &endless{packets: [][]byte{[]byte(c.sent)}})
		st.pull()
		var sent strings.Builder
		for i, want := range c.groups {
			if !st.gather() || st.going || len(st.c.g.entries) != want {
				t.Fatalf("%s: group %d has %d commands, want %d (going: %v)", c.name, i, len(st.c.g.entries), want, st.going)
			}
			req, n, err := st.c.takeOff()
			if sent.Write(req); n != want || err != nil {
				t.Fatalf("%s: %d replies, %v", c.name, n, err)
			}
			for i := range st.c.g.entries {
				if writes := st.c.g.changes > i && !st.c.g.entries[i].reads; writes && i >= maxGroup {
					t.Errorf("%s: command %d of a group writes", c.name, i)
				}
			}
			st.c.finishAll()
			st.c.g.reset()
		}
		if st.gather() || sent.String() != c.sent {
			t.Errorf("%s: sent %d bytes of %d, or others", c.name, sent.Len(), len(c.sent))
		}
	}
}
