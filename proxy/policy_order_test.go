package proxy

import (
	"testing"

	"credproxy/lru"
)

// A reload that names another policy changes who goes first, and back again.
func TestReloadChangesThePolicy(t *testing.T) {
	s := newServer(t)
	cfg := s.cfg
	if got := s.sessions.table.Policy(); got != lru.LRU {
		t.Errorf("without a word it is %s", got)
	}
	for _, p := range append(lru.Policies(), lru.LRU) {
		cfg.Memory.Policy = p
		if ignored, err := s.Reload(cfg); err != nil || len(ignored) > 0 {
			t.Fatalf("reload: %v, left as they were: %v", err, ignored)
		}
		if got := s.sessions.table.Policy(); got != p {
			t.Errorf("the policy is %s, want %s", got, p)
		}
	}
}
