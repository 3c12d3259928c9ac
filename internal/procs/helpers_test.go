package procs

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// readPIDs waits for the file and reads the process ids in it.
func readPIDs(t *testing.T, path string) []int {
	t.Helper()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if content, err := os.ReadFile(path); err == nil {
			var pids []int
			for _, field := range strings.Fields(string(content)) {
				pid, err := strconv.Atoi(field)
				if err != nil {
					t.Fatal(err)
				}
				pids = append(pids, pid)
			}
			return pids
		}
		select {
		case <-deadline:
			t.Fatal("the parent process did not start its servers")
		case <-tick.C:
		}
	}
}
