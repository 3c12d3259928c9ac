//go:build !linux

package sdnotify

// monotonic is not needed: there is no systemd.
func monotonic() int64 { return 0 }
