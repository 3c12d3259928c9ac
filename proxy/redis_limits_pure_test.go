package proxy

import (
	"strings"
	"testing"

	"credproxy/lru"
)

// A process that is much larger than the budget is said, unless it is the data that is.
func TestFragmented(t *testing.T) {
	for _, c := range []struct {
		max, raw, rss int64 // MB
		want          string
	}{
		{1024, 800, 1536, ""}, {1024, 800, 1537, "has 1537 MB of memory for 800 MB of data (memory.max is 1024 MB)"}, {1024, 1100, 1600, ""},
		{16, 10, 80, ""}, {16, 10, 81, "has 81 MB"}, {1024, 800, 0, ""},
	} {
		got := fragmented(lru.Budget{Max: c.max << 20, Threshold: 80, Target: 70}, sample{raw: c.raw << 20, rss: c.rss << 20})
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestAboveMaxmemory(t *testing.T) {
	b := lru.Budget{Max: 1000 << 20, Threshold: 80, Target: 70}
	for maxmem, want := range map[int64]string{0: "", 1001: "", 1000: "", 999: "while there should be room", 801: "or set it to 641 MB or less",
		800: "before eviction begins", 100: "before eviction begins"} {
		got := aboveMaxmemory(b, maxmem<<20)
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("maxmemory %d MB: %q", maxmem, got)
		}
	}
}
