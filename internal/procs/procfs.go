package procs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// pidFile is the postmaster's lock file inside its data folder.
const pidFile = "postmaster.pid"

// goneTimeout bounds the wait for killed processes to vanish; the kernel takes milliseconds.
const goneTimeout = 10 * time.Second

// removeStalePID removes the lock file of a postmaster that is no more. Postgres does that itself unless the number has
// been given to another process meanwhile, which is what happens on a busy machine. A live postmaster is an error.
func removeStalePID(data string) error {
	path := filepath.Join(data, pidFile)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read postgres lock file: %w", err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	// A postmaster works in its data folder, so any other process with this number is a stranger.
	if cwd, err := os.Readlink("/proc/" + first + "/cwd"); err == nil && cwd == data {
		return fmt.Errorf("start postgres: process %s already runs in %s", first, data)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove stale postgres lock file: %w", err)
	}
	return nil
}

// childrenOf lists the processes whose parent is pid.
func childrenOf(pid int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // its only error is a bad pattern
	var children []int
	for _, path := range stats {
		if child, state, parent := readStat(path); parent == pid && state != 'Z' {
			children = append(children, child)
		}
	}
	return children
}

// readStat reads the number, the state letter and the parent from a /proc/N/stat file; all 0 for a process that is gone.
func readStat(path string) (pid int, state byte, parent int) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, 0
	}
	// The command name stands in parentheses and may hold any byte: read from the last one on.
	head, rest, ok := strings.Cut(string(content), " (")
	at := strings.LastIndexByte(rest, ')')
	if !ok || at < 0 {
		return 0, 0, 0
	}
	fields := strings.Fields(rest[at+1:])
	if len(fields) < 2 {
		return 0, 0, 0
	}
	pid, errPID := strconv.Atoi(head)
	parent, errParent := strconv.Atoi(fields[1])
	if errPID != nil || errParent != nil {
		return 0, 0, 0
	}
	return pid, fields[0][0], parent
}

// waitGone waits until none of the processes runs; one that only waits to be reaped by its new parent is gone.
func waitGone(pids []int) error {
	deadline := time.Now().Add(goneTimeout)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for _, pid := range pids {
		for runs(pid) {
			if time.Now().After(deadline) {
				return fmt.Errorf("kill postgres: process %d is still there after %s", pid, goneTimeout)
			}
			<-tick.C
		}
	}
	return nil
}

func runs(pid int) bool {
	found, state, _ := readStat(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return found == pid && state != 'Z'
}
