package lru

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestBudgetDecisions(t *testing.T) {
	b := Budget{Max: 1000, Threshold: 80, Target: 70}
	for _, c := range []struct {
		used, excess int64
		over         bool
	}{
		{0, 0, false}, {799, 0, false}, {800, 0, false}, // at the threshold is not above it
		{801, 102, true}, {1000, 301, true}, {5000, 4301, true}, // 699 is the most below the target of 700
		{-1, 0, false},
	} {
		if got := b.Over(c.used); got != c.over {
			t.Errorf("Over(%d) = %v", c.used, got)
		}
		if got := b.Excess(c.used); got != c.excess {
			t.Errorf("Excess(%d) = %d, want %d", c.used, got, c.excess)
		}
	}
}

// TestBudgetMatchesExactArithmetic compares with fractions that neither round nor overflow.
func TestBudgetMatchesExactArithmetic(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	percent := func(b Budget, p int) *big.Rat {
		return new(big.Rat).Mul(new(big.Rat).SetInt64(b.Max), big.NewRat(int64(p), 100))
	}
	for range 200_000 {
		b := Budget{Max: 1 + rng.Int64N(1<<(1+rng.IntN(62))), Threshold: 2 + rng.IntN(99)}
		b.Target = 1 + rng.IntN(b.Threshold-1)
		used := rng.Int64N(b.Max) + rng.Int64N(3)
		over := new(big.Rat).SetInt64(used).Cmp(percent(b, b.Threshold)) > 0
		if b.Over(used) != over {
			t.Fatalf("%+v: Over(%d) = %v", b, used, !over)
		}
		excess := b.Excess(used)
		if !over {
			if excess != 0 {
				t.Fatalf("%+v: Excess(%d) = %d below the threshold", b, used, excess)
			}
			continue
		}
		below := func(left int64) bool { return new(big.Rat).SetInt64(left).Cmp(percent(b, b.Target)) < 0 }
		if !below(used-excess) || below(used-excess+1) {
			t.Fatalf("%+v: Excess(%d) = %d is not the least that reaches the target", b, used, excess)
		}
	}
}

func TestNextSample(t *testing.T) {
	small := Budget{Max: 1000, Threshold: 80, Target: 70}
	big := Budget{Max: 1 << 30, Threshold: 50, Target: 40}
	const half, step = 1 << 29, 1 << 20
	for _, c := range []struct {
		name          string
		b             Budget
		used, written int64
		want          bool
	}{
		{"nothing written", small, 100, 0, false},
		{"reaches the threshold", small, 700, 100, false},
		{"crosses it", small, 700, 101, true},
		{"nothing written above it", small, 900, 0, false},
		{"far from it", big, 0, half, false},
		{"just crosses it", big, 0, half + 1, true},
		{"little written just under it", big, half - 10, 1000, false},
		{"a step written just under it", big, half - 10, step + 1, true},
		{"little written above it", big, half + half/2, step, false},
		{"a step written above it", big, half + half/2, step + 1, true},
		{"no overflow", big, math.MaxInt64, math.MaxInt64, true},
	} {
		if got := c.b.NextSample(c.used, c.written); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestBudgetValidate(t *testing.T) {
	for _, c := range []struct {
		b    Budget
		want string // "": valid
	}{
		{Budget{1, 100, 99}, ""},
		{Budget{1 << 30, 80, 70}, ""},
		{Budget{1 << 30, 2, 1}, ""},
		{Budget{0, 80, 70}, "memory.max"},
		{Budget{-1, 80, 70}, "memory.max"},
		{Budget{1, 0, 70}, "memory.threshold is 0"},
		{Budget{1, 101, 70}, "memory.threshold is 101"},
		{Budget{1, 80, 0}, "memory.target is 0"},
		{Budget{1, 80, 80}, "below memory.threshold"},
		{Budget{1, 80, 90}, "below memory.threshold"},
	} {
		err := c.b.Validate()
		if c.want == "" && err != nil {
			t.Errorf("%+v: %v", c.b, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: error %v does not name %q", c.b, err, c.want)
		}
	}
}

// TestNeeded fills memory byte by byte and evicts as the policy does: Needed says when the session goes.
func TestNeeded(t *testing.T) {
	for _, b := range []Budget{{100, 80, 70}, {100, 80, 79}, {1000, 90, 15}} {
		for used := int64(0); used <= b.Max; used += 7 {
			for ahead := int64(0); ahead < b.Max; ahead += 13 {
				if got, want := b.Needed(used, ahead), simulate(b, used, ahead); got != want {
					t.Fatalf("%+v, %d used, %d ahead: %d, want %d", b, used, ahead, got, want)
				}
			}
		}
	}
}

// simulate adds bytes until more than ahead have been evicted, and returns how many it added.
func simulate(b Budget, used, ahead int64) (added int64) {
	for freed := int64(0); ; added++ {
		if excess := used + added - freed - b.percent(b.Target); b.Over(used + added - freed) {
			freed += excess
		}
		if freed > ahead {
			return added
		}
	}
}
