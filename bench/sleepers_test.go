package main

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

// Twenty times a second a cold session is chosen, another one each time; all other commands are for the rest.
func TestSleepersAreWokenByTheClock(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	s := &sleepers{first: 90, n: 10, woken: make(chan wake, 1000)}
	woken := map[int]int{}
	const ticks, each = 1000, 10 // a second
	for tick := range ticks {
		for range each {
			if id := s.pick(rng, time.Duration(tick)*time.Millisecond); id >= 90 {
				woken[id]++
			}
		}
	}
	sum := 0
	for _, n := range woken {
		sum += n
	}
	if sum < wakesPerSecond-1 || sum > wakesPerSecond || len(woken) != 10 || len(s.woken) != sum {
		t.Errorf("woken: %v", woken)
	}
}

// What is written is never what is there already, and is the session's all the same.
func TestWritesVary(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	v := newStored("key", 7, 256, commonPart(1, 256))
	var want expect
	first, second := v.rewrite(nil, rng, &want), v.rewrite(nil, rng, &want)
	if bytes.Equal(first, second) || len(first) != len(second) {
		t.Error("the same is written twice")
	}
	value := second[bytes.LastIndex(second, []byte("$256")):]
	if said, err := judged(string(value), 100, &v.value); err != nil || said[0] != "" {
		t.Errorf("a GET of it: %q, %v", said, err)
	}
}
