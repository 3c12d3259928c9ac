//go:build race

package proxy_test

// raceDetector: under it sync.Pool drops what it is given now and then, so allocations say nothing.
const raceDetector = true
