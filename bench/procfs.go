package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of processor times in /proc: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// usage is what a target's processes have used up to a moment.
type usage struct {
	proxy, redis, postgres, client process
	restores                       int64 // sessions that credproxy has restored
}

// process is one process, or a process with its children.
type process struct {
	cpu time.Duration // user and system
	rss int64         // bytes
}

// readSelf reads what this process, the clients, has used, in microseconds.
func readSelf() (process, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return process{}, fmt.Errorf("read own processor time: %w", err)
	}
	return process{cpu: time.Duration(u.Utime.Nano() + u.Stime.Nano())}, nil
}

// readProcess reads /proc for pid; 0 stands for no process.
func readProcess(pid int) (process, error) {
	if pid == 0 {
		return process{}, nil
	}
	stat, err := readStat(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return process{stat.cpu, stat.rss}, err
}

// readFamily adds up a process and its living children, and the time of children that have ended.
func readFamily(pid int) (process, error) {
	if pid == 0 {
		return process{}, nil
	}
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return process{}, fmt.Errorf("list processes: %w", err)
	}
	var sum process
	for _, path := range paths {
		stat, err := readStat(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, errGone) {
			continue // ended meanwhile
		}
		if err != nil {
			return process{}, err
		}
		if stat.pid == pid {
			sum.cpu += stat.childCPU
		}
		if stat.pid == pid || stat.parent == pid {
			sum.cpu += stat.cpu
			sum.rss += stat.rss
		}
	}
	return sum, nil
}

// procStat is what is used of a /proc/PID/stat file.
type procStat struct {
	pid, parent   int
	cpu, childCPU time.Duration
	rss           int64
}

// errGone is a process that ended while its file was open.
var errGone = errors.New("process is gone")

func readStat(path string) (procStat, error) {
	f, err := os.Open(path)
	if err != nil {
		return procStat{}, fmt.Errorf("read process: %w", err)
	}
	defer f.Close()
	return readStatFrom(f)
}

// readStatFrom reads an open file, of a process that may have ended since.
func readStatFrom(f *os.File) (procStat, error) {
	text, err := io.ReadAll(f)
	if errors.Is(err, syscall.ESRCH) {
		return procStat{}, errGone
	}
	if err != nil {
		return procStat{}, fmt.Errorf("read process: %w", err)
	}
	return parseStat(text)
}

// parseStat reads "pid (name) state parent ..."; the name may hold spaces and parentheses. See proc(5).
func parseStat(text []byte) (procStat, error) {
	end := bytes.LastIndexByte(text, ')')
	pid, _, found := strings.Cut(string(text), " ")
	if end < 0 || !found {
		return procStat{}, errGone
	}
	fields := strings.Fields(string(text[end+1:])) // the first is number 3 of the manual
	if len(fields) < 22 {
		return procStat{}, errGone
	}
	var broken error
	number := func(text string) int64 {
		n, err := strconv.ParseInt(text, 10, 64)
		broken = errors.Join(broken, err)
		return n
	}
	s := procStat{
		pid: int(number(pid)), parent: int(number(fields[1])),
		cpu:      time.Duration(number(fields[11])+number(fields[12])) * tick,
		childCPU: time.Duration(number(fields[13])+number(fields[14])) * tick,
		rss:      number(fields[21]) * int64(os.Getpagesize()),
	}
	if broken != nil {
		return procStat{}, fmt.Errorf("read process: %w", broken)
	}
	return s, nil
}
