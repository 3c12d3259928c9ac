package proxy

import (
	"testing"
	"testing/synctest"
	"time"

	"credproxy/proxy/upstream"
)

func TestSlowLogKeepsTheLast(t *testing.T) {
	var l slowLog
	for range slowLogLength + 10 {
		l.add(SlowWait{})
	}
	list := l.newest(-1)
	if n := len(list); n != slowLogLength || list[0].ID != slowLogLength+10 || list[n-1].ID != 11 {
		t.Errorf("%d entries, from %d to %d", n, list[0].ID, list[n-1].ID)
	}
	l.reset()
	l.add(SlowWait{})
	if list := l.newest(5); len(list) != 1 || list[0].ID != slowLogLength+11 {
		t.Errorf("after a reset: %+v", list)
	}
}

// Who joins a flight is told of what it has seen of it, also when it gives up before the end.
func TestWaitedOnlyForTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		identity, _ := s.sessions.match(nil, 0, []byte("s:x:k"))
		_, fl, _ := s.sessions.admit(identity, nil, 0, func(ref, *flight, upstream.Run) {})
		r, _ := s.sessions.lookup(string(identity))
		time.Sleep(time.Second) // in the queue
		fl.watch.to(WaitPostgres)
		time.Sleep(2 * time.Second)
		var late waited
		done := late.watch(r, fl)
		time.Sleep(3 * time.Second)
		fl.watch.to(WaitRedis)
		time.Sleep(4 * time.Second)
		done()
		if want := [waitParts]time.Duration{WaitPostgres: 3 * time.Second, WaitRedis: 4 * time.Second}; late.parts != want {
			t.Errorf("waited for %v, want %v", late.parts, want)
		}
		if w := (SlowWait{Parts: late.parts}); w.Part() != WaitRedis || late.longest != 7*time.Second || late.identity != string(identity) {
			t.Errorf("mostly for %v, %v for %q", w.Part(), late.longest, late.identity)
		}
	})
}
