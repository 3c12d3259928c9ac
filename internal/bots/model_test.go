package bots

import (
	"bytes"
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestValues(t *testing.T) {
	seen := map[string]bool{}
	for k := range kinds {
		for version := uint32(1); version <= 200; version++ {
			v := appendValue(nil, 1, 2, item{k, 0}, version)
			if !bytes.Equal(v, appendValue(nil, 1, 2, item{k, 0}, version)) {
				t.Fatalf("kind %d version %d is not the same twice", k, version)
			}
			if low, high := int(kindTable[k].min), int(kindTable[k].max); len(v) < low || len(v) > high {
				t.Fatalf("kind %d: %d bytes, not in %d..%d", k, len(v), low, high)
			}
			if seen[string(v)] {
				t.Fatalf("kind %d version %d has the bytes of another", k, version)
			}
			seen[string(v)] = true
		}
	}
	if bytes.Equal(appendValue(nil, 1, 2, item{}, 1), appendValue(nil, 1, 3, item{}, 1)) {
		t.Error("two bots share a value")
	}
}

// After a write of unknown outcome both values are right; after the next sure write only that one is.
func TestUnknownOutcome(t *testing.T) {
	m := newModel(1, 1, 10)
	it := item{kind: creds}
	first, second := m.next(it), m.next(it)
	m.wrote(it, first, done)
	m.wrote(it, second, unknown)
	for _, v := range []uint32{first, second} {
		if complaint := m.check(it, m.value(nil, it, v)); complaint != "" {
			t.Errorf("version %d: %s", v, complaint)
		}
	}
	if m.check(it, nil) == "" {
		t.Error("nil was accepted")
	}
	third := m.next(it)
	m.wrote(it, third, done)
	if m.check(it, m.value(nil, it, second)) == "" {
		t.Error("a version before the last sure write was accepted")
	}
	m.wrote(it, m.next(it), refused)
	if complaint := m.check(it, m.value(nil, it, third)); complaint != "" {
		t.Errorf("a refused write changed the model: %s", complaint)
	}
}

func TestOutcomes(t *testing.T) {
	reply := func(text string) error { return redisError(text) }
	for _, c := range []struct {
		err     error
		several bool
		want    outcome
	}{
		{nil, false, done},
		{reply("TRYAGAIN credproxy: Postgres"), false, refused},
		{reply("TRYAGAIN credproxy: Postgres"), true, unknown},
		{reply("ERR credproxy: connection lost"), false, unknown},
		{errors.New("EOF"), false, unknown},
	} {
		if got := outcomeOf(c.err, c.several); got != c.want {
			t.Errorf("%v (several %v): %d, want %d", c.err, c.several, got, c.want)
		}
	}
}

type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

var _ redis.Error = redisError("")
