package proxy

import (
	"sync"
	"testing"

	"credproxy/lru"
)

func thousand() *MemoryConfig {
	return &MemoryConfig{Budget: lru.Budget{Max: 1 << 20, Threshold: 80, Target: 70}}
}

// Many ask at once for the room that there is for some of them.
func TestRoomIsGivenAwayOnce(t *testing.T) {
	const each, clients = 10 << 10, 200
	var r room
	m := sample{used: 500 << 10}
	r.sampled(&m, 0, 0, thousand())
	var wg sync.WaitGroup
	var mu sync.Mutex
	given := int64(0)
	for range clients {
		wg.Go(func() {
			if ok, _ := r.reserve(each); ok {
				mu.Lock()
				given += each
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	top := ceiling(1<<20, &m)
	if given == 0 || m.used+given > top || r.written.Load() != given {
		t.Errorf("%d bytes were given away above %d of %d, %d are counted", given, m.used, top, r.written.Load())
	}
	if ok, _ := r.reserve(top - m.used - given + 1); ok {
		t.Error("one byte too many is given away")
	}
}

// A sample contains for certain only what had landed before it was begun.
func TestRoomRemembersWhatIsOnItsWay(t *testing.T) {
	var r room
	r.unsampled()
	r.reserve(300 << 10)
	landed, written := r.landed.Load(), r.written.Load()
	r.land(300 << 10) // while INFO is asked: nobody knows whether its answer has it
	m := sample{used: 600 << 10}
	r.sampled(&m, landed, written, thousand())
	if want := int64(900 << 10); m.due != want {
		t.Errorf("%d bytes are due, want %d", m.due, want)
	}
	if ok, _ := r.reserve(100 << 10); ok {
		t.Error("what is on its way was forgotten")
	}
	r.sampled(&m, r.landed.Load(), r.written.Load(), thousand())
	if ok, _ := r.reserve(100 << 10); !ok || m.due != 600<<10 {
		t.Errorf("what has landed is counted twice: %d bytes are due", m.due)
	}
}

// Redis doubles a table when it is full, so what that takes is kept free before.
func TestGrowthOfTables(t *testing.T) {
	for _, c := range []struct {
		keyspace string
		want     int64
	}{
		{"# Keyspace\r\n", 0},
		{"# Keyspace\r\ndb0:keys=600,expires=0,avg_ttl=0\r\n", 0},
		{"# Keyspace\r\ndb0:keys=1000,expires=0,avg_ttl=0\r\n", 16 << 10},
		{"# Keyspace\r\ndb0:keys=1024,expires=1000,avg_ttl=5\r\ndb3:keys=60,expires=2,avg_ttl=0\r\n", 2*16<<10 + 16*64},
		{"# Keyspace\r\ndb0:keys=1025,expires=0,avg_ttl=0\r\n", 0},
	} {
		if got := growth(c.keyspace); got != c.want {
			t.Errorf("%q: %d bytes, want %d", c.keyspace, got, c.want)
		}
	}
}
