//go:build !race

package lru

// raceDetector reports whether the tests run under the race detector.
const raceDetector = false
