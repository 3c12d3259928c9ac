package proxy

import (
	"slices"
	"testing"

	"credproxy/lru"
)

// While older sessions wait to be saved, one that is being read stays, if the policy has patience; all others go as ever.
func TestPatienceSparesSessionsAtWork(t *testing.T) {
	s := newServer(t)
	now := nowMilli()
	picked := func(patient bool) (names []string) {
		for _, r := range s.policy.pickIn(lru.Every, 1<<40, patient) {
			names = append(names, s.sessions.id(r.it.Key).Name)
		}
		slices.Sort(names)
		return names
	}
	check := func(what string, patient bool, want ...string) {
		t.Helper()
		if got := picked(patient); !slices.Equal(got, want) {
			t.Errorf("%s: %q go, want %q", what, got, want)
		}
	}
	residentItem(s, "at work", 100, now)
	check("nothing is unsaved", true, "at work")
	unsaved := residentItem(s, "unsaved", 100, now-400)
	unsaved.sh.Lock()
	unsaved.it.Value.detailLocked().dirty = map[string]*dirtyKey{"k": {}}
	unsaved.sh.Unlock()
	check("an older one is unsaved", true)
	check("an older one is unsaved, and patience at its end", false, "at work")
	residentItem(s, "before", 100, now-500)
	check("one that is older still may go", true, "before")
	unsaved.sh.Lock()
	unsaved.it.LastAccess = now - 90_000
	unsaved.sh.Unlock()
	residentItem(s, "a while ago", 100, now-60_000)
	check("one was used after it, but not lately", true, "a while ago")
}
