//go:build race

package lru

// raceDetector: under it a million accesses take minutes.
const raceDetector = true
