package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// sizeUnits go from the largest down, so that formatting finds the shortest exact form first.
var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TB", 1 << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"KB", 1 << 10}, {"B", 1}}

// ParseSize reads "512MB", "1GB", "1GiB", "64KB" or plain bytes "1048576"; units are powers of 1024, in either case.
// The error says what a size looks like.
func ParseSize(s string) (int64, error) {
	digits := strings.TrimSpace(s)
	cut := strings.IndexFunc(digits, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	unit := int64(1)
	if cut >= 0 {
		name := strings.ToUpper(strings.TrimSpace(digits[cut:]))
		digits = digits[:cut]
		if unit = unitBytes(name); unit == 0 {
			return 0, fmt.Errorf("%q is not a size: write \"512MB\", \"1GB\" or a number of bytes", s)
		}
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size: write \"512MB\", \"1GB\" or a number of bytes", s)
	}
	if n *= float64(unit); n >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is more than any memory holds: write a smaller size", s)
	}
	return int64(n), nil
}

// unitBytes takes GB, GiB and G for the same; 0: no such unit.
func unitBytes(name string) int64 {
	name = strings.Replace(name, "IB", "B", 1)
	for _, u := range sizeUnits {
		if name == u.name || name+"B" == u.name {
			return u.bytes
		}
	}
	return 0
}

// FormatSize is the shortest form that ParseSize reads back as the same number.
func FormatSize(n int64) string {
	for _, u := range sizeUnits[:len(sizeUnits)-1] {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// ParseDuration reads Go's durations ("200ms", "5m", "1h30m") and days ("7d"). The error says what a duration looks
// like.
func ParseDuration(s string) (time.Duration, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return d, nil
	}
	if days, found := strings.CutSuffix(s, "d"); found {
		n, err := strconv.ParseFloat(days, 64)
		if err == nil && math.Abs(n) < 100*365 {
			return time.Duration(n * float64(24*time.Hour)), nil
		}
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return 0, fmt.Errorf("%q has no unit: write \"%sms\", \"%ss\" or \"%sm\"", s, s, s, s)
	}
	return 0, fmt.Errorf("%q is not a duration: write \"200ms\", \"30s\", \"5m\", \"168h\" or \"7d\"", s)
}

// FormatDuration is time.Duration's own form without the zero parts: "5m", not "5m0s".
func FormatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
