package main

import (
	"math"
	"math/rand/v2"
	"sort"
)

// evenly chooses among n sessions, all alike.
func evenly(n int) func(*rand.Rand) int {
	return func(rng *rand.Rand) int { return rng.IntN(n) }
}

// skewed chooses among n sessions by Zipf's law: the k-th busiest with a probability of 1/k^skew. math/rand's Zipf needs an
// exponent above 1, while most of what is observed is a little under it.
func skewed(n int, skew float64) func(*rand.Rand) int {
	sums := make([]float64, n)
	total := 0.0
	for i := range sums {
		total += math.Pow(float64(i+1), -skew)
		sums[i] = total
	}
	return func(rng *rand.Rand) int {
		return min(sort.SearchFloat64s(sums, rng.Float64()*total), n-1)
	}
}
